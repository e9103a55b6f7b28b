"""Faults while a training runs: each ends it with one line, and with a checkpoint that is whole and good."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import faulty  # noqa: F401 registers Faulty-v0
import numpy as np
import pytest
import torch
from data_files import ROOT
from stable_baselines3.common.callbacks import BaseCallback

from agents.configuration import configure
from agents.errors import TrainingStopped
from agents.ppo.finite import check_gradient
from agents.resumption.checkpoint import Checkpoint, checkpoint_files, checkpoint_to_resume
from agents.training import train
from envs.vectorized.finite import NotFinite

SHORT = {
    "n_envs": 16,
    "n_steps": 40,
    "batch_size": 160,
    "n_epochs": 1,
    "budget": 200,
    "total_timesteps": 640 * 6,
    "eval_every": 10_000,
    "eval_episodes": 2,
    "checkpoint_every": 640,
    "progress": False,
    "run_name": "run",
}
FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "observation": ({}, ["the observation of environment 2", "nan", "entry 1"]),
    "last observation": ({}, ["the observation of environment 2", "inf"]),
    "reward": ({}, ["the reward of environment 2", "nan"]),
    "huge reward": ({"normalize_reward": False}, ["the loss is not finite", "value_loss", "learning_rate"]),
    "huge observation": ({"normalize_observation": False}, ["not finite", "learning_rate"]),
    "exit": ({}, ["environment 2", "episode 5, step 10", "SystemExit: the licence has expired"]),
    "exception": ({}, ["environment 2", "seed 2", "episode 5, step 10", "ZeroDivisionError: the wheel came off"]),
}


def finite(checkpoint: Checkpoint) -> bool:
    tensors = checkpoint.state["training"]["policy"].values()
    return all(np.isfinite(tensor).all() for tensor in tensors)


@pytest.mark.parametrize("vectorization", ["serial", "threads"])
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_one_of_sixteen_environments(fault: str, vectorization: str, tmp_path: Path) -> None:
    options, named = FAULTS[fault]
    configuration = configure(
        "Faulty-v0",
        **SHORT | options,
        env_arguments={"fault": fault},
        log_dir=str(tmp_path),
        vectorization=vectorization,
    )
    with pytest.raises(TrainingStopped) as caught:
        train(configuration)
    text = str(caught.value)
    assert "\n" not in text
    for part in (*named, "--resume", "1,280 steps"):
        assert part in text
    checkpoint = checkpoint_to_resume(tmp_path / "Faulty-v0" / "run")
    assert checkpoint is not None
    assert checkpoint.steps == 1280  # the fault comes after 80 steps of each environment, in the third rollout
    assert finite(checkpoint)


class Expanding(BaseCallback):
    """Makes the actor's recurrence expand before the third rollout, as no update of ours leaves it."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == 1280:
            with torch.no_grad():
                self.model.policy.actor.weights["hh"].mul_(4)


def test_probabilities_that_are_noise(tmp_path: Path) -> None:
    configuration = configure("Pendulum-v1", **SHORT | {"budget": 2000, "log_dir": str(tmp_path)})
    with pytest.raises(TrainingStopped) as caught:
        train(configuration, callbacks=[Expanding()])
    assert str(caught.value).startswith(
        "after 1,920 steps the log probabilities of the rollout and those of its update"
    )
    for part in ("nothing was learned from it", "--resume", "from its checkpoint after 1,280 steps"):
        assert part in str(caught.value)
    checkpoint = checkpoint_to_resume(tmp_path / "Pendulum-v1" / "run")
    assert checkpoint is not None
    assert finite(checkpoint)


def test_discrete_policy_that_cannot_act(tmp_path: Path) -> None:
    configuration = configure(
        "Faulty-v0",
        **SHORT | {"normalize_observation": False, "log_dir": str(tmp_path)},
        env_arguments={"fault": "huge observation", "discrete": True},
    )
    with pytest.raises(TrainingStopped, match="not finite"):
        train(configuration)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "named"),
    [("exception", "seed 2, episode 5, step 10"), ("death", "seed 2.*process ended with exit code 7")],
)
def test_fault_in_a_process(fault: str, named: str, tmp_path: Path) -> None:
    configuration = configure(
        "Faulty-v0",
        **SHORT | {"n_envs": 3, "batch_size": 120, "log_dir": str(tmp_path), "vectorization": "processes"},
        env_arguments={"fault": fault},
    )
    with pytest.raises(TrainingStopped, match=f"environment 2 failed .{named}"):
        train(configuration)


def test_gradient_names_the_block() -> None:
    layer = torch.nn.ModuleDict({"actor": torch.nn.Linear(3, 2), "critic": torch.nn.Linear(3, 1)})
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    norm = torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e9)
    terms = {"value_loss": torch.tensor(1.0), "loss": torch.tensor(2.0)}
    check_gradient(terms["loss"], norm, terms, layer.named_parameters(), "learning_rate")
    gradient = layer["actor"].weight.grad
    assert gradient is not None
    gradient[1, 2] = torch.inf
    norm = torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e9)
    with pytest.raises(NotFinite, match=r"gradient is not finite \(in .*actor.weight \(\d of 6 entries\)"):
        check_gradient(terms["loss"], norm, terms, layer.named_parameters(), "learning_rate")


def call(*options: str, cwd: Path, **settings: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *options],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        **settings,
    )


