"""Kill a training again and again, resume it, compare it with one left alone: python -m tests.robustness.resume.

Kills come by SIGKILL: at random moments of the training, of the start of the process, and between two of the pieces in
which a checkpoint is written, at a piece that is drawn; now and then a failing file system (simulated) ends the process
by itself. After each, every checkpoint must be whole and not more than an interval of work lost; at the end the number
of steps must be right and the policy equal, bit by bit, to that of the same training without interruption.

One line per kill is appended to results/resume.jsonl. The command may be stopped and called again: it goes on in its
work folder. `--report` makes the table from what is there.
"""

import argparse
import csv
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from agents.command_line import run as run_command
from agents.configuration import configure
from agents.resumption.checkpoint import Checkpoint, checkpoint_files
from agents.resumption.options import configuration_to_resume
from agents.runs import files
from agents.runs.lock import HOLDER
from agents.training import train
from benchmarks.harness import RESULTS, append_line, describe, machine, markdown_table, publish, read_lines

LINES = RESULTS / "resume.jsonl"
ROLLOUT = 8 * 7
INTERVAL = 10 * ROLLOUT
SETTINGS: dict[str, Any] = {
    "env_arguments": {"image_size": 16},
    "budget": 20_000,
    "n_envs": 8,
    "n_steps": 7,  # episodes of eleven steps go on over the ends of rollouts
    "batch_size": 28,
    "eval_every": 40 * ROLLOUT,
    "eval_episodes": 16,
    "checkpoint_every": INTERVAL,
    "progress": False,
}
HORIZON = 10_000_000
"""Steps that no session of the harness reaches; the last one is told where to end."""
MODES = ("training", "writing", "training", "starting", "writing", "failing disk")


PIECES = 16


class LastFile(io.FileIO):
    """A file whose content arrives in pieces, of which only some come: then the process is killed."""

    pieces = 1

    def write(self, content: Any) -> int:
        """Write the first pieces of `PIECES`, and die."""
        for piece in np.array_split(np.frombuffer(content, np.uint8), PIECES)[: self.pieces]:
            super().write(piece.tobytes())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process went on")


def simulate(file_system: str) -> None:
    """Make this process's file system fail, or the process die as it writes a checkpoint.

    :param file_system: plain, failing, or killed:CHECKPOINT:PIECES, which checkpoint of this process and how much of it
    """
    plain_open, plain_fsync = Path.open, os.fsync
    kind, *numbers = file_system.split(":")
    checkpoints = 0

    def last_open(path: Path, *arguments: Any, **options: Any) -> Any:
        nonlocal checkpoints
        checkpoints += path.parent.name == "checkpoints" and path.suffix == ".tmp"
        return (LastFile if checkpoints == int(numbers[0]) else plain_open)(path, *arguments, **options)

    calls = 0

    def failing_fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        plain_fsync(descriptor)

    if kind == "killed":
        LastFile.pieces = int(numbers[1])
        Path.open = last_open  # type: ignore[method-assign,assignment]
    elif kind == "failing":
        files.os.fsync = failing_fsync  # type: ignore[assignment]


def session(run: Path, steps: int, file_system: str) -> None:
    """Train in this process: begin the run, or go on with it."""
    simulate(file_system)
    if (run / "config.yaml").is_file():
        folder, configuration = configuration_to_resume(run, {"total_timesteps": steps})
        train(configuration, resume=folder)
    else:
        place = {"log_dir": str(run.parent.parent), "run_name": run.name}
        train(configure("RandomAnomaly-v0", **SETTINGS, **place, total_timesteps=steps))


def start(run: Path, steps: int, file_system: str = "plain") -> "subprocess.Popen[str]":
    """Start a session in a process of its own."""
    command = [sys.executable, "-m", "tests.robustness.resume", "--session", str(run), str(steps), file_system]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[2])


def kill_once(run: Path, kill: int, mode: str, generator: random.Random) -> dict[str, Any]:
    """Start a session, end it as the mode says, and look at what it left behind."""
    before = newest_steps(run)
    locked, log = run / HOLDER, run / "progress.csv"
    lock_time = locked.stat().st_mtime_ns if locked.exists() else 0
    at = f"killed:{generator.randint(1, 3)}:{generator.randint(1, PIECES - 1)}"
    file_system = {"writing": at, "failing disk": "failing"}.get(mode, "plain")
    process = start(run, HORIZON, file_system)
    started = time.perf_counter()

    def training() -> bool:
        # The log has grown since this session took the lock: rollouts are being made.
        if not locked.exists() or not log.exists() or locked.stat().st_mtime_ns == lock_time:
            return False
        return log.stat().st_mtime_ns > locked.stat().st_mtime_ns + 10**8 and newest_steps(run) is not None

    if mode == "training":
        wait_until(training, process)
    if mode in ("training", "starting"):
        time.sleep(generator.uniform(0.0, {"starting": 6.0, "training": 4.0}[mode]))
        assert process.poll() is None, process.communicate()
        process.kill()
    _, errors = process.communicate(timeout=600)
    unfinished = len(list((run / "checkpoints").glob(".*.tmp")))
    reached, after = logged_steps(run), newest_steps(run)
    return {
        "kill": kill,
        "mode": mode,
        "exit": process.returncode,
        "as_promised": process.returncode == -9 or (process.returncode == 3 and errors.count("\n") == 1),
        "seconds": round(time.perf_counter() - started, 2),
        "checkpoint_before": before,
        "checkpoint_after": after,
        "steps_reached": reached,
        "steps_lost": reached - (after or 0),
        "unfinished_files": unfinished,
        "all_whole": all_whole(run),
    }


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait, as long as the process lives."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened for five minutes"
        time.sleep(0.001)


