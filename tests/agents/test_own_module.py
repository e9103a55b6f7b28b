"""A run of an environment that a module of one's own registers: its arguments, and what every command has to be told.

The module lies in the current folder, where Python alone would not look for it.
"""

import ast
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
import yaml
from data_files import ROOT

from agents.trained.policy import load_trained_policy
from envs import lookup
from envs.lookup import check_environment, environment_spaces
from policies.refusal import Refusal
from tests.same_runs import call

MODULE = '''
import gymnasium
import numpy as np


class Shelf(gymnasium.Env):
    """Pays what its table says of the number 1, if all that it is given is of the right type."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, prices=None, place=(0, 0), label=b"", split=None, reward=None):
        assert type(place) is tuple and type(label) is bytes and (split is None or split == {"a": (1, 2)})
        self.price = (prices or {}).pop(1, 0.0)  # takes what it is given apart

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(3, np.float32), self.price, self.steps == 4, False, {}


gymnasium.register("Shelf-v0", "shelf:Shelf")
gymnasium.register("Attic-v0", "shelf:Shelf")
'''
TINY = [
    *("--budget", "60", "--total-timesteps", "64", "--n-envs", "2", "--n-steps", "32", "--n-epochs", "1"),
    *("--eval-every", "64", "--eval-episodes", "2", "--no-progress", "--log-dir", "logs", "--run-name", "run"),
]
ARGUMENTS = ["prices={1: 5.0}", "place=(3, 4)", "label=b'\\xff'", "split={'a': (1, 2)}", "reward=None"]
GIVEN = [word for text in ARGUMENTS for word in ("--env-arg", text)]
OWN = ["--env", "shelf:Shelf-v0"]
RUN = "logs/Shelf-v0/run"


