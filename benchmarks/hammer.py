"""AdroitHandHammer-v1 from demonstrations and from nothing: python -m benchmarks.hammer --demos DATASET.

One line per finished run is appended to results/hammer.jsonl; what is there already is skipped, so the command may be
stopped and called again. `--report` makes tables and figure from what is there and says what is missing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from agents.building import load_agent
from agents.configuration import configure
from agents.evaluation import FINAL_SEED, evaluate
from agents.training import train
from benchmarks.harness import (
    FOLDER,
    RESULTS,
    append_line,
    describe,
    machine,
    markdown_table,
    network_name,
    read_lines,
    write_section,
)
from envs.vectorized.make import make_vec_env

LINES = RESULTS / "hammer.jsonl"
FIGURE = FOLDER / "figures" / "hammer.png"
ENV = "AdroitHandHammer-v1"
TEST_EPISODES = 100
ALL = 450
"""demonstrations of the whole data set, a tenth held out"""
NETWORKS = (
    ("varied", 0.1),
    ("varied", 0.25),
    ("varied", 0.5),
    ("varied", 0.75),
    ("uniform", None),
    ("dense", None),
    ("lstm", None),
)
ZERO_ACTION, CONSTANT_ACTION = -233.0, 138.0
"""mean return of doing nothing, and of the best of 60 random constant actions"""
LONG = 2_000_000
"""environment steps of the longer runs from nothing"""


@dataclass(frozen=True)
class Cell:
    """One planned run."""

    architecture: str
    hidden_proportion: float | None
    budget: int
    demonstrations: int
    """0 for none"""
    reinforcement: bool
    """PPO, after the demonstrations where there are any"""
    seed: int
    steps_planned: int = 0
    """environment steps of PPO, 0 for the preset's"""

    @property
    def network(self) -> str:
        """The network's name in table and figure."""
        return network_name(self.architecture, self.hidden_proportion)


def plan() -> list[Cell]:
    """List all runs; those that say most come first."""
    cells = [Cell("varied", 0.5, 50_000, ALL, True, seed) for seed in range(3)]
    cells += [Cell(architecture, p, 50_000, ALL, False, seed) for seed in range(3) for architecture, p in NETWORKS]
    cells += [Cell("varied", 0.5, 50_000, 0, True, seed) for seed in range(3)]
    cells += [
        Cell("varied", 0.5, 50_000, few, after, seed) for seed in range(3) for few in (5, 25) for after in (False, True)
    ]
    cells += [Cell(architecture, p, 10_000, ALL, False, seed) for seed in range(3) for architecture, p in NETWORKS]
    cells += [
        Cell(architecture, None, 50_000, ALL, True, seed) for seed in range(3) for architecture in ("dense", "lstm")
    ]
    cells += [Cell(architecture, p, 400_000, ALL, False, 0) for architecture, p in NETWORKS]
    cells += [Cell("varied", 0.5, 50_000, 0, True, seed, LONG) for seed in range(3)]
    return cells


def run_cell(cell: Cell, demos: str) -> dict[str, Any]:
    """Train one network and measure its final policy over fresh episodes."""
    started, processor_started = time.perf_counter(), time.process_time()
    options: dict[str, Any] = {}
    if cell.demonstrations:
        options = {"demos": demos, "demos_only": not cell.reinforcement}
        if cell.demonstrations != ALL:
            options["demo_episodes"] = cell.demonstrations
    if cell.steps_planned:
        options["total_timesteps"] = cell.steps_planned
    if not cell.reinforcement:
        options["eval_episodes"] = 4  # the comparison needs none of the evaluations on the way
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            configure(
                ENV,
                architecture=cell.architecture,
                hidden_proportion=cell.hidden_proportion,
                budget=cell.budget,
                seed=cell.seed,
                log_dir=folder,
                run_name="run",
                progress=False,
                **options,
            )
        )
        seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor_started
        policy, normalization, _ = load_agent(result.path, "final")
        network = json.loads((result.path / "network.json").read_text())["actor"]
    environments = make_vec_env(ENV, n_envs=TEST_EPISODES // 2, seed=0, vectorization="threads", training=False)
    test = evaluate(
        policy,
        environments,
        episodes=TEST_EPISODES,
        first_seed=FINAL_SEED,
        normalization=normalization,
        figures=("lifted",),
    )
    environments.close()
    assert test.successes is not None
    return {
        **asdict(cell),
        "network": cell.network,
        "n_hidden": network["n_hidden"],
        "realized_hidden_proportion": round(network["hidden_proportion"], 4),
        "test_returns": [round(value) for value in test.returns],
        "test_successes": int(test.successes.sum()),
        "test_lifted": round(float(test.figures["lifted"].mean()), 4),
        "held_out_loss": round(result.imitation[-1].held_out_loss, 4) if result.imitation else None,
        "curve": [
            [
                point.steps,
                round(point.evaluation.mean_return),
                point.evaluation.success_rate,
                round(float(point.evaluation.figures["lifted"].mean()), 3),
            ]
            for point in result.curve
        ],
        "steps": result.steps,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds, 1),
        "machine": machine(),
    }