def newest_steps(run: Path) -> int | None:
    """Return the steps of the newest checkpoint."""
    files = checkpoint_files(run)
    return int(files[-1].stem) if files else None


def logged_steps(run: Path) -> int:
    """Return the steps that the log knows of: to the end of the last complete rollout."""
    file = run / "progress.csv"
    lines = file.read_text().splitlines() if file.is_file() else []
    steps = [line.get("time/total_timesteps") or "" for line in csv.DictReader(lines)]
    return max((int(text) for text in steps if text.isdecimal()), default=0)


def all_whole(run: Path) -> bool:
    """Tell whether every checkpoint can be read and its digest fits."""
    for file in checkpoint_files(run):
        try:
            Checkpoint.from_bytes(file.read_bytes())
        except ValueError:
            return False
    return True


def finish(work: Path) -> dict[str, Any]:
    """Let the run come to its end, and a run without interruption too; compare them."""
    run, alone = work / "RandomAnomaly-v0" / "killed", work / "RandomAnomaly-v0" / "alone"
    if not (run / "result.json").is_file():
        check(start(run, (newest_steps(run) or 0) + 5 * ROLLOUT))
    result = json.loads((run / "result.json").read_text())
    if not (alone / "result.json").is_file():
        check(start(alone, result["steps"]))
    undisturbed = json.loads((alone / "result.json").read_text())
    weights, expected = (safetensors.numpy.load_file(path / "final" / "policy.safetensors") for path in (run, alone))
    same = weights.keys() == expected.keys() and all(np.array_equal(weights[name], expected[name]) for name in weights)
    return {
        "finished": True,
        "steps": result["steps"],
        "resumptions": len(result["resumptions"]),
        "steps_alone": undisturbed["steps"],
        "weights_equal": same,
        "evaluations_equal": all(result[name] == undisturbed[name] for name in ("curve", "final")),
        "machine": machine(),
    }


def check(process: "subprocess.Popen[str]") -> None:
    """Wait for a session that must succeed."""
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a session failed: {errors}")


def run_harness(kills: int, work: Path, lines: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Do the kills that are missing, then finish; return all lines."""
    if not work.is_dir():
        lines.unlink(missing_ok=True)
        work.mkdir(parents=True)
    done = read_lines(lines)

    def add(line: dict[str, Any]) -> None:
        append_line(lines, line)
        print(json.dumps(line), flush=True)
        done.append(line)

    run = work / "RandomAnomaly-v0" / "killed"
    for kill in range(len(done), kills):
        add(kill_once(run, kill, MODES[kill % len(MODES)], random.Random(f"{seed} {kill}")))
    if "finished" not in done[-1]:
        add(finish(work))
    return done


def verdict(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures that were promised."""
    kills, end = [line for line in lines if "kill" in line], lines[-1]
    return {
        "interruptions": len(kills),
        "as promised": sum(line["as_promised"] for line in kills),
        "in the middle of a checkpoint": sum(line["unfinished_files"] > 0 for line in kills),
        "all checkpoints whole": sum(line["all_whole"] for line in kills),
        "most steps lost": max(line["steps_lost"] for line in kills),
        "interval and one rollout": INTERVAL + ROLLOUT,
        "steps at the end": end.get("steps"),
        "steps without interruption": end.get("steps_alone"),
        "weights equal": end.get("weights_equal"),
        "evaluations equal": end.get("evaluations_equal"),
    }


def report(lines: list[dict[str, Any]]) -> None:
    """Write the table."""
    figures = verdict(lines)
    facts = lines[-1].get("machine")
    publish(
        "resume",
        f"Never lose a run: a training killed {figures['interruptions']} times",
        f"`python -m tests.robustness.resume --kills {figures['interruptions']}`, then `--report`",
        markdown_table(("", "figure"), list(figures.items())),
        f"RandomAnomaly-v0, {SETTINGS['budget']:,} weights, a checkpoint every {INTERVAL} steps, rollouts of "
        f"{ROLLOUT}. " + (describe(facts) if facts else "Not finished."),
    )


def main() -> None:
    """Run what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--work", type=Path, default=Path("logs") / "resume-harness", help="folder of the runs")
    parser.add_argument("--report", action="store_true", help="make the table from the lines that are there")
    parser.add_argument("--fresh", action="store_true", help="begin anew: remove the work folder first")
    parser.add_argument("--session", nargs=3, metavar=("RUN", "STEPS", "FILE_SYSTEM"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.session:
        run, steps, file_system = arguments.session
        session(Path(run), int(steps), file_system)
        return
    if arguments.report:
        report(read_lines(LINES))
        return
    if arguments.fresh:
        shutil.rmtree(arguments.work, ignore_errors=True)
    run_harness(arguments.kills, arguments.work.resolve(), LINES)


if __name__ == "__main__":
    run_command(main)
