"""A task of a user's own, whole: its environment, its pictures and its record, in a module that `--env` names."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from matplotlib.figure import Figure

from envs.episode import Outputs, PlayedEpisode
from envs.task import Task, register


class EchoEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Say the bit that was seen last, four to nine times.

    :param reward: `registered`, 1 for each right answer, or `half`, of which there is half as much
    """

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, split: str = "train", reward: str = "registered") -> None:
        self.split, self.worth = split, 1.0 if reward == "registered" else 0.5
        self.bit = self.steps = self.right = self.length = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps, self.right, self.length = 0, 0, int(self.np_random.integers(4, 10))
        return self._see(), {}

    def _see(self) -> np.ndarray:
        self.bit = int(self.np_random.integers(2))
        return np.array([self.bit], np.float32)

    def step(self, action: np.integer) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        is_right = int(action) == self.bit
        self.steps, self.right = self.steps + 1, self.right + is_right
        info = {"success": is_right, "echoed": self.right / self.steps, "split": self.split}
        return self._see(), is_right * self.worth, self.steps == self.length, False, info


def draw_echoes(episodes: Sequence[PlayedEpisode], action_space: spaces.Discrete) -> dict[str, Figure]:
    """Draw what was seen and said in those episodes that hold it."""
    shown = [episode for episode in episodes if len(episode.observations)]
    figure = Figure(figsize=(3, 1), dpi=50)
    for episode in shown:
        assert episode.observations.shape == (len(episode.actions), 1)
        assert (episode.observations[:, 0] == episode.actions).mean() == episode.info["echoed"]
        assert episode.info["split"] == "validation"
        figure.subplots().plot(episode.actions)
    return {f"echo/{len(shown)}_of_{len(episodes)}": figure}


def draw_still(episodes: Sequence[PlayedEpisode], outputs: Outputs) -> Figure:
    """Draw what the policy says in the episodes."""
    figure = Figure(figsize=(3, 1), dpi=50)
    for episode in episodes:
        figure.subplots().plot(outputs(episode.observations[:, None])[:, 0])
    return figure


register(
    Task(
        ids=("Echo-v0",),
        entry_point="own_task:EchoEnv",
        has_splits=True,
        rewards=("registered", "half"),
        ends=True,
        success_steps=5,
        score="echo rate",
        figures=("echoed",),
        pictures="own_task:draw_echoes",
        still="own_task:draw_still",
    )
)