OPTIONS = [
    "--budget",
    "300",
    "--n-envs",
    "4",
    "--n-steps",
    "64",
    "--batch-size",
    "128",
    "--n-epochs",
    "1",
    "--total-timesteps",
    "25600",
]
OPTIONS += ["--eval-every", "2560", "--eval-episodes", "2", "--checkpoint-every", "512", "--no-progress"]


@pytest.mark.slow
def test_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    options = [*OPTIONS, "--env-arg", "fault=reward", "--run-name", "run"]
    result = call("--env", "faulty:Faulty-v0", *options, cwd=tmp_path)
    assert result.returncode == 3
    note, line = result.stderr.splitlines()
    assert note.startswith("note: Faulty-v0 has no time limit")
    assert line.startswith("error: ")
    assert "the reward of environment 2" in line


@pytest.mark.slow
def test_command_line_shows_what_an_environment_raised(tmp_path: Path) -> None:
    options = [*OPTIONS, "--env-arg", "fault=exception", "--run-name", "run"]
    result = call("--env", "faulty:Faulty-v0", *options, cwd=tmp_path)
    assert result.returncode == 3
    assert "faulty.py" in result.stderr  # the traceback is the user's own
    assert "sequence_ppo.py" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert "environment 2 failed (seed 2, episode 5, step 10)" in last


def assert_stopped_by_the_disk(result: "subprocess.CompletedProcess[str]", run: Path, reason: str) -> None:
    assert result.returncode == 3, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert reason in result.stderr
    assert "--resume" in result.stderr
    checkpoint = checkpoint_to_resume(run)
    assert checkpoint is not None
    assert finite(checkpoint)


@pytest.mark.slow
def test_file_size_limit(tmp_path: Path) -> None:
    def limit() -> None:
        import resource  # POSIX alone has it

        resource.setrlimit(resource.RLIMIT_FSIZE, (62_000, 62_000))

    result = call("--env", "CartPole-v1", *OPTIONS, "--run-name", "run", cwd=tmp_path, preexec_fn=limit)
    assert_stopped_by_the_disk(result, tmp_path / "logs" / "CartPole-v1" / "run", "File too large")


@pytest.mark.slow
def test_logs_that_cannot_grow_cost_no_step(tmp_path: Path) -> None:
    def limit() -> None:
        import resource  # POSIX alone has it

        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))

    # Events need more than a checkpoint; none but the first is due.
    options = [*OPTIONS, "--checkpoint-every", "100000", "--run-name", "run"]
    result = call("--env", "CartPole-v1", *options, cwd=tmp_path, preexec_fn=limit)
    run = tmp_path / "logs" / "CartPole-v1" / "run"
    assert_stopped_by_the_disk(result, run, "File too large")
    rows = list(csv.DictReader((run / "progress.csv").open()))
    steps = int(checkpoint_files(run)[-1].stem)
    logged = max(int(row["time/total_timesteps"]) for row in rows if row["time/total_timesteps"])
    assert 0 < logged - 4 * 64 <= steps <= logged  # a rollout is logged before it is learned from
    result = call("--resume", str(run), "--total-timesteps", str(steps), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (run / "result.json").is_file()


class Broken(BaseCallback):
    """Raises something else than a training knows of, at the end or on the way."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.at:
            raise LookupError("a callback of the user's")

    def _on_training_end(self) -> None:
        raise LookupError("a callback of the user's")


@pytest.mark.parametrize("at", [1280, 10**6])
def test_whatever_ends_a_training_leaves_its_last_update(at: int, tmp_path: Path) -> None:
    options = SHORT | {"checkpoint_every": 10**6, "log_dir": str(tmp_path)}
    with pytest.raises(LookupError):
        train(configure("Faulty-v0", **options), callbacks=[Broken(at)])
    run = tmp_path / "Faulty-v0" / "run"
    checkpoint = checkpoint_to_resume(run)
    assert checkpoint is not None
    assert checkpoint.steps == min(at, 640 * 6)
    assert finite(checkpoint)
    assert (run / "final" / "policy.safetensors").is_file() == (at > 640 * 6)


def test_an_environment_that_ends_the_program(tmp_path: Path) -> None:
    options = SHORT | {"checkpoint_every": 10**6, "log_dir": str(tmp_path), "vectorization": "serial"}
    with pytest.raises(TrainingStopped, match="SystemExit"):
        train(configure("Faulty-v0", **options, env_arguments={"fault": "exit"}))
    checkpoint = checkpoint_to_resume(tmp_path / "Faulty-v0" / "run")
    assert checkpoint is not None
    assert checkpoint.steps == 1280


@pytest.mark.slow
def test_disk_that_fills_up(small_disk: Path) -> None:
    # The logs grow with every row, until they, a policy or a checkpoint do not fit any more.
    result = call("--env", "CartPole-v1", *OPTIONS, "--budget", "1500", "--run-name", "run", cwd=small_disk)
    run = small_disk / "logs" / "CartPole-v1" / "run"
    assert_stopped_by_the_disk(result, run, "No space left on device")
    steps = int(checkpoint_files(run)[-1].stem)

    # With room again the run goes on from there.
    subprocess.run(["mount", "-o", "remount,size=10M", str(small_disk)], check=True)
    result = call("--resume", str(run), "--total-timesteps", str(steps + 512), cwd=small_disk)
    assert result.returncode == 0, result.stderr
    assert json.loads((run / "result.json").read_text())["steps"] >= steps + 512


@pytest.mark.slow
def test_read_only_folder(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result = call("--env", "CartPole-v1", *OPTIONS, cwd=small_disk)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "--log-dir logs cannot be written: Read-only file system" in result.stderr
