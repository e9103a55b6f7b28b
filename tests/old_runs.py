"""The runs, the study and the ONNX files in tests/data/old_runs, which every later version must read as before.

    python -m tests.old_runs --record    # writes records.json into the folder at hand

was called once, by the version that made them; see the README.md there. A later version never writes it anew.
"""

import contextlib
import csv
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.same_runs import ALWAYS, ROOT, Figures, call, figures_of, machine

DATA = ROOT / "tests" / "data" / "old_runs"
EPISODES = 5
RUNS = {
    "runs/CartPole-v1/varied": 1280,
    "runs/CartPole-v1/lstm": 1280,
    "runs/CartPole-v1/demonstrations": 1280,
    "runs/AdroitHandHammer-v1/corrected": 200,
    "runs/RandomAnomaly-v0/interrupted": None,
}
"""Run -> the steps it is resumed to; None for what it had been given."""
ONNX = {
    "onnx/varied.onnx": "runs/CartPole-v1/varied",
    "onnx/lstm.onnx": "runs/CartPole-v1/lstm",
    "onnx/corrected.onnx": "runs/AdroitHandHammer-v1/corrected",
}
"""Exported policy -> its run."""


def evaluated(policy: str, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Evaluate a policy by the command, in the folder at hand, and return its figures."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = call("evaluate.py", policy, "--episodes", str(EPISODES), "--json", patch=patch)
    assert code == 0
    report = json.loads(printed.getvalue())
    return {name: report[name] for name in ("env", "env_arguments", "seed", "mean_return", "mean_length")}


def resumed(run: str, patch: pytest.MonkeyPatch) -> Figures:
    """Resume a run in the folder at hand by the command, and return what it comes to."""
    goal = RUNS[run]
    words = [] if goal is None else ["--total-timesteps", str(goal)]
    assert call("train.py", "--resume", run, *words, *ALWAYS, patch=patch) == 0
    result = json.loads((Path(run) / "result.json").read_text())
    return figures_of(Path(run)) | {
        "steps": result["steps"],
        "exact": [entry["exact"] for entry in result["resumptions"]],
    }


def results(file: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a study's table by their cells."""
    with file.open(newline="") as stream:
        return {row["cell"]: row for row in csv.DictReader(stream)}


def _record() -> None:
    folder = Path.cwd()
    with tempfile.TemporaryDirectory() as copy, pytest.MonkeyPatch.context() as patch:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        patch.chdir(copy)
        records = {
            "machine": machine(),
            "evaluations": {policy: evaluated(policy, patch) for policy in (*RUNS, *ONNX)},
            "resumed": {run: resumed(run, patch) for run in RUNS},
        }
    (folder / "records.json").write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit("python -m tests.old_runs --record is for the version that made the runs; see its docstring")
    _record()
