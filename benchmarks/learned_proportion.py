"""Where the hidden proportion goes that a training finds itself: python -m benchmarks.learned_proportion.

From what `sweep.py report benchmarks/studies/rebalancing_NAME.yaml --out benchmarks/studies/rebalancing_NAME` wrote, of
as many such studies as there are: a table for each, a picture of its courses, and one picture of where they all end.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

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


def across_blocks(configurations: Sequence[Runs]) -> list[Runs]:
    """Return the configurations whose weights move between blocks by momentum."""
    return [runs for runs in configurations if moves(runs) == "momentum" and end(runs, "actor") is not None]


def best_static(configurations: Sequence[Runs]) -> float | None:
    """Return the hidden proportion of the best network without moves; None if there is none."""
    static = [runs for runs in configurations if moves(runs) == "none" and runs[0].has_six_blocks]
    return max(static, key=mean_score)[0].hidden_proportion if static else None


def draw_courses(configurations: Sequence[Runs]) -> Figure:
    """Draw the hidden proportion against steps, a line for each run, and the best static one."""
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    for axes, network in zip(figure.subplots(1, 2, sharey=True), NETWORKS, strict=True):
        for runs in across_blocks(configurations):
            for run in runs:
                course = [(0, run.hidden_proportion), *learned(run, network)]
                axes.plot(*zip(*course, strict=True), color=NETWORKS[network], linewidth=1, alpha=0.7)
        best = best_static(configurations)
        if best is not None:
            axes.axhline(best, color=STATIC, linestyle="--", linewidth=1, label="best static network")
            axes.legend(frameon=False)
        axes.set(title=network, xlabel="environment steps", ylim=(0, 1))
    figure.axes[0].set_ylabel("hidden proportion")
    return figure


def draw_ends(studies: dict[str, Sequence[Runs]]) -> Figure:
    """Draw for each study where the courses end, in the longest trainings, beside the best static proportion."""
    figure = Figure(figsize=(8, 1.4 + 0.5 * len(studies)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for row, configurations in enumerate(studies.values()):
        for shift, (network, colour) in zip((-0.12, 0.12), NETWORKS.items(), strict=True):
            values = [
                course[-1][1]
                for runs in across_blocks(configurations)
                for run in runs
                if (course := learned(run, network))
            ]
            label = f"learned, {network}" if row == 0 else None
            axes.plot(values, np.full(len(values), row + shift), "o", color=colour, alpha=0.7, label=label)
        best = best_static(configurations)
        if best is not None:
            label = "best static network" if row == 0 else None
            axes.plot([best], [row], "|", color=STATIC, markersize=22, markeredgewidth=2, label=label)
    axes.set(xlim=(0, 1), xlabel="hidden proportion", yticks=range(len(studies)), yticklabels=list(studies))
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=3)
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
        longest = max(map(steps, configurations))
        studies[name] = [runs for runs in configurations if steps(runs) == longest]
        parts += [f"{name.replace('_', ' ')}:", table(configurations)]
        if write:
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
