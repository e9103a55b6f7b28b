"""Accuracy on RandomAnomaly-v0 by hidden proportion and architecture: python -m benchmarks.random_anomaly.

Every run trains through the same loop and preset for the same number of episodes. One line per finished run is appended
to results/random_anomaly_<source>.jsonl; what is there already is skipped, so the command may be stopped and called
again. `--report` makes table and figure from what is there and says what is missing. With the embedded digits, few as
they are, only p = 0.5 and dense are compared.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
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

EMBEDDED = "digits"
FIGURE = FOLDER / "figures" / "random_anomaly.png"
BUDGET = 100_000
STEPS_PER_EPISODE = 11
TEST_EPISODES = 5_120
CURVE_POINTS = 12


@dataclass(frozen=True)
class Cell:
    """One planned run."""

    architecture: str
    hidden_proportion: float | None
    seed: int

    @property
    def network(self) -> str:
        """The network's name in table and figure."""
        return network_name(self.architecture, self.hidden_proportion)


def plan(source: str) -> list[Cell]:
    """List all runs; those that say most come first."""
    cells = []
    if source == EMBEDDED:
        return [cell for seed in range(2) for cell in (Cell("varied", 0.5, seed), Cell("dense", None, seed))]
    for seed in range(3):
        cells += [Cell("varied", p, seed) for p in (0.5, 0.1, 0.9)]
        cells += [Cell(architecture, None, seed) for architecture in ("dense", "uniform", "lstm")]
        if seed == 0:
            cells += [Cell("varied", p, 0) for p in (0.02, 0.05, 0.25, 0.75)]
    return cells


