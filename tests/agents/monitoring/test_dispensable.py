"""What is shown beside a training may fail; that is said once, and costs nothing else."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import strange_environments

from agents.configuration import configure
from agents.monitoring import network
from agents.training import TrainingResult, train
from envs.task import Task, register

SHORT: dict[str, Any] = {
    "n_envs": 2,
    "n_steps": 16,
    "batch_size": 32,
    "n_epochs": 1,
    "budget": 200,
    "total_timesteps": 96,
    "eval_every": 32,
    "eval_episodes": 2,
    "progress": False,
    "run_name": "run",
}


def no_picture(*_: object) -> None:
    raise FileNotFoundError("no such font")


for name, draw in (("Drawn-v0", "test_dispensable:no_picture"), ("Undrawn-v0", "no.such.module:draw")):
    gymnasium.register(name, strange_environments.Strange)
    register(Task(ids=(name,), pictures=draw))


def trained(env: str, folder: Path) -> TrainingResult:
    result = train(configure(env, **SHORT, log_dir=str(folder)))
    assert (result.path / "final" / "policy.safetensors").is_file()
    assert len(json.loads((result.path / "result.json").read_text())["curve"]) == 3
    return result


@pytest.mark.parametrize(("env", "reason"), [("Drawn-v0", "no such font"), ("Undrawn-v0", "ModuleNotFoundError")])
def test_pictures_of_episodes(env: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(env, tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the training goes on without pictures of episodes, which failed: ")
    assert reason in line


@pytest.mark.parametrize("figure", ["pattern_picture", "spectral_radius", "silent_units"])
def test_figures_of_the_network(
    figure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(network, figure, no_picture)
    trained("Strange-v0", tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the training goes on without figures of the network, which failed: ")
