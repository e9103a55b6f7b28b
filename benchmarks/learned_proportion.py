"""Where the hidden proportion goes that a training finds itself: python -m benchmarks.learned_proportion.

From what `sweep.py report benchmarks/studies/rebalancing_NAME.yaml --out benchmarks/studies/rebalancing_NAME` wrote, of
as many such studies as there are: a table for each, a picture of its courses, and one picture of where they all end.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from agents.reporting.estimates import number
from agents.studies.results import Result, by_configuration, read_results
from benchmarks.harness import FOLDER, tabulate, write_section
from benchmarks.study_tables import interval
from policies.network.architectures import ARCHITECTURES

PREFIX = "rebalancing_"
NETWORKS = {"actor": "#20639b", "critic": "#edae49"}
STATIC = "#d1495b"

Runs = Sequence[Result]


def moves(runs: Runs) -> str:
    """Return how weights move: none, or rule and scope."""
    given = runs[0].hyperparameters
    rule, scope = given.get("rebalance") or "none", given.get("rebalance_scope") or "network"
    return rule if rule == "none" or scope == "network" else f"{rule}, within blocks"


def learned(run: Result, network: str) -> list[tuple[int, float]]:
    """Return the course of a network's hidden proportion: steps, and its value at that evaluation."""
    name = f"hidden_proportion_{network}"
    return [(point["steps"], float(point[name])) for point in run.evaluations if name in point]


def end(runs: Runs, network: str) -> float | None:
    """Return the mean of where the hidden proportion of a network came to; None where it was not followed."""
    ends = [course[-1][1] for run in runs if (course := learned(run, network))]
    return float(np.mean(ends)) if ends else None


def mean_score(runs: Runs) -> float:
    """Return the mean of the final scores."""
    return float(np.mean([run.score for run in runs]))


def table(configurations: Sequence[Runs]) -> str:
    """Lay out a row for each configuration: where it starts, where it ends, and what it comes to."""

    def shown(runs: Runs, network: str) -> str:
        value = end(runs, network)
        return "" if value is None else f"{value:.3f}"

    return tabulate(
        sorted(configurations, key=lambda runs: (steps(runs), runs[0].hidden_proportion, moves(runs))),
        ("network", lambda runs: ARCHITECTURES[runs[0].architecture].title),
        ("steps", lambda runs: f"{steps(runs):,}"),
        ("moves", moves),
        ("hidden units", lambda runs: f"{runs[0].network['n_hidden']:,}"),
        ("p at first", lambda runs: f"{runs[0].hidden_proportion:.3f}"),
        ("learned p, actor", lambda runs: shown(runs, "actor")),
        ("learned p, critic", lambda runs: shown(runs, "critic")),
        ("runs", lambda runs: len(runs)),
        ("score", lambda runs: number(mean_score(runs))),
        ("95 % interval", lambda runs: " to ".join(map(number, interval(runs)))),
    )


def steps(runs: Runs) -> int:
    """Return how long the trainings were; those of imitation alone have none."""
    given = runs[0].hyperparameters
    return 0 if given["demos_only"] else int(given["total_timesteps"])


def until(configurations: Sequence[Runs], length: int) -> list[Runs]:
    """Return the configurations after so many steps: trainings of that length, and longer ones without moves.

    Moves end with their training, so that one that moves weights is another at each length. Scores are of the
    validation episodes after those steps, which longer trainings have too.
    """
    return [
        [_until(run, length) for run in runs]
        for runs in configurations
        if steps(runs) == length or (steps(runs) > length and moves(runs) == "none")
    ]


def _until(run: Result, length: int) -> Result:
    at = min(range(len(run.curve)), key=lambda i: abs(run.curve[i][0] - length))
    return replace(
        run,
        hyperparameters={**run.hyperparameters, "total_timesteps": length},
        final_score=run.curve[at][1],
        final=run.evaluations[at],
        evaluations=run.evaluations[: at + 1],
    )


def across_blocks(configurations: Sequence[Runs]) -> list[Runs]:
    """Return the configurations whose weights move between blocks by momentum."""
    return [runs for runs in configurations if moves(runs) == "momentum" and end(runs, "actor") is not None]


def best_static(configurations: Sequence[Runs]) -> tuple[float, float, float] | None:
    """Return the hidden proportion of the best network without moves, and the least and largest that are level with it.

    Level: their intervals overlap.

    :return: None if there is none
    """
    static = [runs for runs in configurations if moves(runs) == "none" and runs[0].has_six_blocks]
    if not static:
        return None
    best = max(static, key=mean_score)
    level = [runs[0].hidden_proportion for runs in static if interval(runs)[1] >= interval(best)[0]]
    return best[0].hidden_proportion, min(level), max(level)


