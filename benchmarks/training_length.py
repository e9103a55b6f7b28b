"""What wins after how many steps: python -m benchmarks.training_length, and --runs FOLDER before it.

From what `sweep.py report benchmarks/studies/random_anomaly_length.yaml --out benchmarks/studies/random_anomaly_length`
wrote: the evaluations over the validation split, and of the final policies over the test split. With --runs, the
study's folder of runs, the policies of their checkpoints after 1.2 and 3 million steps are evaluated over the test
split too, and added to checkpoints.csv beside these tables, one row each; those that are there are left alone.
"""

import argparse
import csv
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from agents.building import load_agent
from agents.evaluation import FINAL_SEED, evaluate
from agents.reporting.estimates import Estimate
from agents.resumption.checkpoint import Checkpoint, checkpoint_files
from agents.studies.results import Result, by_configuration, read_results
from agents.training import held_out_environments
from benchmarks.harness import FOLDER, tabulate, write_section
from benchmarks.study_tables import COLOURS, network, place, steps_to

NAME = "random_anomaly_length"
STUDY = FOLDER / "studies" / NAME
CHECKPOINTS = STUDY / "checkpoints.csv"
STEPS = (1_200_000, 3_000_000)
"""after which, beside the end, policies are tested; checkpoints are of the first rollout that ends there or later"""
EPISODES = 5_120
RATE = 0.45
"""accuracy of whose first evaluation steps and seconds are told; chance is 0.1"""

Runs = Sequence[Result]
Tested = Mapping[tuple[str, int], float]
"""(cell, steps as in `STEPS`) -> accuracy over the test split"""


def accuracy_of(run: Path, checkpoint: Path) -> float:
    """Return the share of the test split's episodes that the policy of a checkpoint answers rightly."""
    policy, normalization, configuration = load_agent(run, "final")
    learned = Checkpoint.from_bytes(checkpoint.read_bytes()).state["training"]["policy"]
    policy.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in learned.items()})
    environments = held_out_environments(configuration, "test", EPISODES)
    try:
        found = evaluate(
            policy, environments, episodes=EPISODES, first_seed=FINAL_SEED, normalization=normalization
        ).success_rate
    finally:
        environments.close()
    assert found is not None
    return found


def evaluate_checkpoints(folder: Path) -> None:
    """Evaluate the checkpoints of all runs that have ended, and note one row for each."""
    known = read_checkpoints()
    STUDY.mkdir(exist_ok=True)
    is_new = not CHECKPOINTS.exists()
    with CHECKPOINTS.open("a", newline="") as file:
        table = csv.writer(file)
        if is_new:
            table.writerow(("cell", "steps", "accuracy"))
        for run in sorted(path.parent for path in folder.glob("*/*/result.json")):
            files = checkpoint_files(run)
            cell = re.sub(r"-attempt\d+$", "", run.name)  # which began anew after it was broken off
            for steps in STEPS:
                if (cell, steps) not in known:
                    accuracy = accuracy_of(run, next(path for path in files if int(path.stem) >= steps))
                    table.writerow((cell, steps, accuracy))
                    file.flush()
                    print(f"{cell}  {steps:,}: {accuracy:.4f}", flush=True)


def read_checkpoints() -> dict[tuple[str, int], float]:
    """Read the rows that are there."""
    if not CHECKPOINTS.exists():
        return {}
    with CHECKPOINTS.open(newline="") as file:
        return {(row["cell"], int(row["steps"])): float(row["accuracy"]) for row in csv.DictReader(file)}


def mean_accuracy(runs: Runs, steps: int, tested: Tested) -> str:
    """Return the mean accuracy over runs after so many steps, with its 95 % interval."""
    values = [tested[run.cell, steps] for run in runs if (run.cell, steps) in tested]
    return str(Estimate.of(np.mean, np.array(values))) if values else ""


def final(runs: Runs) -> str:
    """Return that of the final policies."""
    return str(Estimate.of(np.mean, np.array([run.score for run in runs])))


def first(runs: Runs) -> str:
    """Return after how many steps, and seconds, the median run's evaluations first come to `RATE`."""
    steps = np.array([steps_to(run, RATE) for run in runs])
    middle = float(np.median(steps))
    if not math.isfinite(middle):
        return "never"
    pace = np.median([(run.seconds or math.nan) / run.evaluations[-1]["steps"] for run in runs])
    return f"{middle / 1e6:.1f} M, {middle * pace:,.0f} s"


def report(results: Sequence[Result], tested: Tested) -> tuple[str, Figure]:
    """Return the table, and the picture of the evaluations on the way."""
    configurations: list[Runs] = sorted(by_configuration(results).values(), key=place)
    middle = [(f"after {steps / 1e6:g} M", partial(mean_accuracy, steps=steps, tested=tested)) for steps in STEPS]
    table = tabulate(
        configurations,
        ("network", network),
        ("weights", lambda runs: f"{runs[0].budget:,}"),
        ("hidden proportion", lambda runs: f"{runs[0].hidden_proportion:.3f}"),
        ("runs", len),
        *middle,
        ("after 6 M", final),
        (f"first at {RATE}", first),
    )
    return table, draw([runs for runs in configurations if runs[0].budget == configurations[0][0].budget])


def draw(configurations: Sequence[Runs]) -> Figure:
    """Draw the mean over runs of each evaluation, and where the runs lie."""
    figure = Figure(figsize=(7.2, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    for runs, colour in zip(configurations, COLOURS, strict=False):
        steps = np.array([point["steps"] for point in runs[0].evaluations]) / 1e6
        values = np.array([[float(point["success_rate"]) for point in run.evaluations] for run in runs])
        axes.plot(steps, values.mean(axis=0), color=colour, label=network(runs))
        axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="million environment steps", ylabel="accuracy over the validation split", ylim=(0, None))
    axes.axhline(0.1, color="#9ca3af", linewidth=1, linestyle=":", label="chance")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.25), ncols=2)
    return figure


def main() -> None:
    """Test checkpoints, or renew the section of the README and its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="the study's folder of runs, to test checkpoints of"
    )
    folder = parser.parse_args().runs
    if folder is not None:
        evaluate_checkpoints(folder)
        return
    table, picture = report(read_results(STUDY), read_checkpoints())
    picture.savefig(FOLDER / "figures" / f"{NAME}.png")
    print(table)
    write_section(NAME, f"{table}\n\n![accuracy against steps](figures/{NAME}.png)")


if __name__ == "__main__":
    main()
