"""How long a study takes with one, two and four workers on this machine: python -m benchmarks.study_workers.

The whole command is timed, `sweep.py run`, with the starts of its processes. Every finished study is a line in
results/study_workers.jsonl; what is there is not run again, so that the command may be stopped at any time and called
again. Afterwards `--report` makes the table from what is there.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks import harness
from benchmarks.harness import describe, median_ratio

LINES = harness.RESULTS / "study_workers.jsonl"
WORKERS = (1, 2, 4)
BUDGETS = {"RandomAnomaly-v0": 50_000, "AdroitHandHammer-v1": 10_000}
STUDIES = (
    ("RandomAnomaly-v0", 25_344),
    ("RandomAnomaly-v0", 101_376),
    ("AdroitHandHammer-v1", 19_200),
    ("AdroitHandHammer-v1", 76_800),
)
"""Environments and lengths of a training: some five seconds, where the starts of processes weigh most, and twenty."""
EVALUATION_EPISODES = {"RandomAnomaly-v0": 64, "AdroitHandHammer-v1": 8}
TRAININGS = 8


class Cell(NamedTuple):
    """One study to time."""

    round: int
    env: str
    steps: int
    workers: int


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
        command = [sys.executable, str(harness.FOLDER.parent / "sweep.py"), "run", str(file)]
        command += ["--workers", str(cell.workers), "--studies-dir", str(Path(folder) / "studies")]
        return harness.seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def finished() -> dict[Cell, float]:
    """Read the seconds of the studies that are done."""
    lines = harness.read_lines(LINES)
    return {Cell(*(line[name] for name in Cell._fields)): line["seconds"] for line in lines}


def row(env: str, steps: int, done: dict[Cell, float]) -> tuple[str, ...]:
    """Return a study's row, of all rounds that are complete for it."""
    rounds = sorted({cell.round for cell in done})
    times = [[done.get(Cell(number, env, steps, workers)) for workers in WORKERS] for number in rounds]
    complete = [own for own in times if None not in own]
    if not complete:
        return (env, f"{steps:,}", "0", *["missing"] * len(WORKERS), "", "≤ 1")
    by_workers = list(zip(*complete, strict=True))
    medians = (f"{statistics.median(own):.1f}" for own in by_workers)
    return (
        env,
        f"{steps:,}",
        str(len(complete)),
        *medians,
        f"{median_ratio(by_workers[-1], by_workers[0]):.2f}",
        "≤ 1",
    )


def report() -> None:
    """Write the table."""
    done = finished()
    counts = (f"{workers} worker{'s' * (workers > 1)}" for workers in WORKERS)
    header = (f"study of {TRAININGS} trainings", "steps of each", "rounds", *counts, "4 / 1", "target")
    facts = harness.read_lines(LINES)[0]["machine"] if done else harness.machine()
    harness.publish(
        "study workers",
        "Workers of a study",
        "`python -m benchmarks.study_workers`, then `--report`",
        "Seconds for the whole of `sweep.py run`, the starts of its processes included; a worker alone has all cores, "
        "several share them out.",
        harness.markdown_table(header, [row(*study, done) for study in STUDIES]),
        f"Medians over rounds; the ratio is the median over rounds. {describe(facts)}",
        write=bool(done),
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
    # What else the machine does hits all numbers of workers of a round alike.
    for number, study, workers in itertools.product(range(arguments.rounds), STUDIES, WORKERS):
        cell = Cell(number, *study, workers)
        if cell in done:
            continue
        elapsed = seconds_of_a_study(cell)
        harness.append_line(LINES, cell._asdict() | {"seconds": round(elapsed, 2), "machine": harness.machine()})
        print(f"{cell}: {elapsed:.1f} s", flush=True)


if __name__ == "__main__":
    main()
