"""The map: what all studies say of which network pays where, and the parent that is learned from them.

    python -m benchmarks.map

reads the committed results of all studies, in benchmarks/studies and benchmarks/suite, and writes the table of all
trainings and the parent (agents/recommendation/records.csv and parent.npz), the picture and the section of the README.
The facts of a task whose data are not here (docs/studies.md) are kept from the table that is there.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from agents.recommendation.networks import CANDIDATES, Network
from agents.recommendation.parent import FEWEST_TASKS, HOME, TABLE
from agents.recommendation.records import Comparison, Record, comparisons, read_table
from agents.studies.learning import learn_studies
from agents.studies.results import Result, read_results
from agents.trained.intervals import CONFIDENCE, Interval
from benchmarks.harness import FOLDER, markdown_table, write_section

PICTURE = FOLDER / "figures" / "map.png"
FAMILIES = ("RandomAnomaly", "SequenceChoice", "popgym", "PositionOnly", "Adroit")
COLOURS = ("#20639b", "#3a8f6b", "#edae49", "#d1495b", "#6b7280", "#000000")


@dataclass(frozen=True)
class Gap:
    """By how much the best varied network of a comparison scores above the dense one; scores are scaled.

    :ivar interval: from the deviation between seeds, pooled over varied and dense networks; None with one seed
    :ivar is_fair: the best network was chosen by other seeds than those whose score is given
    """

    comparison: Comparison
    value: float
    interval: Interval | None
    is_fair: bool
    best: Network


def committed_results() -> dict[str, list[Result]]:
    """Return the results of all studies in the repository, by study."""
    files = sorted([*FOLDER.glob("studies/*/results.csv"), *FOLDER.glob("suite/*/results.csv")])
    names = [file.parent.name for file in files]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two studies have one name: {', '.join(sorted(twice))}")
    return {file.parent.name: read_results(file.parent) for file in files}


def gap(comparison: Comparison) -> Gap | None:
    """Return the gap of a comparison; None if it lacks a dense or a varied network.

    With several seeds the best varied network is chosen by all seeds but one and counts by that one, in turn: chosen by
    the scores that are given, the best of many would flatter itself.
    """
    places = range(len(comparison.networks))
    varied = [place for place in places if comparison.networks[place].architecture == "varied"]
    dense = [place for place in places if comparison.networks[place].architecture == "dense"]
    if not varied or not dense:
        return None
    several = [place for place in varied if len(comparison.scores[place]) > 1]
    chosen = several or varied
    best = max(chosen, key=lambda place: comparison.means[place])
    above = float(comparison.means[dense[0]])
    if not several:
        return Gap(comparison, comparison.means[best] - above, None, False, comparison.networks[best])
    turns = []
    for turn in range(min(len(comparison.scores[place]) for place in several)):
        others = [float(np.mean(np.delete(comparison.scores[place], turn))) for place in several]
        turns.append(comparison.scores[several[int(np.argmax(others))]][turn])
    value = float(np.mean(turns)) - above
    return Gap(comparison, value, _interval(comparison, value, len(turns)), True, comparison.networks[best])


def gaps_of(records: Sequence[Record]) -> list[Gap]:
    """Return the gaps of all comparisons at the end of a training that have one."""
    return [found for one in comparisons(records) if one.is_final and (found := gap(one)) is not None]


def _interval(comparison: Comparison, value: float, seeds: int) -> Interval:
    both = [
        scores
        for network, scores in zip(comparison.networks, comparison.scores, strict=True)
        if network.architecture in ("varied", "dense")
    ]
    repeated = [scores for scores in both if len(scores) > 1]
    freedom = sum(len(scores) - 1 for scores in repeated)
    variance = sum(float(np.var(scores) * len(scores)) for scores in repeated) / freedom
    dense = next(
        scores
        for network, scores in zip(comparison.networks, comparison.scores, strict=True)
        if network.architecture == "dense"
    )
    width = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(variance * (1 / seeds + 1 / len(dense)))
    return value - float(width), value + float(width)


def draw(gaps: Sequence[Gap]) -> Figure:
    """Draw the gaps of all comparisons against each candidate number."""
    figure = Figure(figsize=(5 * len(CANDIDATES), 4.6), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(CANDIDATES), sharey=True), CANDIDATES, strict=True):
        _panel(axes, name, gaps)
    figure.axes[0].set_ylabel("scaled score: best varied network − dense")
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=6, fontsize=8)
    return figure


def _panel(axes: Axes, name: str, gaps: Sequence[Gap]) -> None:
    axes.axhline(0, color="black", linewidth=0.8)
    for one in gaps:
        family = next((place for place, start in enumerate(FAMILIES) if one.comparison.task.startswith(start)), -1)
        x = CANDIDATES[name](one.comparison.facts, one.comparison.budget)
        errors = None if one.interval is None else [[one.value - one.interval[0]], [one.interval[1] - one.value]]
        axes.errorbar(
            *([x], [one.value]),
            yerr=errors,
            fmt="o",
            markersize=5,
            color=COLOURS[family],
            markerfacecolor=COLOURS[family] if one.is_fair else "white",
            label=f"{FAMILIES[family] if family >= 0 else 'other'}{'' if one.is_fair else ', one seed'}",
        )
    axes.set_xlabel(name)
    if not name.startswith("hidden"):
        axes.set_xscale("log")


def section(gaps: Sequence[Gap], said: Sequence[str]) -> str:
    """Return the part of the README: what is there, the picture, and how closely each number goes with the gap."""
    numbers = {
        name: [number(one.comparison.facts, one.comparison.budget) for one in gaps]
        for name, number in CANDIDATES.items()
    }
    values = [one.value for one in gaps]
    rows = []
    for place in np.argsort(next(iter(numbers.values()))):
        one = gaps[place]
        between = "" if one.interval is None else f"{one.interval[0]:+.2f} to {one.interval[1]:+.2f}"
        rows.append(
            [
                *(one.comparison.task, one.comparison.study, f"{one.comparison.budget:,}", f"{one.comparison.steps:,}"),
                *(f"{own[place]:.3g}" for own in numbers.values()),
                *(one.best.title, f"{one.value:+.2f}", between),
            ]
        )
    header = (
        "task",
        "study",
        "weights",
        "steps",
        *CANDIDATES,
        "best varied network",
        "varied − dense",
        "95 % interval",
    )
    n_tasks = len({one.comparison.kin for one in gaps})
    ranks = [f"{name} {stats.spearmanr(own, values)[0]:+.2f}" for name, own in numbers.items()]
    return "\n\n".join(
        [
            "### The map",
            "`python -m benchmarks.map`",
            " ".join(f"{line}." for line in said),
            "![Gap between varied and dense networks](figures/map.png)",
            markdown_table(header, rows),
            f"{n_tasks} tasks are too few to say which number goes with the gap."
            if n_tasks < FEWEST_TASKS
            else f"Rank correlation with the gap, {len(gaps)} comparisons of {n_tasks} tasks: {', '.join(ranks)}.",
            "A score of 1 is that of the best network of the setting, 0 the lowest of all its evaluations. The best "
            "varied network is chosen by other seeds than those it counts by, where there are several; a hollow point "
            "stands for one seed, which flatters it. Intervals come from the deviation between seeds, pooled over a "
            "comparison's varied and dense networks.",
        ]
    )


def main() -> None:
    """Renew table, parent, picture and section."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    table = HOME / TABLE
    known = {record.task: record.facts for record in read_table(table)} if table.is_file() else {}
    learned = learn_studies(committed_results(), HOME, (), known)
    print(*learned.of_studies, *learned.of_all, sep="\n")
    gaps = gaps_of(read_table(table))
    draw(gaps).savefig(PICTURE)
    write_section("map", section(gaps, learned.of_all))


if __name__ == "__main__":
    main()
