"""What a study found, in numbers: the tables and the sentences of its report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agents.reporting.estimates import Estimate
from agents.reporting.statistics import interquartile_mean, probability_of_improvement
from agents.studies.results import Result, by_budget, by_configuration, grouped
from agents.studies.statistics import (
    cross_validated_r2,
    interval_over_clusters,
    proportion_features,
    size_features,
)
from policies.network.architectures import ARCHITECTURES
from policies.network.specification import BLOCKS

BASELINES = tuple(name for name, architecture in ARCHITECTURES.items() if architecture.is_baseline)


@dataclass(frozen=True)
class Standing:
    """An architecture at a budget.

    :ivar best: the runs of its best configuration, that with the highest mean final score over its seeds
    :ivar runs: of all its configurations
    :ivar improvement: baseline -> probability that a run of the best configuration scores above one of the baseline's
    :ivar overall_improvement: the same over the runs of all configurations
    """

    architecture: str
    budget: int
    best: Sequence[Result]
    runs: Sequence[Result]
    improvement: dict[str, Estimate]
    overall_improvement: dict[str, Estimate]

    @property
    def title(self) -> str:
        """Name of the architecture in reports."""
        return ARCHITECTURES[self.architecture].title

    @cached_property
    def best_mean(self) -> Estimate:
        """Mean score of the best configuration, over seeds."""
        return Estimate.of(np.mean, _scores(self.best))

    @cached_property
    def best_iqm(self) -> Estimate:
        """Interquartile mean of the best configuration, over seeds."""
        return Estimate.of(interquartile_mean, _scores(self.best))

    @cached_property
    def overall_iqm(self) -> Estimate:
        """Interquartile mean over all configurations, which are what is resampled."""
        return _over_configurations(interquartile_mean, self.runs)

    @property
    def n_configurations(self) -> int:
        return len(by_configuration(self.runs))


@dataclass(frozen=True)
class Explained:
    """How much of the scores' variance each model explains, by 5-fold cross-validation over configurations.

    :ivar group: of the study, or "all"
    :ivar proportion: R² of p + p²; None if there are too few configurations
    :ivar size: R² of log n_h and the six densities
    :ivar both: R² of all of them
    """

    budget: int
    group: str
    n_configurations: int
    proportion: float | None
    size: float | None
    both: float | None


def standings(results: Sequence[Result]) -> list[Standing]:
    """Return every architecture at every budget, the budgets rising, from the complete runs."""
    complete = sorted((result for result in results if result.status == "complete"), key=lambda result: result.rank)
    found: list[Standing] = []
    for budget, here in by_budget(complete):
        runs = grouped(here, lambda result: result.architecture)
        best = {name: _best(own) for name, own in runs.items()}
        for name, own in runs.items():
            others = [other for other in BASELINES if other in runs and other != name]
            improvement = {
                other: Estimate.of(probability_of_improvement, _scores(best[name]), _scores(best[other]))
                for other in others
            }
            overall = {other: _over_configurations(probability_of_improvement, own, runs[other]) for other in others}
            found.append(Standing(name, budget, best[name], own, improvement, overall))
    return found


def explained(results: Sequence[Result]) -> list[Explained]:
    """Return how much of the variance is explained at each budget, over all networks of six blocks and by group."""
    rows = [result for result in results if result.status == "complete" and result.has_six_blocks]
    found = []
    for budget, here in by_budget(rows):
        found.append(_explained(budget, "all", here))
        groups = grouped(here, lambda row: row.group)
        if len(groups) > 1:
            parts = [_explained(budget, group, own) for group, own in groups.items()]
            found += [part for part in parts if part.proportion is not None]
    return found


def _explained(budget: int, group: str, rows: Sequence[Result]) -> Explained:
    scores = _scores(rows)
    configurations = [row.configuration for row in rows]
    proportion = proportion_features(np.array([row.hidden_proportion for row in rows]))
    size = size_features(
        np.array([row.network["n_hidden"] for row in rows]),
        {block: np.array([row.network["densities"][block] for row in rows]) for block in BLOCKS},
    )
    return Explained(
        budget,
        group,
        len(set(configurations)),
        cross_validated_r2(proportion, scores, configurations),
        cross_validated_r2(size, scores, configurations),
        cross_validated_r2(np.hstack([proportion, size]), scores, configurations),
    )


def sentences(found: Sequence[Standing], explanations: Sequence[Explained], score: str) -> list[str]:
    """State the findings.

    :param found: what `standings` returns
    :param explanations: what `explained` returns
    """
    said: list[str] = []
    if any(standing.n_configurations > 1 for standing in found):
        said.append(
            "A best configuration is chosen by the very scores that are given for it: the more there were to choose "
            "from, the more they flatter it. Interquartile means over all configurations do not."
        )
    for budget in sorted({standing.budget for standing in found}):
        here = sorted((s for s in found if s.budget == budget), key=lambda s: -s.best_mean.value)
        said += _about_budget(budget, here, score.replace("_", " "))
    return said + [_about_variance(part) for part in explanations]


def _about_budget(budget: int, here: Sequence[Standing], score: str) -> list[str]:
    """State what the architectures, the best first, came to at a budget."""
    first, network = here[0], here[0].best[0]
    seeds = len(first.best)
    said = [
        f"With {budget:,} weights {first.title} is best: configuration "
        f"{network.configuration} (hidden proportion {network.hidden_proportion:.3g}, "
        f"{network.network['n_hidden']:,} hidden units, best of {first.n_configurations}) ends at a {score} of "
        f"{first.best_mean}, " + (f"mean and 95 % interval over {seeds} seeds." if seeds > 1 else "from one seed.")
    ]
    if len(here) > 1:
        others = [f"{s.title} {s.best_mean} of {s.n_configurations}" for s in here[1:]]
        said[0] += f" The best of the others: {', '.join(others)}."
    for baseline in BASELINES:
        chances = [
            f"{s.title} {s.improvement[baseline]}"
            for s in here
            if baseline in s.improvement and s.architecture not in BASELINES
        ]
        if chances:
            said.append(
                f"With {budget:,} weights the probability that a run of the best configuration scores above a run of "
                f"the best {ARCHITECTURES[baseline].title} one is: {', '.join(chances)}."
            )
    middles = [f"{s.title} {s.overall_iqm} of {s.n_configurations}" for s in here]
    said.append(f"With {budget:,} weights the interquartile mean over all configurations is: {', '.join(middles)}.")
    return said


def _about_variance(part: Explained) -> str:
    """State how much of the variance is explained."""
    of = "" if part.group == "all" else f" of group {part.group}"
    start = f"With {part.budget:,} weights, over {part.n_configurations} configurations{of},"
    if part.proportion is None:
        return f"{start} there is too little to say how much of the variance the hidden proportion explains."
    text = f"{start} the hidden proportion alone (p + p²) explains {_percent(part.proportion)}"
    if part.size is None or part.both is None:
        return text + "; there are too few configurations to fit log n_h and the six densities."
    return text + (
        f"; log n_h and the six densities explain {_percent(part.size)}, all of them together {_percent(part.both)}."
    )


def _percent(r2: float) -> str:
    if r2 <= 0:
        return f"nothing of the variance (R² {r2:.2f})"
    return f"{r2:.0%} of the variance (R² {r2:.2f})"


def _over_configurations(statistic: Callable[..., np.ndarray], *samples: Sequence[Result]) -> Estimate:
    """Return a statistic of sets of runs, of which the bootstrap draws configurations with all their runs."""
    clusters = ([_scores(own) for own in by_configuration(runs).values()] for runs in samples)
    return Estimate(float(statistic(*map(_scores, samples))), interval_over_clusters(statistic, *clusters))


def _best(runs: Sequence[Result]) -> list[Result]:
    return max(by_configuration(runs).values(), key=lambda own: float(_scores(own).mean()))


def _scores(runs: Sequence[Result]) -> np.ndarray:
    return np.array([run.score for run in runs])
