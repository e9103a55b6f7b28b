"""An environment that takes no action but one of its space, to the type and the last bit. Importing it registers it."""

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

HALF = spaces.Box(np.float16([-0.1, 0.0]), np.float16([0.1, 0.7]), dtype=np.float16)
SPACES: dict[str, spaces.Space] = {
    "float64": spaces.Box(np.array([-0.1, -0.3]), np.array([0.1, 0.7]), dtype=np.float64),  # none is a float32
    "float16": HALF,
    "one number": spaces.Box(np.array([-1.0, 0.1]), np.array([1.0, 0.1]), dtype=np.float64),
    "huge": spaces.Box(-1e30, 1e30, (2,), np.float32),
    "beyond float32": spaces.Box(-1e300, 1e300, (2,), np.float64),
    "matrix": spaces.Box(-0.3, 0.7, (2, 3), np.float64),
    "scalar": spaces.Box(-1, 1, (), np.float32),
    "from 5": spaces.Discrete(3, start=5),
    "from -2": spaces.Discrete(4, start=-2),
    "int32": spaces.Discrete(3, dtype=np.int32),
    "several": spaces.MultiDiscrete([2, 3, 1]),
    "several from": spaces.MultiDiscrete([4, 3], dtype=np.int32, start=[-2, 5]),
    "yes or no": spaces.MultiBinary(3),
}
OBSERVATIONS: dict[str, spaces.Space] = {
    "numbers": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "choice": spaces.Discrete(4, start=-1),
    "choices": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "bits": spaces.MultiBinary((2, 2)),
    "matrix": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    "scalar": spaces.Box(-1.0, 1.0, (), np.float32),
    "bytes": spaces.Box(0, 255, (12,), np.uint8),
    "picture": spaces.Box(0, 255, (4, 3, 3), np.uint8),
    "whole": spaces.Box(-5, 9, (3,), np.int64),
    "pair": spaces.Tuple((spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,), np.float64))),
    "nested": spaces.Dict(
        goal=spaces.Dict(at=spaces.Box(-1.0, 1.0, (2,), np.float64), kind=spaces.Discrete(3, start=1)),
        seen=spaces.Tuple((spaces.Box(0, 255, (2, 2), np.uint8), spaces.MultiBinary(2))),
    ),
}


class Picky(gymnasium.Env):
    """Episodes of 20 steps, without a time limit.

    :param space: name of the action space
    :param sees: name of the observation space
    """

    def __init__(self, space: str = "float64", sees: str = "numbers") -> None:
        self.action_space = SPACES[space]
        self.observation_space = copy.deepcopy(OBSERVATIONS[sees])
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        self.observation_space.seed(None if seed is None else seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} of {getattr(action, 'dtype', None)} is no action"
        self.time += 1
        return self.observation_space.sample(), float(np.sum(action) > 0), self.time == 20, False, {}


gymnasium.register("Picky-v0", Picky)
