"""How long a study takes with one, two and four workers on this machine: python -m benchmarks.study_workers.

The whole command is timed, `sweep.py run`, with the starts of its processes.
"""

import argparse
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.harness import (
    FOLDER,
    alternate,
    describe,
    machine,
    markdown_table,
    median_ratio,
    write_result,
    write_section,
)

WORKERS = (1, 2, 4)
STUDIES = {
    "RandomAnomaly-v0": {
        "options": {"total_timesteps": 25_344, "eval_every": 25_344, "eval_episodes": 64, "budget": 50_000},
        "parameters": {"hidden_proportion": [0.1, 0.3, 0.5, 0.7]},
        "seeds": [0, 1],
    },
    "AdroitHandHammer-v1": {
        "options": {"total_timesteps": 19_200, "eval_every": 19_200, "eval_episodes": 8, "budget": 10_000},
        "parameters": {"hidden_proportion": [0.1, 0.3, 0.5, 0.7]},
        "seeds": [0, 1],
    },
}


def seconds_of_a_study(env: str, workers: int) -> float:
    """Run a study from nothing and return its wall-clock seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "timed.yaml"
        file.write_text(yaml.safe_dump({"env": env, "sampler": "grid", **STUDIES[env]}))
        command = [sys.executable, str(FOLDER.parent / "sweep.py"), "run", str(file), "--workers", str(workers)]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--studies-dir", str(Path(folder) / "studies")], check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - started


def report(figures: dict[str, list[float]]) -> None:
    """Write the raw figures and the table.

    :param figures: "environment, workers" -> seconds, one for each round
    """
    facts, rows = machine(), []
    rounds = len(next(iter(figures.values())))
    for env in STUDIES:
        times = [figures[f"{env}, {workers}"] for workers in WORKERS]
        ratio = median_ratio(times[-1], times[0])
        rows.append((env, *(f"{statistics.median(own):.1f}" for own in times), f"{ratio:.2f}", "≤ 1"))
    write_result("study_workers", {"machine": facts, "rounds": rounds, "seconds": figures})
    header = ("study of 8 trainings", *(f"{workers} worker{'s' * (workers > 1)}" for workers in WORKERS))
    table = markdown_table((*header, "4 / 1", "target"), rows)
    print(table)
    write_section(
        "study workers",
        f"### Workers of a study\n\n`python -m benchmarks.study_workers --rounds {rounds}`\n\n"
        "Seconds for the whole of `sweep.py run`, the starts of its processes included; a worker alone has all cores, "
        f"several share them out.\n\n{table}\n\nMedians over {rounds} rounds; the ratio is the median over rounds. "
        f"{describe(facts)}",
    )


def main() -> None:
    """Time all numbers of workers in turn, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    contenders = {
        f"{env}, {workers}": functools.partial(seconds_of_a_study, env, workers)
        for env in STUDIES
        for workers in WORKERS
    }
    report(alternate(contenders, rounds))


if __name__ == "__main__":
    main()
