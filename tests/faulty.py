"""Environments that go wrong where they are told to. Importing it registers them."""

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Faulty(gymnasium.Env):
    """A walk in episodes of 20 steps; with one seed, something happens at one step.

    :param fault: what happens
    :param seed: of the environment it happens in
    :param step: counted over the episodes
    :param seconds: that a step takes, for a training that is still there when a signal comes
    """

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def __init__(self, fault: str = "", seed: int = 2, step: int = 90, discrete: bool = False) -> None:
        self.action_space = spaces.Discrete(2) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        self.fault, self.faulty_seed, self.faulty_step = fault, seed, step
        self.seed: int | None = None
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.seed = self.seed if seed is None else seed
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        observation = self.np_random.normal(size=3).astype(np.float32)
        reward = float(observation[0])
        ends = self.time % 20 == 0
        if self.seed == self.faulty_seed and self.time >= self.faulty_step:
            if self.fault == "observation":
                observation[1] = np.nan
            elif self.fault == "last observation" and ends:
                observation[1] = np.inf
            elif self.fault == "huge observation":
                observation[:] = 3e38
            elif self.fault == "reward":
                reward = float("nan")
            elif self.fault == "huge reward":
                reward = 1e30
            elif self.fault == "exception":
                raise ZeroDivisionError("the wheel\ncame off")
            elif self.fault == "death":
                os._exit(7)
            elif self.fault == "exit":
                raise SystemExit(5)
        return observation, reward, False, ends, {}


gymnasium.register("Faulty-v0", entry_point=Faulty)
