"""Intervals of means and shares, against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.trained.intervals import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        # z = 1.959964, z² = 3.841459. All of n: (1 / (1 + z²/n), 1). None of n: (0, z² / (n + z²)).
        (100, 100, (100 / 103.841459, 1.0)),
        (0, 10, (0.0, 3.841459 / 13.841459)),
        # Half of n: 0.5 ± z √(1/(4n) + z²/(4n²)) / (1 + z²/n) = 0.5 ± 1.959964 · √0.0346036 / 1.3841459.
        (5, 10, (0.236593, 0.763407)),
        (1, 1, (1 / 4.841459, 1.0)),
    ],
)
def test_wilson_by_hand(successes: int, n: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(successes, n) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # The mean of a resample of {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
        ([0.0, 1.0], (0.0, 1.0)),
        # That of {0, 0, 0, 1} is a quarter of a binomial (4, 1/4): P(0) = 0.316, P(≤ 2/4) = 0.949, P(≤ 3/4) = 0.996.
        ([0.0, 0.0, 1.0, 0.0], (0.0, 0.75)),
        ([500.0] * 100, (500.0, 500.0)),
    ],
)
def test_bootstrap_by_hand(values: list[float], expected: tuple[float, float]) -> None:
    assert bootstrap_interval(np.array(values)) == pytest.approx(expected)


def test_bootstrap_of_many_values_is_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 2_000)
    half = 1.959964 * values.std() / np.sqrt(len(values))
    assert bootstrap_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)


@pytest.mark.parametrize("values", [[7.0], [1.0, np.nan], [1.0, np.inf]])
def test_no_interval_without_a_spread_of_numbers(values: list[float]) -> None:
    assert bootstrap_interval(np.array(values)) is None


@given(
    values=st.lists(st.integers(-1000, 1000), min_size=2, max_size=12),
    scale=st.sampled_from([0.25, 1.0, 8.0]),
    shift=st.integers(-1000, 1000),
)
def test_bootstrap_moves_with_the_values(values: list[int], scale: float, shift: int) -> None:
    before, after = (bootstrap_interval(array) for array in (np.array(values), scale * np.array(values) + shift))
    assert before is not None
    assert after == pytest.approx((scale * before[0] + shift, scale * before[1] + shift), abs=1e-6)
    assert min(values) <= before[0] <= before[1] <= max(values)
