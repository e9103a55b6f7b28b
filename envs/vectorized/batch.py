"""A batch that an environment class brings itself, held to what every VecEnv returns."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from envs.contract import EnvironmentFailure, Unfit, as_observation, close, passed_on


class CheckedBatch(VecEnvWrapper):
    """Passes on what fits.

    :raises EnvironmentFailure: if the batch raises, or returns what does not fit
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self._seed: int | None = None
        self._steps = 0
        shape = (self.num_envs, *(self.observation_space.shape or ()))
        self._batch_space = spaces.Box(-np.inf, np.inf, shape, np.float32)

    def seed(self, seed: int | None = None) -> Any:
        """Seed the environments."""
        self._seed = seed
        return self.venv.seed(seed)

    def reset(self) -> np.ndarray:
        """Reset, and check the observations."""
        self._steps = 0
        try:
            return as_observation(self.venv.reset(), self._batch_space, "reset")
        except (Exception, SystemExit) as error:
            raise self._failure(error) from _cause(error)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step, and check what it brought."""
        self._steps += 1
        n = self.num_envs
        try:
            observations, rewards, dones, infos = self.venv.step_wait()
            for name, entries in (("rewards", rewards), ("dones", dones)):
                if not isinstance(entries, np.ndarray) or entries.shape != (n,) or entries.dtype.kind not in "biuf":
                    raise Unfit(f"the {name} of its step have the shape {np.shape(entries)}: {n} numbers are needed")
            if self._steps == 1 and (len(infos) != n or not all(isinstance(info, dict) for info in infos)):
                raise Unfit(f"the infos of its step are none of its environments: {n} dictionaries are needed")
            # Wrappers add to the rewards, and choose environments by the dones: numbers would be taken for places.
            rewards, dones = rewards.astype(np.float32, copy=False), dones.astype(np.bool_, copy=False)
            return as_observation(observations, self._batch_space), rewards, dones, _own(infos, dones)
        except ResetNeeded:  # it is the caller who is at fault
            raise
        except (Exception, SystemExit) as error:
            raise self._failure(error) from _cause(error)

    def close(self) -> None:
        """Close the batch."""
        close(self.venv)

    def _failure(self, error: BaseException) -> EnvironmentFailure:
        return EnvironmentFailure(None, self._seed, None, self._steps, error)


def _cause(error: BaseException) -> BaseException | None:
    return None if isinstance(error, Unfit) else error


def _own(infos: list[dict[str, Any]], dones: np.ndarray) -> list[dict[str, Any]]:
    """Return infos in which `episode` is at the end of an episode alone, where it is the VecEnv's by protocol."""
    if not any("episode" in info and not done for info, done in zip(infos, dones, strict=True)):
        return infos
    return [info if done else passed_on(info, last=False) for info, done in zip(infos, dones, strict=True)]
