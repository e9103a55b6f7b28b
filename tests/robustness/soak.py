"""Train on Random Anomaly for an hour and watch memory, threads, files and processes: python -m tests.robustness.soak.

Every ten seconds a line is appended to results/soak.jsonl. The command may be stopped (Ctrl-C) and called again: the
training is resumed and the hour goes on. `--report` makes figure and table from what is there.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from matplotlib.figure import Figure

from agents.resumption.logs import EVENTS
from benchmarks.harness import FOLDER, RESULTS, append_line, describe, machine, markdown_table, publish, read_lines

LINES = RESULTS / "soak.jsonl"
FIGURE = FOLDER / "figures" / "soak.png"
EVERY = 10.0
WARM_UP = 300.0
"""Seconds of a session that do not count: compilers, caches and buffers fill."""
OPTIONS = ("--env", "RandomAnomaly-v0", "--hidden-proportion", "0.5", "--budget", "100000", "--no-progress")


def sample(process: psutil.Process) -> dict[str, Any]:
    """Measure a process: resident memory in bytes, threads, open files and children."""
    with process.oneshot():
        return {
            "memory": process.memory_info().rss,
            "threads": process.num_threads(),
            "files": process.num_fds(),
            "children": len(process.children(recursive=True)),
        }


def soak(seconds: float, work: Path, lines: Path, options: tuple[str, ...] = OPTIONS, every: float = EVERY) -> None:
    """Train until so many seconds have been watched, over all calls together.

    A session is watched from its first checkpoint on: by then everything has run once, on however slow a machine.
    """
    done = read_lines(lines) if work.is_dir() else []
    if not done:
        shutil.rmtree(work, ignore_errors=True)
        lines.unlink(missing_ok=True)
    train = Path(__file__).parents[2] / "train.py"
    runs = list(work.glob("*/soak/config.yaml"))
    command = [sys.executable, str(train), "--total-timesteps", "1000000000"]
    command += ["--resume", str(runs[0].parent)] if runs else [*options, "--log-dir", str(work), "--run-name", "soak"]
    session = max((line["session"] for line in done), default=-1) + 1
    before, known = len(done) * every, _newest_checkpoint(work)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        watched = psutil.Process(process.pid)
        while _newest_checkpoint(work) == known:
            _sleep_beside(process, 0.1)
        started = time.monotonic()
        while (now := time.monotonic() - started) + before < seconds:
            _sleep_beside(process, every - now % every)
            line = {"session": session, "seconds": round(time.monotonic() - started, 1), **sample(watched)}
            line["events"] = sum(path.stat().st_size for path in work.glob(f"*/soak/{EVENTS}"))
            line["checkpoint"] = _newest_checkpoint(work)
            append_line(lines, line)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait()
    print(f"stopped with exit code {code} after {len(read_lines(lines)) * every:.0f} of {seconds:.0f} s")


def _newest_checkpoint(work: Path) -> int:
    return max((int(path.stem) for path in work.glob("*/soak/checkpoints/[0-9]*")), default=0)


def _sleep_beside(process: subprocess.Popen[bytes], seconds: float) -> None:
    time.sleep(seconds)
    if process.poll() is not None:
        raise RuntimeError(f"the training ended with exit code {process.returncode}")


def figures(samples: list[dict[str, Any]], warm_up: float = WARM_UP) -> dict[str, Any]:
    """Return what must stay constant, without the warm-up of each session: first, last, largest value and slope."""
    steady = [s for s in samples if s["seconds"] >= warm_up]
    memory = np.array([s["memory"] for s in steady]) / 2**20
    seconds = np.array([s["seconds"] for s in steady])
    slope = np.polyfit(seconds, memory, 1)[0] * 3600 if len(steady) > 2 else float("nan")
    return {
        "samples": len(steady),
        "memory at first (MiB)": round(float(memory[0]), 1),
        "memory at last (MiB)": round(float(memory[-1]), 1),
        "largest memory (MiB)": round(float(memory.max()), 1),
        "slope of memory (MiB per hour)": round(float(slope), 2),
        **{
            f"{name} (least, most)": (min(s[name] for s in steady), max(s[name] for s in steady))
            for name in ("threads", "files", "children")
        },
        "steps": samples[-1]["checkpoint"],
    }


def report(samples: list[dict[str, Any]]) -> None:
    """Draw the figure and write the table."""
    picture = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    left, right = picture.subplots(1, 2)
    minutes = np.arange(len(samples)) * EVERY / 60
    left.plot(minutes, [s["memory"] / 2**20 for s in samples], color="#20639b")
    left.set_ylabel("resident memory (MiB)")
    for name, colour in (("threads", "#20639b"), ("files", "#d1495b"), ("children", "#edae49")):
        right.plot(minutes, [s[name] for s in samples], color=colour, label={"files": "open files"}.get(name, name))
    right.set_ylabel("number")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set(xlabel="minutes of training", ylim=(0, None))
        axes.grid(alpha=0.25)
    FIGURE.parent.mkdir(exist_ok=True)
    picture.savefig(FIGURE)
    publish(
        "soak",
        f"A soak: {len(samples) * EVERY / 60:.0f} minutes of training",
        "`python -m tests.robustness.soak`, then `--report`",
        markdown_table(("", "figure"), list(figures(samples).items())),
        "![soak](figures/soak.png)",
        f"`train.py {' '.join(OPTIONS)}`, sampled every {EVERY:.0f} s; the table leaves out the first "
        f"{WARM_UP / 60:.0f} minutes. {describe(machine())}",
    )


def main() -> None:
    """Watch, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--work", type=Path, default=Path("logs") / "soak", help="folder of the run")
    parser.add_argument("--report", action="store_true", help="make figure and table from the samples that are there")
    arguments = parser.parse_args()
    if arguments.report:
        report(read_lines(LINES))
    else:
        soak(arguments.seconds, arguments.work.resolve(), LINES)


if __name__ == "__main__":
    main()
