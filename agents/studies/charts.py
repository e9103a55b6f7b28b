"""What the figures of a study's report show."""

from collections.abc import Sequence

import numpy as np

from agents.reporting.charts import Chart, HeatMap, Series
from agents.reporting.estimates import number
from agents.studies.findings import Standing
from agents.studies.results import Result, by_budget, by_configuration, grouped
from agents.trained.intervals import bootstrap_interval
from policies.network.architectures import ARCHITECTURES

MARKERS = ("circle", "triangle-up", "square", "diamond", "cross", "star")
SHADES = ("#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c", "#08306b")
"""For curves of an architecture whose hidden proportion is free, light for a low one."""
PROPORTION_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
MOST_CURVES = 8
"""Up to so many configurations each have a learning curve; more share curves by hidden proportion."""


def charts_of(results: Sequence[Result], found: Sequence[Standing], score: str) -> list[Chart | HeatMap]:
    """Return the figures of a report.

    :param found: what `standings` returns
    """
    complete = [result for result in results if result.status == "complete"]
    label = score.replace("_", " ")
    charts: list[Chart | HeatMap] = [score_by_proportion(complete, label)]
    # A study of imitation alone has a single evaluation per run: no curve.
    if any(len(result.curve) > 1 for result in complete):
        charts.append(learning_curves(complete, label))
    return [*charts, score_by_budget(found, label), heat_map(complete, label)]


def score_by_proportion(complete: Sequence[Result], label: str) -> Chart:
    """Show the final score against the hidden proportion: a panel for each budget, a point for each configuration."""
    groups = list(dict.fromkeys(result.group for result in complete))
    panels = []
    for budget, here in by_budget(complete):
        here.sort(key=lambda run: (run.rank, groups.index(run.group)))
        series = []
        for (name, group), runs in grouped(here, lambda run: (run.architecture, run.group)).items():
            architecture = ARCHITECTURES[name]
            points = sorted(by_configuration(runs).values(), key=lambda own: own[0].hidden_proportion)
            scores = [np.array([run.score for run in own]) for own in points]
            series.append(
                Series(
                    name=architecture.title if group == "all" else f"{architecture.title} ({group})",
                    colour=architecture.colour,
                    x=tuple(own[0].hidden_proportion for own in points),
                    y=tuple(float(values.mean()) for values in scores),
                    low=tuple(float(values.min()) for values in scores),
                    high=tuple(float(values.max()) for values in scores),
                    texts=tuple(_described(own) for own in points),
                    marker=MARKERS[groups.index(group) % len(MARKERS)],
                )
            )
        panels.append((f"{budget:,} weights", tuple(series)))
    proportions = [result.hidden_proportion for result in complete]
    return Chart(
        "score_by_hidden_proportion",
        f"Final {label} against the hidden proportion",
        "hidden proportion",
        f"final {label}",
        tuple(panels),
        log_x=bool(proportions) and float(np.median(proportions)) < 0.1,
        note="A point for each configuration, the mean over its seeds; bars from the lowest to the highest seed. "
        "Groups of the study have markers of their own.",
    )


def learning_curves(complete: Sequence[Result], label: str) -> Chart:
    """Show the evaluations during training: the mean over runs, with the bootstrap interval of that mean."""
    panels = [
        (f"{budget:,} weights", tuple(_curves([run for run in here if run.curve])))
        for budget, here in by_budget(complete)
    ]
    return Chart(
        "learning_curves",
        f"{label.capitalize()} during training",
        "environment steps",
        label,
        tuple(panels),
        note="Means over runs; bands are 95 % bootstrap intervals of the mean.",
    )


