"""Where weights go: any sequence of moves keeps what a network has to have."""

import dataclasses
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.network.blocks import BLOCKS, block_floors, block_sizes
from policies.network.patterns import draw_patterns, draw_positions
from policies.network.rebalancing import (
    Candidates,
    growth_counts,
    rebalanced,
    removal_counts,
    unconnected_units,
)
from policies.network.specification import NetworkSpecification, specify

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def specifications(draw: st.DrawFn) -> NetworkSpecification:
    sizes = tuple(draw(st.integers(1, most)) for most in (6, 12, 4))
    floors, most = block_floors(sizes[2]), block_sizes(*sizes)
    weights = {block: draw(st.integers(floors[block], most[block])) for block in BLOCKS}
    return NetworkSpecification(*sizes, sum(weights.values()), weights)


@settings(max_examples=150)
@given(specifications(), st.lists(st.floats(0, 1), min_size=1, max_size=4), st.booleans(), SEEDS)
def test_moves_keep_total_floors_and_order(
    specification: NetworkSpecification, fractions: list[float], has_candidates: bool, seed: int
) -> None:
    rng, first = np.random.default_rng(seed), specification
    patterns = draw_patterns(specification, rng)
    sizes = {block: math.prod(specification.shape(block)) for block in BLOCKS}
    for fraction in fractions:
        own = specification.weights
        worth = {block: rng.random(own[block]) for block in BLOCKS}
        removed = removal_counts(specification, fraction)
        candidates = None
        room = {block: sizes[block] - own[block] + removed[block] for block in BLOCKS}
        if has_candidates:
            room = {block: rng.integers(removed[block], room[block] + 1) for block in BLOCKS}
            candidates = {}
            for block in BLOCKS:
                count = own[block] - removed[block] + room[block]
                positions = draw_positions(rng, sizes[block], count, patterns[block])
                candidates[block] = Candidates(positions, rng.random(count))
        grown = growth_counts(sum(removed.values()), dict(zip(BLOCKS, rng.random(6), strict=True)), room)
        after = rebalanced(specification, patterns, worth, removed, grown, candidates, rng).patterns

        counts = {block: len(after[block]) for block in BLOCKS}
        specification = dataclasses.replace(specification, weights=counts)  # which checks floors and sizes
        assert specification.total_weights == first.total_weights
        for block in BLOCKS:
            assert after[block].dtype == np.int64
            assert (np.diff(after[block]) > 0).all()
            assert after[block][0] >= 0
            assert after[block][-1] < sizes[block]
            if candidates is not None:
                elsewhere = np.setdiff1d(after[block], candidates[block].positions)
                assert len(elsewhere) <= 2 * first.n_hidden  # grown to connect units
        assert set(after["yh"] // first.n_hidden) == set(range(first.n_outputs))
        patterns = after


def test_what_is_worth_least_goes_and_what_scores_highest_comes() -> None:
    specification = specify(5, 2, 60, hidden_size=8, hidden_proportion=0.3)
    rng = np.random.default_rng(3)
    patterns = draw_patterns(specification, rng)
    worth = {block: rng.random(len(patterns[block])) for block in BLOCKS}
    removed = dict.fromkeys(BLOCKS, 0) | {"hx": 4}
    grown = dict.fromkeys(BLOCKS, 0) | {"hh": 3, "hx": 1}
    candidates = {}
    for block in BLOCKS:
        everywhere = np.arange(math.prod(specification.shape(block)))
        candidates[block] = Candidates(everywhere, rng.random(len(everywhere)))
    after = rebalanced(specification, patterns, worth, removed, grown, candidates, rng).patterns
    going = patterns["hx"][np.argsort(worth["hx"])[:4]]
    assert all(unit.size == 0 for unit in unconnected_units(specification, after))
    survivors = np.setdiff1d(patterns["hx"], going)
    assert np.isin(survivors, after["hx"]).all()
    new = np.setdiff1d(after["hh"], patterns["hh"])
    free = np.setdiff1d(candidates["hh"].positions, patterns["hh"])
    assert set(new) == set(free[np.argsort(-candidates["hh"].scores[free])[:3]])


def test_units_without_a_connection_are_the_first_to_get_one() -> None:
    specification = NetworkSpecification(3, 6, 2, 40, {"hx": 9, "hh": 12, "hy": 3, "yx": 3, "yh": 9, "yy": 4})
    patterns = {
        "hx": np.array([0, 1, 2, 3, 4, 5, 6, 7, 8]),  # units 0, 1 and 2 read all inputs
        "hh": np.sort(np.array([6 * row + column for row in range(3) for column in range(3)] + [21, 28, 18])),
        "hy": np.array([0, 2, 4]),
        "yx": np.array([0, 1, 2]),
        "yh": np.array([0, 1, 2, 3, 6, 7, 8, 9, 10]),
        "yy": np.arange(4),
    }
    assert [list(units) for units in unconnected_units(specification, patterns)] == [[4, 5], [5]]
    worth = {block: np.ones(len(positions)) for block, positions in patterns.items()}
    worth["hy"][:2] = 0  # Two weights go, as many as units read nothing; of these none is read by another.
    removed = dict.fromkeys(BLOCKS, 0) | {"hy": 2}
    for seed in range(5):
        grown = dict.fromkeys(BLOCKS, 0) | {"hx": 1, "hh": 1}
        after = rebalanced(specification, patterns, worth, removed, grown, None, np.random.default_rng(seed)).patterns
        without_input, _ = unconnected_units(specification, after)
        assert list(without_input) == []


def test_a_full_block_stays_as_it_is() -> None:
    sizes = block_sizes(4, 3, 2)
    specification = NetworkSpecification(4, 3, 2, sum(sizes.values()), sizes)
    patterns = draw_patterns(specification, 0)
    removed = removal_counts(specification, 0.5)
    worth = {block: np.random.default_rng(1).random(sizes[block]) for block in BLOCKS}
    after = rebalanced(specification, patterns, worth, removed, removed, None, np.random.default_rng(2)).patterns
    assert all(np.array_equal(after[block], patterns[block]) for block in BLOCKS)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 50)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_growth_is_shared_as_far_as_there_is_room(blocks: list[tuple[float, int]], part: float) -> None:
    shares = {str(index): share for index, (share, _) in enumerate(blocks)}
    room = {str(index): most for index, (_, most) in enumerate(blocks)}
    total = round(part * sum(room.values()))
    grown = growth_counts(total, shares, room)
    assert sum(grown.values()) == total
    assert all(0 <= grown[block] <= room[block] for block in room)


def test_excess_goes_to_the_others_in_equal_parts() -> None:
    assert growth_counts(100, {"a": 2, "b": 1, "c": 1}, {"a": 10, "b": 100, "c": 100}) == {"a": 10, "b": 45, "c": 45}
    assert growth_counts(9, {"a": 0, "b": 0, "c": 0}, {"a": 9, "b": 9, "c": 9}) == {"a": 3, "b": 3, "c": 3}
    assert growth_counts(10, {"a": 1, "b": 2}, {"a": 10, "b": 10}) == {"a": 3, "b": 7}