def forget() -> None:
    """Let the module be as in a process that never imported it."""
    for env_id in ("Shelf-v0", "Attic-v0"):
        gymnasium.registry.pop(env_id, None)
        lookup._MODULES.pop(env_id, None)
    sys.modules.pop("shelf", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the module, a run, and its exported policy."""
    folder, path = tmp_path_factory.mktemp("own"), [*sys.path]
    (folder / "shelf.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call("train.py", *OWN, *GIVEN, *TINY, patch=patch) == 0
        forget()
        assert call("export.py", RUN, *OWN, patch=patch) == 0
    forget()
    sys.path[:] = path
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield trained
    forget()


def test_arguments_reach_the_training(here: Path) -> None:
    assert json.loads((here / RUN / "result.json").read_text())["final"]["mean_return"] == 20
    assert yaml.safe_load((here / RUN / "config.yaml").read_text())["env_module"] == "shelf"


@pytest.mark.parametrize("policy", [RUN, f"{RUN}/policy.onnx"])
def test_arguments_reach_an_evaluation(
    policy: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("evaluate.py", policy, *OWN, "--episodes", "3", "--json", patch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["mean_return"] == 20
    arguments = load_trained_policy(here / policy, env="Shelf-v0").env_arguments
    assert arguments == {name: ast.literal_eval(value) for name, _, value in (a.partition("=") for a in ARGUMENTS)}


def test_arguments_reach_a_resumed_run(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--resume", RUN, *OWN, "--no-progress"]
    assert call("train.py", *words, "--total-timesteps", "128", *GIVEN, patch=monkeypatch) == 0
    assert json.loads((here / RUN / "result.json").read_text())["final"]["mean_return"] == 20
    assert yaml.safe_load((here / RUN / "config.yaml").read_text())["env_module"] == "shelf"
    capsys.readouterr()
    for other in ("place=[3, 4]", "prices={True: 5.0}", "prices={1: 5}"):  # equal to Python, or nearly
        given = [other if text.partition("=")[0] == other.partition("=")[0] else text for text in GIVEN]
        assert call("train.py", *words, *given, patch=monkeypatch) == 2
        assert "--env-arg" in capsys.readouterr().err


COMMANDS = {
    "evaluate.py": [RUN],
    "evaluate.py ": [f"{RUN}/policy.onnx"],
    "export.py": [RUN],
    "train.py": ["--resume", RUN, "--total-timesteps", "999"],
    "train.py ": ["--config", f"{RUN}/config.yaml"],
    "specify.py": ["--config", f"{RUN}/config.yaml"],
}


@pytest.mark.parametrize("script", COMMANDS)
def test_every_command_says_what_to_pass_and_imports_nothing(
    script: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(script.strip(), *COMMANDS[script], patch=monkeypatch) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "--env shelf:Shelf-v0 is needed" in errors
    assert "shelf" not in sys.modules


@pytest.mark.parametrize("named", ["'a b'", "'shelf:x'", "3", "[shelf]", '"x\\e[31m"'])
def test_what_can_be_no_module_is_refused(named: str, here: Path, tmp_path: Path) -> None:
    text = (here / RUN / "config.yaml").read_text().replace("env_module: shelf", f"env_module: {named}")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(Refusal, match="env_module") as caught:
        load_trained_policy(tmp_path)
    assert str(caught.value).isprintable()


def test_a_run_is_exported_in_its_own_environment(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("export.py", RUN, "--env", "shelf:Attic-v0", patch=monkeypatch) == 2
    assert "--env Attic-v0 does not fit" in capsys.readouterr().err


def test_example_gives_the_exported_policy_its_arguments(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(here)
    assert call("examples/run_policy.py", f"{RUN}/policy.onnx", "shelf:Shelf-v0", patch=monkeypatch) == 0
    assert "return 20.00 after 4 steps" in capsys.readouterr().out
    forget()
    monkeypatch.setattr(sys, "argv", ["run_policy.py", f"{RUN}/policy.onnx"])
    with pytest.raises(SystemExit, match="shelf:Shelf-v0"):
        exec(compile((ROOT / "examples/run_policy.py").read_text(), "run_policy.py", "exec"), {})


def test_one_environment_may_take_its_arguments_apart(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(here)
    arguments = {"prices": {1: 5.0}}
    environment_spaces(check_environment("shelf:Shelf-v0"), arguments)
    assert arguments == {"prices": {1: 5.0}}


def ended(*words: str, cwd: Path) -> str:
    """Run a command in a process of its own that finds modules only where the command looks, and return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_processes_of_environments_find_the_module(tmp_path: Path) -> None:
    (tmp_path / "shelf.py").write_text(MODULE)
    (tmp_path / "own.yaml").write_text("vectorization: processes\n")
    ended("train.py", *OWN, *GIVEN, *TINY, "--config", "own.yaml", cwd=tmp_path)
    assert json.loads((tmp_path / RUN / "result.json").read_text())["final"]["mean_return"] == 20


@pytest.mark.slow
def test_workers_of_a_study_find_the_module_and_the_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shelf.py").write_text(MODULE)
    (tmp_path / "study.yaml").write_text(
        "env: Shelf-v0\n"
        "options: {env_arguments: {prices: {1: 5.0}, place: {python literal: '(3, 4)'}}, total_timesteps: 64, "
        "n_envs: 2, n_steps: 32, n_epochs: 1, eval_every: 64, eval_episodes: 2}\n"
        "sampler: grid\nparameters: {budget: [6e1]}\n"
    )
    common = ["study.yaml", "--import", "shelf"]
    ended("sweep.py", "run", *common, "--workers", "1", cwd=tmp_path)
    (run,) = (tmp_path / "studies" / "study" / "Shelf-v0").iterdir()
    assert json.loads((run / "result.json").read_text())["final"]["mean_return"] == 20
    assert yaml.safe_load((run / "config.yaml").read_text())["env_module"] == "shelf"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    try:
        assert call("sweep.py", "worker", *common, patch=monkeypatch) == 0  # the study is the same at every start
        assert call("sweep.py", "report", *common, patch=monkeypatch) == 0
        assert "1: 5.0" in (tmp_path / "studies" / "study" / "report" / "results.csv").read_text()
        capsys.readouterr()
        assert call("sweep.py", "show", *common, "--trial", "0", patch=monkeypatch) == 0
        shown = shlex.split(capsys.readouterr().out)
        assert "shelf:Shelf-v0" in shown
        assert {"prices={1: 5.0}", "place=(3, 4)"} <= {*shown}
        forget()
        assert call("sweep.py", "worker", "study.yaml", patch=monkeypatch) == 2
        assert "--import MODULE" in capsys.readouterr().err
    finally:
        forget()


def test_missing_library_is_not_taken_for_a_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setitem(sys.modules, "envs.adroit.robotics", None)
    with pytest.raises(Refusal, match="egl"):
        lookup.check_recorded_environment("Shelf-v0", "shelf")
