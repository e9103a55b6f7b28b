"""A new task is its folder or module and its record: all else is told by these."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.configuration import TrainingConfiguration, configure
from agents.trained.policy import load_trained_policy
from agents.trained.recording import record
from agents.trained.report import evaluate_policy
from agents.training import train
from envs.lookup import check_environment
from envs.task import TASKS
from policies.refusal import Refusal


def echo(log_dir: Path, **options: object) -> TrainingConfiguration:
    fixed = {
        "budget": 60,
        "activation": "tanh",
        "total_timesteps": 64,
        "n_envs": 4,
        "n_steps": 16,
        "batch_size": 32,
        "eval_every": 64,
        "eval_episodes": 7,
        "progress": False,
        "log_dir": str(log_dir),
        "run_name": "run",
    }
    return configure(check_environment("own_task:Echo-v0"), **(fixed | options))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One update of a task that nothing else in the tests knows."""
    yield train(echo(tmp_path_factory.mktemp("logs"))).path
    del TASKS["Echo-v0"], gymnasium.registry["Echo-v0"]


def test_pictures_are_in_tensorboard(run: Path) -> None:
    events = EventAccumulator(str(run)).Reload()
    (picture,) = events.Images("echo/4_of_7")
    assert (picture.step, picture.width, picture.height) == (64, 150, 50)


def test_figures_are_logged(run: Path) -> None:
    rows = list(csv.DictReader((run / "progress.csv").open()))
    for name in ("rollout/echoed", "eval/echoed", "eval/success_rate"):
        assert any(row[name] for row in rows)
    assert 0 <= json.loads((run / "result.json").read_text())["final"]["mean_echoed"] <= 1


def test_score_is_called_by_its_name(run: Path) -> None:
    policy = load_trained_policy(run)
    assert policy.env_arguments == {"split": "test"}
    report = evaluate_policy(policy, episodes=30, first_seed=3)
    assert "  echo rate  " in str(report)
    assert "success rate" not in str(report)
    right = report.evaluation.figures["echoed"] * report.evaluation.lengths
    np.testing.assert_array_equal(report.evaluation.successes, np.rint(right) > 5)
    np.testing.assert_array_equal(report.evaluation.returns, np.rint(right))


def test_still_picture(run: Path, tmp_path: Path) -> None:
    record(load_trained_policy(run), tmp_path / "still.png", episodes=2, first_seed=0)
    with Image.open(tmp_path / "still.png") as picture:
        assert picture.size == (150, 50)
    with pytest.raises(Refusal, match="it renders nothing"):  # a film is rendered, as of any environment
        record(load_trained_policy(run), tmp_path / "film.gif", episodes=2, first_seed=0)


@pytest.mark.parametrize("name", ["split", "reward", "render_mode"])
def test_arguments_that_evaluations_set(run: Path, name: str) -> None:
    with pytest.raises(Refusal, match=f"env_arguments {name}=x does not fit"):
        load_trained_policy(run, env_arguments={name: "x"})
