"""What counts as a successful episode, where an environment reports success step by step."""

from collections.abc import Mapping
from typing import Any

import gymnasium

from envs.contract import as_truth


class SuccessCount(gymnasium.Wrapper):
    """Adds `info["is_success"]`: more than `more_than` steps of the episode so far reported `info["success"]`."""

    def __init__(self, env: gymnasium.Env, more_than: int) -> None:
        super().__init__(env)
        self.more_than = more_than
        self._count = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._count = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not isinstance(info, Mapping):
            return observation, reward, terminated, truncated, info  # which is refused elsewhere
        self._count += bool(as_truth(info["success"]))
        return observation, reward, terminated, truncated, {**info, "is_success": self._count > self.more_than}


class FinalSuccess(gymnasium.Wrapper):
    """Adds `info["is_success"]` to an episode's last step: success as that step reports it, where it reports any."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if isinstance(info, Mapping) and "success" in info and "is_success" not in info and (terminated or truncated):
            success = as_truth(info["success"])
            if success is not None:
                info = {**info, "is_success": success}  # the environment may return one dictionary for ever
        return observation, reward, terminated, truncated, info
