"""How long a study takes with one, two and four workers on this machine: python -m benchmarks.study_workers.

The whole command is timed, `sweep.py run`, with the starts of its processes. Every finished study is a line in
results/study_workers.jsonl; what is there is not run again, so that the command may be stopped at any time and called
again. Afterwards `--report` makes the table from what is there.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import (
    FOLDER,
    RESULTS,
    append_line,
    describe,
    machine,
    markdown_table,
    median_ratio,
    read_lines,
    write_section,
)

LINES = RESULTS / "study_workers.jsonl"
WORKERS = (1, 2, 4)
BUDGETS = {"RandomAnomaly-v0": 50_000, "AdroitHandHammer-v1": 10_000}
STEPS = {"RandomAnomaly-v0": (25_344, 101_376), "AdroitHandHammer-v1": (19_200, 76_800)}
"""Lengths of a training: some five seconds, where the starts of processes weigh most, and some twenty."""
EVALUATION_EPISODES = {"RandomAnomaly-v0": 64, "AdroitHandHammer-v1": 8}
TRAININGS = 8


@dataclass(frozen=True)
class Cell:
    """One study to time."""

    round: int
    env: str
    steps: int
    workers: int


def plan(rounds: int) -> list[Cell]:
    """List all studies; what else the machine does hits all numbers of workers of a round alike."""
    return [
        Cell(number, env, steps, workers)
        for number in range(rounds)
        for env, lengths in STEPS.items()
        for steps in lengths
        for workers in WORKERS
    ]


def seconds_of_a_study(cell: Cell) -> float:
    """Run a study from nothing and return its wall-clock seconds."""
    study = {
        "env": cell.env,
        "sampler": "grid",
        "options": {
            "total_timesteps": cell.steps,
            "eval_every": cell.steps,
            "eval_episodes": EVALUATION_EPISODES[cell.env],
            "budget": BUDGETS[cell.env],
        },
        "parameters": {"hidden_proportion": [0.1, 0.3, 0.5, 0.7]},
        "seeds": list(range(TRAININGS // 4)),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "timed.yaml"
        file.write_text(yaml.safe_dump(study))
        command = [sys.executable, str(FOLDER.parent / "sweep.py"), "run", str(file), "--workers", str(cell.workers)]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--studies-dir", str(Path(folder) / "studies")], check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - started


def finished() -> dict[Cell, dict[str, Any]]:
    """Read the studies that are done."""
    return {Cell(run["round"], run["env"], run["steps"], run["workers"]): run for run in read_lines(LINES)}


def report() -> None:
    """Write the table of all rounds that are complete for a study."""
    runs = finished()
    rows = []
    for env, lengths in STEPS.items():
        for steps in lengths:
            complete = [
                number
                for number in sorted({cell.round for cell in runs})
                if all(Cell(number, env, steps, workers) in runs for workers in WORKERS)
            ]
            if not complete:
                rows.append((env, f"{steps:,}", "0", *["missing"] * len(WORKERS), "", "≤ 1"))
                continue
            times = [[runs[Cell(number, env, steps, w)]["seconds"] for number in complete] for w in WORKERS]
            medians = (f"{statistics.median(own):.1f}" for own in times)
            ratio = median_ratio(times[-1], times[0])
            rows.append((env, f"{steps:,}", f"{len(complete)}", *medians, f"{ratio:.2f}", "≤ 1"))
    counts = (f"{workers} worker{'s' * (workers > 1)}" for workers in WORKERS)
    table = markdown_table(
        (f"study of {TRAININGS} trainings", "steps of each", "rounds", *counts, "4 / 1", "target"), rows
    )
    print(table)
    if runs:
        write_section(
            "study workers",
            "### Workers of a study\n\n`python -m benchmarks.study_workers`, then `--report`\n\n"
            "Seconds for the whole of `sweep.py run`, the starts of its processes included; a worker alone has all "
            f"cores, several share them out.\n\n{table}\n\nMedians over rounds; the ratio is the median over rounds. "
            f"{describe(next(iter(runs.values()))['machine'])}",
        )


def main() -> None:
    """Time the studies that are not done yet, or make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="run nothing, make the table of what is there")
    arguments = parser.parse_args()
    if arguments.report:
        report()
        return
    done = finished()
    for cell in plan(arguments.rounds):
        if cell in done:
            continue
        run = {**asdict(cell), "seconds": round(seconds_of_a_study(cell), 2), "machine": machine()}
        append_line(LINES, run)
        print(f"{cell}: {run['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
