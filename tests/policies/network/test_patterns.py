import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from drawn_networks import NETWORKS
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.network.grouped_patterns import draw_grouped_patterns
from policies.network.patterns import draw_patterns
from policies.network.specification import BLOCKS, NetworkSpecification, specify

Draw = Callable[[NetworkSpecification, int], dict[str, np.ndarray]]
EITHER = pytest.mark.parametrize("draw", [draw_patterns, draw_grouped_patterns])


@EITHER
@settings(max_examples=100)
@given(network=NETWORKS, seed=st.integers(0, 2**32))
def test_exact_counts_and_no_empty_output_row(draw: Draw, network: NetworkSpecification, seed: int) -> None:
    patterns = draw(network, seed)
    for block, positions in patterns.items():
        n_rows, n_columns = network.shape(block)
        assert positions.dtype == np.int64
        assert len(positions) == network.weights[block]
        assert (np.diff(positions) > 0).all()
        assert positions[0] >= 0
        assert positions[-1] < n_rows * n_columns
    assert set(patterns["yh"] // network.n_hidden) == set(range(network.n_outputs))


@pytest.mark.parametrize("count", [3, 9, 14])
def test_every_position_is_equally_likely(count: int) -> None:
    weights = {"hx": 1, "hh": count, "hy": 1, "yx": 1, "yh": 1, "yy": 1}
    specification = NetworkSpecification(1, 4, 1, sum(weights.values()), weights)
    rng = np.random.default_rng(0)
    n_draws = 4000
    hits = np.zeros(16)
    for _ in range(n_draws):
        hits[draw_patterns(specification, rng)["hh"]] += 1
    expected = count / 16
    assert np.abs(hits / n_draws - expected).max() < 5 * np.sqrt(expected * (1 - expected) / n_draws)


@EITHER
def test_seed_decides(draw: Draw) -> None:
    specification = specify(10, 3, 2000)
    first, same, other = (draw(specification, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[block], same[block]) for block in BLOCKS)
    assert not all(np.array_equal(first[block], other[block]) for block in BLOCKS)


@EITHER
def test_memory_grows_with_weights_not_with_the_square_of_units(draw: Draw) -> None:
    specification = specify(10, 2, 100_000, hidden_size=20_000, hidden_proportion=0.5)
    tracemalloc.start()
    patterns = draw(specification, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(patterns["hh"]) == 50_000
    assert peak < 20e6
