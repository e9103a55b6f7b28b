"""What each configuration came to, and how sure that is."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.comparison.groups import Group
from agents.comparison.runs import Run
from agents.reporting.estimates import Estimate, interval_of_mean
from agents.reporting.statistics import interquartile_mean, probability_of_improvement
from policies.refusal import Refusal

MOST_POINTS = 60
"""of a curve"""
Range = tuple[float, float]
"""The scores that become 0 and 1."""


@dataclass(frozen=True)
class Standing:
    """A configuration and its final scores.

    :ivar scores: environment -> (n,) of its runs there
    :ivar mean: environment -> their mean; of a single run with the interval over its episodes
    :ivar iqm: environment -> their interquartile mean
    :ivar overall: interquartile mean of the normalized scores of all environments; None if it did not run in each
    """

    group: Group
    scores: Mapping[str, np.ndarray]
    mean: Mapping[str, Estimate]
    iqm: Mapping[str, Estimate]
    overall: Estimate | None

    @property
    def name(self) -> str:
        """The configuration's name."""
        return self.group.name

    def improvement_over(self, other: "Standing") -> Estimate | None:
        """Return the probability that one of its runs scores above one of another configuration in the same task.

        :return: None if the two share no environment
        """
        shared = [env for env in self.scores if env in other.scores]
        if not shared:
            return None
        own, others = ([standing.scores[env] for env in shared] for standing in (self, other))
        return Estimate.of(probability_of_improvement, *own, *others)


def standings(groups: Sequence[Group], score: str, ranges: Mapping[str, Range]) -> list[Standing]:
    """Return all configurations, the best first; those that did not run in every environment come last.

    :param score: name of a figure of the final evaluation
    :param ranges: environment -> its range, of all environments; the ranges do not matter where there is only one
    :raises Refusal: if a run has no such score
    """
    found = []
    for group in groups:
        scores = {env: _scores(runs, score) for env, runs in group.runs.items()}
        mean = {
            env: Estimate(float(values.mean()), interval_of_mean(values, group.runs[env][0].final))
            for env, values in scores.items()
        }
        iqm = {env: Estimate.of(interquartile_mean, values) for env, values in scores.items()}
        overall = None
        if len(ranges) == 1:
            overall = iqm[next(iter(ranges))]
        elif all(env in scores for env in ranges):
            overall = Estimate.of(interquartile_mean, *(normalized(scores[env], ranges[env]) for env in ranges))
        found.append(Standing(group, scores, mean, iqm, overall))
    return sorted(found, key=lambda standing: math.inf if standing.overall is None else -standing.overall.value)


def normalized(scores: np.ndarray, range_: Range) -> np.ndarray:
    """Return scores on the scale on which a range goes from 0 to 1; they may lie outside."""
    low, high = range_
    return (scores - low) / (high - low)


def score_ranges(groups: Sequence[Group], score: str, given: Mapping[str, Range]) -> dict[str, Range]:
    """Return the range of each environment: what is given, or from the lowest to the highest final score in it.

    :raises Refusal: if one is given of an environment that nothing ran in, or all scores of one are equal
    """
    envs = list(dict.fromkeys(env for group in groups for env in group.runs))
    for env in given:
        if env not in envs:
            raise Refusal(f"`range` of {env} does not fit: the runs are of {', '.join(envs)}")
    ranges = {}
    for env in envs:
        scores = np.concatenate([_scores(group.runs[env], score) for group in groups if env in group.runs])
        low, high = ranges[env] = given.get(env, (float(scores.min()), float(scores.max())))
        if len(envs) > 1 and not low < high:
            needed = shlex.quote(f"{env}=LOW:HIGH")
            raise Refusal(f"all runs in {env} score {low:g}, which makes no scale: `range` {needed} is needed")
    return ranges


@dataclass(frozen=True)
class Curve:
    """Interquartile means of the runs of a configuration during their trainings."""

    x: np.ndarray
    """(k,) rising"""
    estimates: tuple[Estimate, ...]
    """(k)"""


def curve_over_steps(runs: Sequence[Run], score: str) -> Curve | None:
    """Return scores against environment steps; None if there is no evaluation beside a first or only one."""
    return _curve([(steps, values) for steps, values in (_evaluations(run, score) for run in runs)])


def curve_over_time(runs: Sequence[Run], score: str) -> Curve | None:
    """Return scores against seconds of training; None also if the clock of a run was not recorded."""
    courses = []
    for run in runs:
        if run.clock is None:
            return None
        steps, values = _evaluations(run, score)
        courses.append((np.interp(steps, *run.clock.T), values))
    return _curve(courses)


def _curve(courses: Sequence[tuple[np.ndarray, np.ndarray]]) -> Curve | None:
    """Align the courses of runs where all of them have values, by straight lines between evaluations."""
    if min(len(x) for x, _ in courses) < 2:
        return None
    first, last = max(x[0] for x, _ in courses), min(x[-1] for x, _ in courses)
    grid = np.unique(np.concatenate([x for x, _ in courses]))
    grid = grid[(first <= grid) & (grid <= last)]
    if len(grid) > MOST_POINTS:
        grid = np.linspace(first, last, MOST_POINTS)
    if len(grid) < 2:
        return None
    scores = np.array([np.interp(grid, x, values) for x, values in courses])
    return Curve(grid, tuple(Estimate.of(interquartile_mean, column) for column in scores.T))


def _evaluations(run: Run, score: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and the scores of the evaluations that have one, (k,) each."""
    rows = [(figures["steps"], figures[score]) for figures in run.evaluations if _is_number(figures.get(score))]
    steps, values = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def _scores(runs: Sequence[Run], score: str) -> np.ndarray:
    for run in runs:
        if not _is_number(run.final.get(score)):
            known = ", ".join(name for name, value in run.final.items() if name != "episodes" and _is_number(value))
            raise Refusal(f"`score` {score} does not fit {run.source}: its final evaluation has {known or 'none'}")
    return np.array([run.final[score] for run in runs], dtype=np.float64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
