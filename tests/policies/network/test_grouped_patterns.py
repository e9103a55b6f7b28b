import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.network.grouped_patterns import GROUP_ROWS, draw_grouped_patterns
from policies.network.specification import BLOCKS, NetworkSpecification, specify


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 40), st.integers(1, 12)),
    fractions=st.tuples(*[st.floats(0, 1)] * 6),
    seed=st.integers(0, 2**32),
)
def test_exact_counts_spread_evenly_over_groups_and_columns(
    sizes: tuple[int, int, int], fractions: tuple[float, ...], seed: int
) -> None:
    n_x, n_h, n_y = sizes
    size = {"x": n_x, "h": n_h, "y": n_y}
    weights = {}
    for block, fraction in zip(BLOCKS, fractions, strict=True):
        floor = n_y if block == "yh" else 1
        weights[block] = max(floor, round(fraction * size[block[0]] * size[block[1]]))
    patterns = draw_grouped_patterns(NetworkSpecification(n_x, n_h, n_y, sum(weights.values()), weights), seed)
    for block, positions in patterns.items():
        n_rows, n_columns = size[block[0]], size[block[1]]
        assert positions.dtype == np.int64
        assert len(positions) == weights[block]
        assert (np.diff(positions) > 0).all()
        filled = np.zeros((n_rows, n_columns), bool)
        filled.flat[positions] = True
        assert np.ptp(filled.sum(1)) <= 1
        groups = [filled[first : first + GROUP_ROWS] for first in range(0, n_rows, GROUP_ROWS)]
        assert np.ptp(np.sum([group.any(0) for group in groups], axis=0)) <= 1
        assert sum(int((group.any(0) & ~group.all(0)).sum()) for group in groups) <= 1
    assert set(patterns["yh"] // n_h) == set(range(n_y))


def test_every_position_is_about_equally_likely() -> None:
    weights = {"hx": 1, "hh": 200, "hy": 1, "yx": 1, "yh": 1, "yy": 1}  # 16 rows, whole columns of both groups
    specification = NetworkSpecification(1, 20, 1, sum(weights.values()), weights)
    rng = np.random.default_rng(0)
    n_draws, hits = 2000, np.zeros(400)
    for _ in range(n_draws):
        hits[draw_grouped_patterns(specification, rng)["hh"]] += 1
    assert np.abs(hits / n_draws - 0.5).max() < 5 * 0.5 / np.sqrt(n_draws)


def test_seed_decides() -> None:
    specification = specify(10, 3, 2000)
    first, same, other = (draw_grouped_patterns(specification, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[block], same[block]) for block in BLOCKS)
    assert not all(np.array_equal(first[block], other[block]) for block in BLOCKS)


def test_memory_grows_with_weights_not_with_the_square_of_units() -> None:
    specification = specify(10, 2, 100_000, hidden_size=20_000, hidden_proportion=0.5)
    tracemalloc.start()
    patterns = draw_grouped_patterns(specification, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(patterns["hh"]) == 50_000
    assert peak < 20e6
