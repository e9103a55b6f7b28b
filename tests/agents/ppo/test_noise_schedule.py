"""Exploration noise falls in a line, here and in stock trainers, and is learned where nothing says otherwise."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.configuration import configure
from agents.ppo.noise_schedule import NoiseSchedule
from agents.training import train
from policies.refusal import Refusal

SHORT = {
    "budget": 200,
    "n_envs": 2,
    "n_steps": 32,
    "batch_size": 32,
    "n_epochs": 2,
    "total_timesteps": 256,
    "eval_every": 256,
    "eval_episodes": 1,
    "progress": False,
}


class Widths(BaseCallback):
    """Notes the logarithms of the standard deviation that each rollout ends with, and the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.seen.append(self.model.policy.log_std.detach().numpy().copy())


def test_noise_falls_in_a_line_and_is_not_learned(tmp_path: Path) -> None:
    widths = Widths()
    done = train(
        configure("Pendulum-v1", **SHORT, log_std_init=-0.5, log_std_final=-2.5, log_dir=str(tmp_path)),
        callbacks=[widths],
    )
    assert [width.item() for width in widths.seen] == pytest.approx([-0.5, -1.0, -1.5, -2.0])
    rows = list(csv.DictReader((done.path / "progress.csv").open()))
    logged = [float(row["train/std"]) for row in rows if row["train/std"]]
    assert logged == pytest.approx([math.exp(-0.5), math.exp(-1.0), math.exp(-1.5), math.exp(-2.0)])


def test_noise_is_learned_otherwise(tmp_path: Path) -> None:
    widths = Widths()
    train(configure("Pendulum-v1", **SHORT, log_std_init=-0.5, log_dir=str(tmp_path)), callbacks=[widths])
    assert widths.seen[0].item() == -0.5
    assert len({width.item() for width in widths.seen}) == 4


def test_in_stock_recurrent_ppo() -> None:
    model = RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu")
    widths = Widths()
    model.learn(64, callback=[NoiseSchedule(0.0, -1.0, 64), widths])
    assert [width.item() for width in widths.seen] == pytest.approx([0.0, -0.25, -0.5, -0.75])


@pytest.mark.parametrize(
    ("name", "value"), [("log_std_final", -2.0), ("log_std_final", 0.0), ("noise_correlation", 0.9)]
)
def test_choices_have_no_noise(name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=f"{name} {value} does not fit CartPole-v1, whose actions are choices"):
        train(configure("CartPole-v1", **SHORT, **{name: value}, log_dir=str(tmp_path)))
    assert not list(tmp_path.iterdir())