def run_cell(cell: Cell, episodes: int, source: str) -> dict[str, Any]:
    """Train one network and measure its final policy on the test split."""
    steps = episodes * STEPS_PER_EPISODE
    started, processor_started = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            configure(
                "RandomAnomaly-v0",
                architecture=cell.architecture,
                hidden_proportion=cell.hidden_proportion,
                seed=cell.seed,
                budget=BUDGET,
                env_arguments={"source": source},
                total_timesteps=steps,
                eval_every=steps // CURVE_POINTS,
                eval_episodes=1_024,
                log_dir=folder,
                run_name="run",
                progress=False,
            )
        )
        seconds = time.perf_counter() - started
        processor_seconds = time.process_time() - processor_started
        policy, normalization, configuration = load_agent(result.path, "final")
        network = json.loads((result.path / "network.json").read_text())["actor"]
    environments = make_vec_env(
        configuration.env,
        arguments={"source": source, "split": "test"},
        n_envs=512,
        seed=0,
        vectorization=configuration.vectorization,
        training=False,
    )
    test = evaluate(policy, environments, episodes=TEST_EPISODES, first_seed=FINAL_SEED, normalization=normalization)
    environments.close()
    return {
        **asdict(cell),
        "network": cell.network,
        "episodes": episodes,
        "n_hidden": network["n_hidden"],
        "realized_hidden_proportion": round(network["hidden_proportion"], 5),
        "test_accuracy": test.success_rate,
        "test_episodes": TEST_EPISODES,
        "curve": [[point.steps // STEPS_PER_EPISODE, point.evaluation.success_rate] for point in result.curve],
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds, 1),
        "steps_per_second": round(result.steps / seconds),
        "machine": machine(),
    }


def lines_of(source: str) -> Path:
    """Return the file of the finished runs with a source."""
    return RESULTS / f"random_anomaly_{Path(source).stem}.jsonl"


def finished(source: str, episodes: int) -> dict[Cell, dict[str, Any]]:
    """Read the runs of this length that are done."""
    return {
        Cell(run["architecture"], run["hidden_proportion"], run["seed"]): run
        for run in read_lines(lines_of(source))
        if run["episodes"] == episodes
    }


def interval(runs: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean test accuracy, over runs and their test episodes.

    Runs are resampled with replacement, and within each run its test episodes, so that a single run's interval is that
    of its test set.
    """
    generator = np.random.default_rng(0)
    accuracies = np.array([run["test_accuracy"] for run in runs])
    chosen = accuracies[generator.integers(0, len(runs), (10_000, len(runs)))]
    episodes = generator.binomial(TEST_EPISODES, chosen) / TEST_EPISODES
    low, high = np.percentile(episodes.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def by_network(source: str, runs: dict[Cell, dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    """Yield every network's name, its finished runs, and how many are planned."""
    planned: dict[str, list[Cell]] = {}
    for cell in sorted(plan(source), key=lambda cell: (cell.architecture != "varied", cell.hidden_proportion or 0)):
        planned.setdefault(cell.network, []).append(cell)
    for name, cells in planned.items():
        yield name, [runs[cell] for cell in cells if cell in runs], len(cells)


def report(source: str, episodes: int) -> None:
    """Make the table and the figure from the finished runs."""
    runs = finished(source, episodes)
    rows = []
    for name, done, planned in by_network(source, runs):
        if not done:
            rows.append((name, "", "", f"0 of {planned}", "missing", ""))
            continue
        low, high = interval(done)
        accuracy = np.mean([run["test_accuracy"] for run in done])
        rows.append(
            (
                name,
                f"{done[0]['realized_hidden_proportion']:.3f}",
                f"{done[0]['n_hidden']:,}",
                f"{len(done)} of {planned}",
                f"{accuracy:.3f}",
                f"{low:.3f} to {high:.3f}",
            )
        )
    table = markdown_table(
        ("network", "hidden proportion", "hidden units", "runs", "test accuracy", "95 % interval"), rows
    )
    print(table)
    missing = [cell for cell in plan(source) if cell not in runs]
    print(f"{len(missing)} of {len(plan(source))} runs are missing" if missing else "all runs are there")
    if not runs:
        return
    embedded = source == EMBEDDED
    picture = ""
    if not embedded:
        draw(source, runs, episodes)
        picture = "![accuracy](figures/random_anomaly.png)\n\n"
    facts = next(iter(runs.values()))["machine"]
    option = "" if embedded else f" --source {Path(source).name}"
    command = f"python -m benchmarks.random_anomaly{option} --episodes {episodes}"
    digits = "scikit-learn's 1,797 embedded digits" if embedded else "8,000 MNIST digits"
    costs = [run["processor_seconds"] for run in runs.values() if "processor_seconds" in run]
    cost = f" A training took {min(costs):.0f} to {max(costs):.0f} s of processor time." if costs else ""
    missed = f" {len(missing)} of {len(plan(source))} runs are missing." if missing else ""
    settings = (
        f"RandomAnomaly-v0, {digits}, {BUDGET:,} weights per network, {episodes:,} training episodes for "
        f"each network under the same preset, {TEST_EPISODES:,} test episodes of the final policy; chance is 0.1. "
        f"Intervals: bootstrap over runs and test episodes.{cost}{missed}"
    )
    write_section(
        f"random anomaly {Path(source).stem}",
        f"### Random Anomaly: accuracy by hidden proportion, {digits}\n\n`{command}`, then `--report`\n\n{table}\n\n"
        f"{picture}{settings} {describe(facts)}",
    )


def draw(source: str, runs: dict[Cell, dict[str, Any]], episodes: int) -> None:
    """Draw accuracy against the hidden proportion, and the learning curves."""
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {"dense": "#d1495b", "uniform, density 0.2": "#edae49", "LSTM": "#6b7280"}
    varied = [(name, done) for name, done, _ in by_network(source, runs) if name.startswith("varied") and done]
    if varied:
        x = [done[0]["realized_hidden_proportion"] for _, done in varied]
        y = [np.mean([run["test_accuracy"] for run in done]) for _, done in varied]
        bounds = np.array([interval(done) for _, done in varied]).T
        left.errorbar(x, y, np.abs(bounds - y), marker="o", capsize=3, color="#20639b", label="varied sparsity")
    shades = ["#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c", "#08306b"]
    for index, (name, done) in enumerate(varied):
        _curve(right, done, shades[index % len(shades)], name)
    for name, done, _ in by_network(source, runs):
        if name in colours and done:
            mean = np.mean([run["test_accuracy"] for run in done])
            low, high = interval(done)
            p = done[0]["realized_hidden_proportion"]
            left.errorbar(
                [p], [mean], [[mean - low], [high - mean]], marker="s", capsize=3, color=colours[name], label=name
            )
            _curve(right, done, colours[name], name)
    for axes in (left, right):
        axes.axhline(0.1, color="black", linewidth=0.7, linestyle=":")
        axes.grid(alpha=0.25)
        axes.set_ylim(0, None)
    left.set(xlabel="hidden proportion", ylabel=f"test accuracy after {episodes:,} episodes")
    right.set(xlabel="training episodes", ylabel="validation accuracy")
    left.legend(fontsize=8)
    right.legend(fontsize=7)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE)


def _curve(axes: Any, done: list[dict[str, Any]], colour: str, name: str) -> None:
    episodes = [point[0] for point in done[0]["curve"]]
    accuracies = np.array([[point[1] for point in run["curve"]] for run in done])
    axes.plot(episodes, accuracies.mean(axis=0), color=colour, label=name)
    if len(done) > 1:
        axes.fill_between(
            episodes, accuracies.min(axis=0), accuracies.max(axis=0), color=colour, alpha=0.15, linewidth=0
        )


def main() -> None:
    """Run what is missing, one run after the other, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", default=EMBEDDED, help="an .npz with images x and labels y; default: the embedded digits"
    )
    parser.add_argument("--episodes", type=int, default=110_000)
    parser.add_argument("--report", action="store_true", help="make table and figure from the finished runs")
    parser.add_argument(
        "--share", default="1/1", metavar="K/N", help="run every N-th missing run, beginning with the K-th"
    )
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments.source, arguments.episodes)
        return
    source = EMBEDDED if arguments.source == EMBEDDED else str(Path(arguments.source).resolve())
    k, n = (int(part) for part in arguments.share.split("/"))
    for cell in plan(source)[k - 1 :: n]:
        if cell in finished(source, arguments.episodes):
            continue
        line = run_cell(cell, arguments.episodes, source)
        append_line(lines_of(source), line)
        print(f"{cell.network} seed {cell.seed}: {line['test_accuracy']:.3f} in {line['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
