"""Aggregates of scores on cases worked out by hand, and against their published definitions (arXiv 2108.13264)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.reporting.estimates import Estimate, interval_of_mean
from agents.reporting.statistics import interquartile_mean, probability_of_improvement
from agents.trained.intervals import bootstrap_interval

SCORES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12).map(np.array)
TASKS = st.lists(SCORES, min_size=1, max_size=5)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=5)


def published_iqm(tasks: list[np.ndarray]) -> float:
    """The mean of the middle half of all runs of all tasks, taken together."""
    together = sorted(float(score) for scores in tasks for score in scores)
    quarter = math.floor(len(together) / 4)
    middle = together[quarter : len(together) - quarter]
    return math.fsum(middle) / len(middle)


def published_improvement(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """P(X > Y) = 1/M Σ_m 1/(N K) Σ_i Σ_j S(x_mi, y_mj), where S is 1 above, 1/2 at and 0 below."""
    of_tasks = []
    for own, others in pairs:
        wins = [1.0 if x > y else 0.5 if x == y else 0.0 for x in own for y in others]
        of_tasks.append(math.fsum(wins) / (len(own) * len(others)))
    return math.fsum(of_tasks) / len(pairs)


@given(TASKS)
def test_interquartile_mean_is_the_published_one(tasks: list[np.ndarray]) -> None:
    assert interquartile_mean(*tasks) == pytest.approx(published_iqm(tasks), abs=1e-9)


@given(PAIRS)
def test_probability_of_improvement_is_the_published_one(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    own, others = zip(*pairs, strict=True)
    assert probability_of_improvement(*own, *others) == pytest.approx(published_improvement(pairs), abs=1e-12)


@given(PAIRS, st.floats(0.5, 8), st.floats(-100, 100))
def test_scale_of_a_task_matters_to_the_mean_alone(
    pairs: list[tuple[np.ndarray, np.ndarray]], factor: float, shift: float
) -> None:
    rounded = [(np.round(own), np.round(others)) for own, others in pairs]
    own, others = zip(*rounded, strict=True)
    moved = [scores * factor + shift for scores in own], [scores * factor + shift for scores in others]
    assert probability_of_improvement(*moved[0], *moved[1]) == pytest.approx(probability_of_improvement(*own, *others))
    assert interquartile_mean(*moved[0]) == pytest.approx(interquartile_mean(*own) * factor + shift, abs=1e-6)


@settings(max_examples=4)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(3, 6))
def test_intervals_are_of_the_stratified_bootstrap(seed: int, tasks: int, runs: int) -> None:
    """Runs are drawn again with replacement within each task; the interval is that of the middle 95 % (percentiles)."""
    generator = np.random.default_rng(seed)
    places = 10.0 * np.arange(tasks)  # far apart: a bootstrap over all tasks together would be far wider
    own, others = ([generator.normal(place, 1, runs) for place in places] for _ in range(2))

    def again(scores: list[np.ndarray]) -> list[np.ndarray]:
        return [generator.choice(one, len(one)) for one in scores]

    draws = [(again(own), again(others)) for _ in range(1_500)]
    means = [published_iqm(mine) for mine, _ in draws]
    chances = [published_improvement(list(zip(*draw, strict=True))) for draw in draws]
    spread = np.ptp(means) + 1e-9
    assert Estimate.of(interquartile_mean, *own).interval == pytest.approx(
        np.percentile(means, (2.5, 97.5)), abs=0.08 * spread
    )
    assert Estimate.of(probability_of_improvement, *own, *others).interval == pytest.approx(
        np.percentile(chances, (2.5, 97.5)), abs=0.06
    )


def test_interval_of_many_tasks_takes_no_time() -> None:
    tasks = [np.array([0.0, 1.0, 2.0]) for _ in range(30)]
    low, high = bootstrap_interval(*tasks, statistic=interquartile_mean) or (0, 0)
    assert 0.6 < low < 1 < high < 1.4


@pytest.mark.parametrize(("deviation", "interval"), [(0.0, (500.0, 500.0)), (50.0, (486.14, 513.86))])
def test_single_run_has_the_interval_over_its_episodes(deviation: float, interval: tuple[float, float]) -> None:
    final = {"episodes": 50, "mean_return": 500.0, "std_return": deviation}
    assert interval_of_mean(np.array([500.0]), final) == pytest.approx(interval, abs=0.01)


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -100])) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert interquartile_mean(np.array([0.0, 1, 2, 9])) == pytest.approx(1.5)
    assert interquartile_mean(np.array([1.0, 2, 6])) == pytest.approx(3.0)  # a quarter of three is no whole run
    assert interquartile_mean(np.array([7.0])) == 7.0


def test_probability_of_improvement_by_hand() -> None:
    # 3 beats 1 and 2; 1 ties 1 and loses to 2: (1 + 1 + 1/2 + 0) / 4.
    assert probability_of_improvement(np.array([3.0, 1.0]), np.array([1.0, 2.0])) == 0.625
    assert probability_of_improvement(np.array([5.0]), np.array([1.0, 2.0, 3.0])) == 1.0
    assert probability_of_improvement(np.array([1.0, 1.0]), np.array([1.0])) == 0.5


@given(SCORES, SCORES)
def test_probabilities_of_both_directions_make_one(x: np.ndarray, y: np.ndarray) -> None:
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1.0)
