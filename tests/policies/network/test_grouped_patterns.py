import numpy as np
from drawn_networks import NETWORKS
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.network.grouped_patterns import GROUP_ROWS, draw_grouped_patterns
from policies.network.specification import NetworkSpecification


@settings(max_examples=100)
@given(network=NETWORKS, seed=st.integers(0, 2**32))
def test_weights_are_spread_evenly_over_groups_and_columns(network: NetworkSpecification, seed: int) -> None:
    for block, positions in draw_grouped_patterns(network, seed).items():
        n_rows, n_columns = network.shape(block)
        filled = np.zeros((n_rows, n_columns), bool)
        filled.flat[positions] = True
        assert np.ptp(filled.sum(1)) <= 1
        groups = [filled[first : first + GROUP_ROWS] for first in range(0, n_rows, GROUP_ROWS)]
        assert np.ptp(np.sum([group.any(0) for group in groups], axis=0)) <= 1
        assert sum(int((group.any(0) & ~group.all(0)).sum()) for group in groups) <= 1


def test_every_position_is_about_equally_likely() -> None:
    weights = {"hx": 1, "hh": 200, "hy": 1, "yx": 1, "yh": 1, "yy": 1}  # 16 rows, whole columns of both groups
    specification = NetworkSpecification(1, 20, 1, sum(weights.values()), weights)
    rng = np.random.default_rng(0)
    n_draws, hits = 2000, np.zeros(400)
    for _ in range(n_draws):
        hits[draw_grouped_patterns(specification, rng)["hh"]] += 1
    assert np.abs(hits / n_draws - 0.5).max() < 5 * 0.5 / np.sqrt(n_draws)
