"""What not everybody needs is not needed; where it is missing, one line says what to install."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from data_files import DATA, ROOT

from agents.extras import EXTRAS, require
from policies.refusal import Refusal

CARTPOLE = DATA / "old_runs" / "runs" / "CartPole-v1" / "varied"
TINY = "--env CartPole-v1 --budget 300 --n-envs 2 --n-steps 16 --batch-size 32 --total-timesteps 64 --eval-every 64"


def call(script: str, *options: str, without: tuple[str, ...], cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process whose imports of some modules fail."""
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({without})); sys.argv = {[script, *options]}; "
        f"runpy.run_path({str(ROOT / script)!r}, run_name='__main__')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("extra", "purpose", "command"),
    [
        ("demonstrations", "--demos", ("train.py", "--env", "CartPole-v1", "--demos", "some/demonstrations-v0")),
        ("export", "an export", ("export.py", str(CARTPOLE))),
        ("export", "policy.onnx", ("evaluate.py", "policy.onnx")),
        ("hub", "hf://me/pole", ("evaluate.py", "hf://me/pole")),
        ("studies", "a study", ("sweep.py", "run", "study.yaml")),
        ("studies", "a comparison", ("evaluate.py", "compare", str(CARTPOLE))),
        ("video", "--video", ("evaluate.py", str(CARTPOLE), "--video", "film.gif")),
    ],
)
def test_what_is_missing_is_named_in_one_line(
    extra: str, purpose: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    for module in EXTRAS[extra]:
        result = call(*command, without=(module,), cwd=tmp_path)
        assert result.returncode == 2, result.stderr
        assert result.stderr == f'error: {purpose} needs the extra {extra}: pip install --editable ".[{extra}]"\n'
        assert not list(tmp_path.iterdir())


def test_training_and_evaluation_need_no_extra(tmp_path: Path) -> None:
    without = tuple(module for modules in EXTRAS.values() for module in modules)
    trained = call("train.py", *TINY.split(), "--run-name", "tiny", without=without, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    evaluated = call("evaluate.py", "logs/CartPole-v1/tiny", "--episodes", "2", "--json", without=without, cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["episodes"] == 2


def test_the_extras_are_those_of_the_project_and_all_of_them_are_installed_by_make() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) - {"all", "dev", "docs"} == set(EXTRAS)
    (everything,) = extras["all"]
    assert set(re.findall(r"\w+", everything.split("[")[1])) == set(EXTRAS)
    assert "'.[all,dev]'" in (ROOT / "Makefile").read_text()
    for extra in EXTRAS:
        require(extra, "this test")


def test_a_missing_extra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(Refusal, match=r"reading needs the extra demonstrations: pip install .*\[demonstrations\]"):
        require("demonstrations", "reading")
