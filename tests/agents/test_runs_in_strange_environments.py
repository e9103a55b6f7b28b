"""Trainings and evaluations in other people's environments: they work, or end in one line with exit code 3."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strange_environments  # noqa: F401 registers Strange-v0
import torch
from data_files import ROOT

import evaluate
import specify
from agents.command_line import run as run_command
from agents.configuration import configure
from agents.errors import EvaluationStopped, TrainingStopped
from agents.evaluation import play_episodes
from agents.trained.policy import load_trained_policy
from agents.trained.recording import record
from agents.trained.report import evaluate_policy
from agents.training import TrainingResult, train
from envs.vectorized.finite import NotFinite
from envs.vectorized.make import make_vec_env

MakeRun = Callable[..., Path]
SHORT = {
    "n_envs": 2,
    "n_steps": 16,
    "batch_size": 32,
    "n_epochs": 1,
    "budget": 200,
    "total_timesteps": 64,
    "eval_every": 32,
    "eval_episodes": 2,
    "progress": False,
    "run_name": "run",
}


def train_in(tmp_path: Path, habit: str, **arguments: Any) -> TrainingResult:
    options = {**SHORT, "env_arguments": {"habit": habit, **arguments}, "log_dir": str(tmp_path)}
    return train(configure("Strange-v0", **options))


@pytest.fixture(scope="module")
def trained(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("logs"), "Strange-v0")


@pytest.mark.parametrize(
    "habit",
    [
        *("shared info", "spaces", "close", "success: text", "success: array", "reward: bool", "tensor flags"),
        *("close: exits", "switches gradients off"),
    ],
)
@torch.enable_grad()  # as it was
def test_habits_that_are_no_fault(habit: str, tmp_path: Path) -> None:
    result = train_in(tmp_path, habit)
    np.testing.assert_array_equal(result.final.returns, [5.0, 5.0])
    assert (result.final.success_rate is None) == (habit != "success: array")


@pytest.mark.parametrize(
    ("habit", "said"),
    [
        ("old reset", "environment 0 failed (seed 0, episode 1, step 0): its reset returned an array of shape (2,)"),
        ("observation: one entry", "environment 0 failed (seed 0, episode 1, step 0): the observation of its reset"),
        ("reward: two", "environment 0 failed (seed 0, episode 1, step 1): the reward of its step"),
        ("info: None", "environment 0 failed (seed 0, episode 1, step 0): the info of its reset is None"),
        ("observation: huge", "beyond float32"),
        ("reward: huge", "beyond float32"),
    ],
)
def test_trainings_that_stop_at_the_first_step(habit: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped) as caught:
        train_in(tmp_path, habit)
    assert said in str(caught.value)
    assert "resume" in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_environments_own_interrupt_stops_it_as_any_exception(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match=r"environment 0 failed \(seed 0, episode 1, step 3\): KeyboardInterrupt"):
        train_in(tmp_path, "interrupts", at=3)


def test_words_after_an_environment_has_closed_the_output(tmp_path: Path) -> None:
    options = ["--env", "strange_environments:Strange-v0", "--env-arg", "habit=closes the output", "--no-progress"]
    sizes = [["--n-envs", "2"], ["--n-steps", "16"], ["--total-timesteps", "64"], ["--budget", "200"]]
    words = [sys.executable, str(ROOT / "train.py"), *options, *(word for size in sizes for word in size)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "return        5.00" in done.stdout


WRONG = {
    "observation: nan": "observation of environment 1 (seed 41, episode 1, step 3) is not finite (nan at entry 1",
    "reward: nan": "reward of environment 1 (seed 41, episode 1, step 3) is not finite (nan)",
    "raises": "environment 1 failed (seed 41, episode 1, step 3): RuntimeError: the simulator diverged (",
    "observation: a row": "environment 1 failed (seed 41, episode 1, step 3): the observation of its step has the",
    "old step": "environment 1 failed (seed 41, episode 1, step 3): its step returned another number of values",
}


@pytest.mark.parametrize("habit", WRONG)
def test_evaluations_that_stop(
    habit: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--env-arg", f"habit={habit}", "--env-arg", "seed=41", "--env-arg", "at=3"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(trained), "--seed", "40", "--episodes", "3", *options])
    with pytest.raises(SystemExit) as caught:
        run_command(evaluate.main)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (3, "")
    assert err.count("\n") == 1, err
    assert WRONG[habit] in err


def test_last_observation_of_an_episode(trained: Path) -> None:
    policy = load_trained_policy(trained, env_arguments={"habit": "observation: nan", "at": 5})
    with pytest.raises(EvaluationStopped, match=r"seed 7, episode 1, step 5\) is not finite"):
        evaluate_policy(policy, episodes=1, first_seed=7)


@pytest.mark.parametrize("habit", ["observation: nan", "raises", "old step"])
def test_films_that_stop(habit: str, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    policy = load_trained_policy(trained, env_arguments={"habit": habit, "at": 2, "seed": 9})
    with pytest.raises(EvaluationStopped, match="seed 9, episode 1, step 2"):
        record(policy, tmp_path / "film.mp4", episodes=3, first_seed=8)
    assert not list(tmp_path.iterdir())


class Leftmost:
    """Acts, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def predict(
        self, observation: np.ndarray, state: Any, episode_start: np.ndarray, deterministic: bool = True
    ) -> Any:
        self.seen.append(observation.copy())
        return np.zeros(len(observation), int), None


def test_only_episodes_of_the_evaluation_are_looked_at() -> None:
    # With a seed of 1 it goes on for ten steps; the others are in their second episode then, which is all NaN.
    arguments = {"habit": "second episode"}
    environments = make_vec_env("Strange-v0", arguments=arguments, n_envs=3, seed=0, training=False)
    policy = Leftmost()
    played = play_episodes(policy, environments, episodes=3, first_seed=0, keep=0)
    assert [episode.info["episode"]["l"] for episode in played] == [5, 10, 5]
    assert np.isfinite(policy.seen).all()
    with pytest.raises(NotFinite, match=r"environment 0 \(seed 100, episode 1, step 0\)"):
        play_episodes(policy, environments, episodes=1, first_seed=100, keep=0)
    environments.close()


def test_prints_beside_json(trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--json", "--env-arg", "habit=prints"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(trained), "--episodes", "2", *options])
    evaluate.main()
    out, err = capfd.readouterr()
    assert json.loads(out)["mean_return"] == 5.0
    assert {"made", "step", "below Python"} <= set(err.split("\n"))
    monkeypatch.setattr(sys, "argv", ["specify.py", "--env", "Strange-v0", "--budget", "200", *options])
    specify.main()
    out, err = capfd.readouterr()
    assert json.loads(out)
    assert "made" in err
    print("afterwards")
    assert capfd.readouterr().out == "afterwards\n"
