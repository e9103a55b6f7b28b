"""Wrappers of a user's own, in a module that `--wrapper` or `--import` names."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Paid(gymnasium.Wrapper):
    """Pays for every step, more from step to step if told so; its state is how many steps there have been.

    :param amount: the reward
    """

    def __init__(self, env: gymnasium.Env, amount: float = 1.0, raise_by: float = 0.0) -> None:
        super().__init__(env)
        self.amount, self.raise_by, self.steps = amount, raise_by, 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        return observation, self.amount + self.raise_by * self.steps, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def set_state(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


class Secret(gymnasium.Wrapper):
    """Keeps something that nobody else knows of."""


class Short(gymnasium.Wrapper):
    """Ends episodes after two steps, with success."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.left = 2
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, _, truncated, info = self.env.step(action)
        self.left -= 1
        return observation, reward, self.left == 0, truncated, {**info, "success": True}


class Wider(gymnasium.ObservationWrapper):
    """Adds entries to a flat observation."""

    def __init__(self, env: gymnasium.Env, by: tuple[float, ...] = (0.0,)) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Box)
        by_array = np.array(by, np.float32)
        low, high = (
            np.concatenate([bound, by_array]) for bound in (env.observation_space.low, env.observation_space.high)
        )
        self.by, self.observation_space = by_array, spaces.Box(low, high, dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([observation, self.by]).astype(np.float32)


class Raising(gymnasium.Wrapper):
    """Cannot be made."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        raise RuntimeError("no\nluck")


def function(env: gymnasium.Env) -> gymnasium.Env:
    """Is no class."""
    return env