def draw_courses(configurations: Sequence[Runs]) -> Figure:
    """Draw the hidden proportion against steps, a line for each run, and the best static one."""
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    for axes, network in zip(figure.subplots(1, 2, sharey=True), NETWORKS, strict=True):
        for runs in across_blocks(configurations):
            for run in runs:
                course = [(0, run.hidden_proportion), *learned(run, network)]
                axes.plot(*zip(*course, strict=True), color=NETWORKS[network], linewidth=1, alpha=0.7)
        found = best_static(configurations)
        if found is not None:
            axes.axhspan(*found[1:], color=STATIC, alpha=0.12, linewidth=0, label="level with it")
            axes.axhline(found[0], color=STATIC, linestyle="--", linewidth=1, label="best static network")
            axes.legend(frameon=False)
        axes.set(title=network, xlabel="environment steps", ylim=(0, 1))
    figure.axes[0].set_ylabel("hidden proportion")
    return figure


def draw_ends(studies: dict[str, Sequence[Runs]]) -> Figure:
    """Draw for each study where the courses of its longest trainings begin and end, beside the best static network."""
    figure = Figure(figsize=(8, 1.2 + 0.6 * len(studies)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for row, configurations in enumerate(studies.values()):
        found = best_static(configurations)
        if found is not None:
            best, low, high = found
            axes.fill_between([low, high], row - 0.35, row + 0.35, color=STATIC, alpha=0.12, linewidth=0)
            axes.plot([best, best], [row - 0.35, row + 0.35], color=STATIC, linewidth=2)
        for shift, (network, colour) in zip((-0.14, 0.14), NETWORKS.items(), strict=True):
            for runs in across_blocks(configurations):
                for run in runs:
                    if course := learned(run, network):
                        ends = [run.hidden_proportion, course[-1][1]]
                        axes.plot(ends, [row + shift] * 2, color=colour, alpha=0.3, linewidth=1)
                        axes.plot(ends[:1], [row + shift], "o", color=colour, markerfacecolor="white", markersize=4)
                        axes.plot(ends[1:], [row + shift], "o", color=colour, alpha=0.8, markersize=6)
    axes.set(xlim=(0, 1), xlabel="hidden proportion", yticks=range(len(studies)), yticklabels=list(studies))
    axes.invert_yaxis()
    handles = [
        *(
            Line2D([], [], color=colour, marker="o", label=f"{network}, start (hollow) to end")
            for network, colour in NETWORKS.items()
        ),
        Line2D([], [], color=STATIC, linewidth=2, label="best static network"),
        Patch(color=STATIC, alpha=0.12, label="level with it"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return figure


def publish(folder: Path = FOLDER / "studies", write: bool = True) -> None:
    """Write tables and pictures of all studies whose reports are there.

    :param write: into the README of the benchmarks, and beside its other figures; else everything is printed
    """
    studies: dict[str, Sequence[Runs]] = {}
    parts = ["### Learned hidden proportion", "`python -m benchmarks.learned_proportion`"]
    for results in sorted(folder.glob(f"{PREFIX}*/results.csv")):
        complete = [run for run in read_results(results.parent) if run.final_score is not None]
        configurations = list(by_configuration(complete).values())
        name = results.parent.name.removeprefix(PREFIX)
        if not across_blocks(configurations):
            continue
        *shorter, longest = sorted({steps(runs) for runs in configurations})
        studies[name] = [runs for runs in configurations if steps(runs) == longest]
        for length in shorter:
            parts.append(f"{name.replace('_', ' ')}, validation episodes after {length:,} steps:")
            parts.append(table(until(configurations, length)))
        parts += [f"{name.replace('_', ' ')}:", table(studies[name])]
        if write and longest:  # demonstrations alone are fitted in no steps
            figure = FOLDER / "figures" / f"learned_proportion_{name}.png"
            draw_courses(studies[name]).savefig(figure)
            parts.append(f"![Hidden proportion against steps](figures/{figure.name})")
    if studies and write:
        draw_ends(studies).savefig(FOLDER / "figures" / "learned_proportion.png")
        parts.insert(2, "![Where the hidden proportion ends, by task](figures/learned_proportion.png)")
        write_section("learned proportion", "\n\n".join(parts))
    print("\n\n".join(parts))


if __name__ == "__main__":
    publish()