def finished() -> dict[Cell, dict[str, Any]]:
    """Read the runs that are done."""
    return {
        Cell(**{name: run[name] for name in Cell.__dataclass_fields__ if name in run}): run for run in read_lines(LINES)
    }


def interval(runs: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean return: runs are resampled, and within each its episodes."""
    generator = np.random.default_rng(0)
    returns = np.array([run["test_returns"] for run in runs])
    draws = 4_000
    chosen = generator.integers(0, len(runs), (draws, len(runs), 1))
    episodes = generator.integers(0, returns.shape[1], (draws, len(runs), returns.shape[1]))
    low, high = np.percentile(returns[chosen, episodes].mean(axis=(1, 2)), [2.5, 97.5])
    return float(low), float(high)


def row(title: Sequence[str], cells: Iterable[Cell], runs: dict[Cell, dict[str, Any]]) -> tuple[str, ...]:
    """Return a table's row: a title, and the pooled figures of the finished runs among some cells."""
    cells = list(cells)
    done = [runs[cell] for cell in cells if cell in runs]
    count = f"{len(done)} of {len(cells)}"
    if not done:
        return (*title, count, "missing", "", "", "", "")
    low, high = interval(done)
    returns = np.array([run["test_returns"] for run in done])
    successes = sum(run["test_successes"] for run in done)
    return (
        *title,
        count,
        f"{returns.mean():,.0f}",
        f"{low:,.0f} to {high:,.0f}",
        f"{successes / returns.size:.1%}",
        f"{np.mean([run['test_lifted'] for run in done]):.0%}",
        f"{np.median([run['seconds'] for run in done]):.0f}",
    )


FIGURES = ("runs", "mean return", "95 % interval", "success", "lifted", "seconds")


def report() -> None:
    """Make the tables and the figure from the finished runs."""
    runs = finished()
    planned = plan()

    def where(**wanted: Any) -> list[Cell]:
        return [cell for cell in planned if all(getattr(cell, name) == value for name, value in wanted.items())]

    half = {"architecture": "varied", "hidden_proportion": 0.5, "budget": 50_000}
    few = [
        row((f"{count}", name), where(**half, demonstrations=count, reinforcement=after), runs)
        for count in (5, 25, ALL)
        for after, name in ((False, "imitation"), (True, "imitation, then PPO"))
    ]
    few += [
        row(
            ("none", f"PPO, {steps or configure(ENV).total_timesteps:,} steps"),
            where(**half, demonstrations=0, steps_planned=steps),
            runs,
        )
        for steps in (0, LONG)
    ]
    comparison = [
        row(
            (f"{budget:,}", name, units(cells, runs), "then PPO" if after else "imitation"),
            cells,
            runs,
        )
        for budget in (10_000, 50_000, 400_000)
        for after in (False, True)
        for name, cells in by_network(where(budget=budget, demonstrations=ALL, reinforcement=after))
    ]
    tables = (
        markdown_table(("demonstrations", "learning", *FIGURES), few),
        markdown_table(("budget", "network", "hidden units", "learning", *FIGURES), comparison),
    )
    missing = [cell for cell in planned if cell not in runs]
    print("\n\n".join(tables))
    print(f"{len(missing)} of {len(planned)} runs are missing" if missing else "all runs are there")
    if not runs:
        return
    draw(runs, where)
    missed = f" {len(missing)} of {len(planned)} runs are missing." if missing else ""
    settings = (
        f"{ENV}, the preset's settings, {TEST_EPISODES} fresh episodes of the final policy of every run; success: the "
        "nail in for more than 25 of 200 steps; lifted: share of steps with the hammer lifted. Intervals: bootstrap "
        "over runs and episodes. Seconds: median of a whole training, beside other jobs on the same two cores. 450 "
        "demonstrations of a noisy expert, mean return 14,900; the zero action returns −233, the best of 60 random "
        f"constant actions 138.{missed}"
    )
    facts = next(iter(runs.values()))["machine"]
    write_section(
        "hammer",
        "### Adroit Hammer: from demonstrations and from nothing\n\n"
        "`python -m benchmarks.hammer --demos DATASET`, then `--report`\n\nHow few demonstrations are enough? "
        f"50,000 weights, p = 0.5:\n\n{tables[0]}\n\nArchitectures at equal budget:\n\n{tables[1]}\n\n"
        f"![return and hammer lifted](figures/hammer.png)\n\n{settings} {describe(facts)}",
    )


def by_network(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Group cells by network, in the order of the plan."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.network, []).append(cell)
    return list(groups.items())


def units(cells: Sequence[Cell], runs: dict[Cell, dict[str, Any]]) -> str:
    """Return the hidden size of a network, if a run of it is done."""
    return next((f"{runs[cell]['n_hidden']:,}" for cell in cells if cell in runs), "")


def draw(runs: dict[Cell, dict[str, Any]], where: Any) -> None:
    """Draw return against budget for imitation alone, and the curves from nothing."""
    figure = Figure(figsize=(12, 4), dpi=110, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    colours = ("#9ecae1", "#6baed6", "#2171b5", "#08306b", "#edae49", "#d1495b", "#6b7280")
    for (name, cells), colour in zip(by_network(where(demonstrations=ALL, reinforcement=False)), colours, strict=True):
        budgets = sorted({cell.budget for cell in cells if cell in runs})
        done = [[runs[cell] for cell in cells if cell in runs and cell.budget == budget] for budget in budgets]
        if not done:
            continue
        means = [np.mean([run["test_returns"] for run in group]) for group in done]
        bounds = np.array([interval(group) for group in done]).T
        left.errorbar(budgets, means, np.abs(bounds - means), color=colour, label=name, marker="o", ms=4, capsize=2)
    left.set(
        xscale="log", xlabel="weights per network", ylabel="mean return", title="imitation alone, 450 demonstrations"
    )
    left.legend(fontsize=7)
    for seed in range(3):
        longest = [runs[cell] for cell in where(demonstrations=0, seed=seed) if cell in runs][-1:]
        for run in longest:
            curve = np.array(run["curve"], dtype=float)
            middle.plot(curve[:, 0], curve[:, 1], label=f"seed {seed}")
            right.plot(curve[:, 0], curve[:, 3], label=f"seed {seed}")
    for value, name in ((ZERO_ACTION, "zero action"), (CONSTANT_ACTION, "best constant action")):
        middle.axhline(value, color="black", linewidth=0.7, linestyle=":" if value < 0 else "--", label=name)
    middle.set(xlabel="environment steps", ylabel="mean return of 20 episodes", title="from nothing, p = 0.5")
    right.axhline(0.5, color="black", linewidth=0.7, linestyle=":")
    right.set(xlabel="environment steps", ylabel="share of steps with the hammer lifted", title="from nothing, p = 0.5")
    right.set_ylim(0, 1)
    middle.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 0.09))
    right.legend(fontsize=7)
    for axes in (left, middle, right):
        axes.grid(alpha=0.25)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE)


def main() -> None:
    """Run what is missing, one run after the other, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", help="id or folder of a Minari data set with 500 episodes of the hammer task")
    parser.add_argument("--report", action="store_true", help="make tables and figure from the finished runs")
    parser.add_argument("--only", choices=("imitation", "reinforcement"), help="run only what learns this way")
    parser.add_argument("--seed", type=int, help="run only this seed")
    arguments = parser.parse_args()
    if arguments.report:
        report()
        return
    if arguments.demos is None:
        parser.error("--demos is needed")
    for cell in plan():
        if cell in finished() or arguments.seed not in (None, cell.seed):
            continue
        if arguments.only and cell.reinforcement != (arguments.only == "reinforcement"):
            continue
        line = run_cell(cell, arguments.demos)
        append_line(LINES, line)
        print(
            f"{cell}: {np.mean(line['test_returns']):,.0f}, {line['test_successes']} of {TEST_EPISODES} succeed, "
            f"in {line['seconds']} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