def _curves(runs: Sequence[Result]) -> list[Series]:
    configurations = by_configuration(runs)
    bundles: dict[str, list[Result]] = {}
    if len(configurations) <= MOST_CURVES:
        for name, own in configurations.items():
            title = ARCHITECTURES[own[0].architecture].title
            bundles[f"{title}, p = {own[0].hidden_proportion:.3g} ({name})"] = own
    else:
        for run in sorted(runs, key=lambda run: (run.rank, _bin(run))):
            name = ARCHITECTURES[run.architecture].title
            if _is_free(run):
                name += f", p {_bin_name(_bin(run))}"
            bundles.setdefault(name, []).append(run)
    free = [name for name, own in bundles.items() if _is_free(own[0])]
    free.sort(key=lambda name: bundles[name][0].hidden_proportion)
    # Bins have the same shade in every panel; single configurations share the shades out among them.
    binned = len(configurations) > MOST_CURVES
    places = {name: _bin(bundles[name][0]) if binned else place for place, name in enumerate(free)}
    last = len(PROPORTION_EDGES) - 2 if binned else max(len(free) - 1, 1)
    series = []
    for name, own in bundles.items():
        curves = [dict(run.curve) for run in own]
        steps = sorted(set.intersection(*(set(curve) for curve in curves)))
        if not steps:
            continue
        scores = np.array([[curve[step] for step in steps] for curve in curves])
        intervals = [bootstrap_interval(scores[:, index]) for index in range(len(steps))]
        colour = ARCHITECTURES[own[0].architecture].colour
        if name in free:
            colour = SHADES[round(places[name] * (len(SHADES) - 1) / last)]
        series.append(
            Series(
                name=name,
                colour=colour,
                x=tuple(steps),
                y=tuple(scores.mean(axis=0).tolist()),
                low=tuple(interval[0] for interval in intervals if interval),
                high=tuple(interval[1] for interval in intervals if interval),
                texts=tuple(f"{number(mean)}, {len(own)} run{'s' * (len(own) > 1)}" for mean in scores.mean(axis=0)),
                line=True,
            )
        )
    return series


def score_by_budget(found: Sequence[Standing], label: str) -> Chart:
    """Show the best configuration of each architecture at each budget."""
    series = []
    for architecture in ARCHITECTURES.values():
        own = [standing for standing in found if standing.architecture == architecture.name]
        if own:
            means = [standing.best_mean for standing in own]
            low, high = zip(*(mean.interval or (mean.value, mean.value) for mean in means), strict=True)
            series.append(
                Series(
                    name=architecture.title,
                    colour=architecture.colour,
                    x=tuple(float(standing.budget) for standing in own),
                    y=tuple(mean.value for mean in means),
                    low=low,
                    high=high,
                    texts=tuple(_described(standing.best) for standing in own),
                )
            )
    budgets = sorted({standing.budget for standing in found})
    return Chart(
        "score_by_budget",
        f"Final {label} of each architecture's best configuration against the budget",
        "budget: weights of each network",
        f"final {label}",
        (("", tuple(series)),),
        log_x=len(budgets) > 1,
        ticks=tuple(float(budget) for budget in budgets),
        note="Bars are 95 % bootstrap intervals over seeds; a single seed has none.",
    )


def heat_map(complete: Sequence[Result], label: str) -> HeatMap:
    """Show the mean score by hidden proportion and budget, over all networks of six blocks."""
    runs = [result for result in complete if result.has_six_blocks]
    budgets, bins = sorted({run.budget for run in runs}), sorted({_bin(run) for run in runs})
    values = np.full((len(budgets), len(bins)), np.nan)
    counts = np.zeros((len(budgets), len(bins)), dtype=np.int64)
    for (budget, place), own in grouped(runs, lambda run: (run.budget, _bin(run))).items():
        cell = budgets.index(budget), bins.index(place)
        configurations = by_configuration(own).values()
        counts[cell] = len(configurations)
        values[cell] = np.mean([np.mean([run.score for run in seeds]) for seeds in configurations])
    return HeatMap(
        "proportion_by_budget",
        f"Final {label} by hidden proportion and budget",
        tuple(_bin_name(place) for place in bins),
        tuple(f"{budget:,}" for budget in budgets),
        values,
        counts,
        note="Means over configurations of six-block networks; below each the number of configurations.",
    )


def _is_free(run: Result) -> bool:
    """Tell whether the hidden proportion of a run's architecture is free to be chosen."""
    return "hidden_proportion" in ARCHITECTURES[run.architecture].options


def _bin(run: Result) -> int:
    return int(np.searchsorted(PROPORTION_EDGES[1:-1], run.hidden_proportion, side="right"))


def _bin_name(place: int) -> str:
    return f"{PROPORTION_EDGES[place]:g} to {PROPORTION_EDGES[place + 1]:g}"


def _described(own: Sequence[Result]) -> str:
    run = own[0]
    scores = ", ".join(number(result.score) for result in own)
    return (
        f"{run.configuration}: p = {run.hidden_proportion:.3g}, n_h = {run.network['n_hidden']:,}, "
        f"{len(own)} seed{'s' * (len(own) > 1)}: {scores}"
    )
