"""Tiny environments, each with one habit that environments of other people have. Importing it registers them.

Episodes last five steps; `habit` says what is strange, from the step `at` on, if the seed is `seed`.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

SHARED_INFO: dict[str, Any] = {"episode": 3, "terminal_observation": "mine", "TimeLimit.truncated": "no"}
"""One dictionary for every step of every environment."""

OBSERVATIONS: dict[str, Callable[[np.ndarray], Any]] = {
    "one entry": lambda observation: observation[:1],
    "a row": lambda observation: observation[None],
    "one number": lambda observation: 0.5,
    "text": lambda observation: observation.astype(str),
    "objects": lambda observation: observation.astype(object),
    "complex": lambda observation: observation + 1j,
    "table": lambda observation: {"x": observation},
    "ragged": lambda observation: [[1.0], [1.0, 2.0]],
    "None": lambda observation: None,
    "nan": lambda observation: np.array([0, np.nan]),
    "huge": lambda observation: np.array([0.0, 1e50]),
    "list": lambda observation: observation.tolist(),
    "float64": lambda observation: observation.astype(np.float64),
    "whole": lambda observation: observation.astype(np.int64),
}
REWARDS: dict[str, Any] = {
    "beyond any float": 10**400,
    "tensor": torch.tensor(1.0),
    "two": np.ones(2),
    "None": None,
    "text": "1.0",
    "list": [1.0],
    "nan": np.nan,
    "huge": 1e50,
    "complex": 1j,
    "array of one": np.array([1.0]),
    "array without axes": np.array(1),
    "scalar": np.float32(1),
    "bool": True,
}
INFOS: dict[str, Any] = {"None": None, "text": "info", "pairs": [("a", 1)]}
FLAGS: dict[str, Any] = {"None": None, "text": "False", "two": np.zeros(2, bool)}
STEPS: dict[str, Any] = {"None": None, "a number": 1.0, "a dictionary": {"observation": [0.0, 0.0]}}


class Strange(gymnasium.Env):
    """A walk whose habit shows where it is told to.

    :param habit: `kind: which`, such as `reward: None`
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    observation_space: Any = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(self, habit: str = "", seed: int | None = None, at: int = 0, render_mode: str | None = None) -> None:
        self.kind, _, self.which = habit.partition(": ")
        self.strange_seed, self.at, self.render_mode = seed, at, render_mode
        self.seed: int | None = None
        self.time = self.episode = 0
        self.score = np.zeros(1)
        if habit == "prints":
            print("made", flush=True)
            os.write(1, b"below Python\n")
        if self.kind == "spaces":
            self.observation_space = self.action_space = None

    @staticmethod
    def batched(n_envs: int, **arguments: Any) -> "StrangeBatch":
        return StrangeBatch([functools.partial(Strange, **arguments)] * n_envs)

    def shows(self, kind: str) -> bool:
        return self.kind == kind and self.time >= self.at and self.strange_seed in (None, self.seed)

    def observe(self) -> Any:
        observation = self.np_random.standard_normal(2).astype(np.float32)
        if self.kind == "second episode" and (self.episode == 2 or (self.seed or 0) >= 100):
            observation[0] = np.nan
        return OBSERVATIONS[self.which](observation) if self.shows("observation") else observation

    def info(self) -> Any:
        if self.shows("info"):
            return INFOS[self.which]
        return SHARED_INFO if self.kind == "shared info" else {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.seed = self.seed if seed is None else seed
        self.time = 0
        self.episode = 1 if seed is not None else self.episode + 1
        if self.kind == "spaces":
            self.observation_space, self.action_space = Strange.observation_space, Strange.action_space
        if self.shows("reset"):
            raise RuntimeError("no start")
        observation = self.observe()
        if self.shows("old reset"):
            return observation.tolist() if self.which == "list" else observation
        return observation, self.info()

    def step(self, action: Any) -> Any:
        self.time += 1
        if self.shows("raises"):
            raise RuntimeError("the simulator diverged")
        if self.shows("exits"):
            sys.exit("the licence has expired")
        if self.shows("interrupts"):
            raise KeyboardInterrupt
        if self.shows("quotes"):
            raise RuntimeError("call `reset` of `env` first")
        if self.shows("step"):
            return STEPS[self.which]
        if self.kind == "closes the output":
            sys.stdout.close()
        if self.kind == "switches gradients off":
            torch.set_grad_enabled(False)
        observation, info = self.observe(), self.info()
        ends: Any = self.time == 5 and not self.shows("endless")
        if self.kind == "second episode":
            ends = self.time == (10 if self.seed == 1 else 5)
        reward = REWARDS[self.which] if self.shows("reward") else 1.0
        if self.kind == "success":
            info = {"is_success": SUCCESSES[self.which][0]}
        if self.kind.startswith("endless "):
            name = {"endless success": "success", "endless counted": "is_success"}[self.kind]
            ends, info = False, {name: self.time == 12}
        if self.kind == "reused":
            self.score[0] = -1.0 if ends else self.time
            info = {"score": self.score}
        if self.kind == "sometimes success":
            info = SHARED_INFO
            if self.seed == 0 and ends:
                info["success"] = True
            else:
                info.pop("success", None)
        if self.kind == "failure":
            info = {"failure": "mine", "seed": 1}
        if self.kind == "prints":
            print("step")
        if self.shows("old step"):
            return observation, reward, ends, info
        if self.shows("flag"):
            ends = FLAGS[self.which]
        if self.kind == "tensor flags":
            return observation, reward, torch.tensor(ends), torch.tensor(False), info
        return observation, reward, ends, False, info

    def render(self) -> np.ndarray:
        return np.zeros((32, 32, 3), np.uint8)

    def close(self) -> None:
        if self.kind == "close":
            raise SystemExit("no end") if self.which == "exits" else RuntimeError("no end")


SUCCESSES: dict[str, tuple[Any, bool | None]] = {
    "number": (1, True),
    "array": (np.array([False]), False),
    "None": (None, None),
    "text": ("no", None),
    "two": (np.ones(2), None),
    "nan": (float("nan"), None),
    "NumPy": (np.bool_(True), True),
}
"""What an environment says of success, and what is made of it."""


class StrangeBatch(DummyVecEnv):
    """A batch with the habits of its environments, and `batch` habits of its own."""

    def reset(self) -> Any:
        observations = super().reset()
        return observations[:, :1] if self.envs[0].unwrapped.kind == "batch observation" else observations

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = super().step_wait()
        kind = self.envs[0].unwrapped.kind
        if kind == "batch reward":
            rewards = rewards[:, None]
        if kind == "batch dones":
            rewards, dones = rewards.astype(np.float64), dones.astype(np.uint8)
        if kind == "batch info":
            infos = [None] * self.num_envs
        return observations, rewards, dones, infos


class WithoutSeed(Strange):
    """Gym's oldest reset."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class OwnState(Strange):
    """Methods whose names mean something else here."""

    def get_state(self, player: int) -> int:
        return player

    def set_state(self, player: int, state: int) -> None:
        raise NotImplementedError


gymnasium.register("Strange-v0", "strange_environments:Strange")
gymnasium.register("StrangeTimed-v0", "strange_environments:Strange", max_episode_steps=4)
gymnasium.register("StrangeWithoutSeed-v0", "strange_environments:WithoutSeed")
gymnasium.register("StrangeOwnState-v0", "strange_environments:OwnState")
