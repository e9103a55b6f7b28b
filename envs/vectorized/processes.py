"""SubprocVecEnv that says which environment failed, and whose processes leave Ctrl-C to their parent."""

import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import SubprocVecEnv

from envs.vectorized.threads import EnvironmentFailure

_FAILURE = "failure"
"""Entry of the info by which a process reports what its environment raised."""


class ProcessVecEnv(SubprocVecEnv):
    """Steps each environment in a process of its own.

    Other than SubprocVecEnv it raises `EnvironmentFailure` if an environment raises or its process ends.

    :param make_environment: makes one environment; has to be picklable
    """

    def __init__(self, make_environment: Callable[[], gymnasium.Env], n_envs: int) -> None:
        super().__init__([partial(_in_process, make_environment)] * n_envs)
        self._last_seeds: list[int | None] = [None] * n_envs

    def reset(self) -> Any:
        """Reset every environment."""
        self._last_seeds = [
            new if new is not None else old for new, old in zip(self._seeds, self._last_seeds, strict=True)
        ]
        try:
            observations = super().reset()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self._raise_failure(self.reset_infos)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Send the actions."""
        try:
            super().step_async(actions)
        except OSError as error:
            raise self._ended() from error

    def step_wait(self) -> Any:
        """Collect what the step brought."""
        try:
            result = super().step_wait()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self._raise_failure(result[3])
        self._raise_failure(self.reset_infos)
        return result

    def close(self) -> None:
        """End the processes, also those that do not answer any more."""
        if any(not process.is_alive() for process in self.processes):
            for process in self.processes:
                process.terminate()
                process.join()
            self.closed = True
        super().close()

    def _raise_failure(self, infos: Sequence[dict[str, Any] | None]) -> None:
        for index, info in enumerate(infos):
            if info and _FAILURE in info:
                raise EnvironmentFailure(index, *info[_FAILURE])

    def _ended(self) -> EnvironmentFailure:
        self.waiting = False
        ended = multiprocessing.connection.wait([process.sentinel for process in self.processes], timeout=10.0)
        index = next(i for i, process in enumerate(self.processes) if process.sentinel in ended)
        self.processes[index].join()
        reason = f"its process ended with exit code {self.processes[index].exitcode}"
        return EnvironmentFailure(index, self._last_seeds[index], None, None, reason)


class _Reporting(gymnasium.Wrapper):
    """Turns what an environment raises into an info, since an exception would just end the process."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._seed: int | None = None
        self._episode = self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._seed, self._episode = seed, 0
        self._episode, self._step = self._episode + 1, 0
        try:
            return self.env.reset(seed=seed, options=options)
        except Exception as error:
            return self._nothing(), self._report(error)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._step += 1
        try:
            return self.env.step(action)
        except Exception as error:
            return self._nothing(), 0.0, False, False, self._report(error)

    def _nothing(self) -> np.ndarray:
        assert self.observation_space.shape is not None
        return np.zeros(self.observation_space.shape, self.observation_space.dtype)

    def _report(self, error: Exception) -> dict[str, Any]:
        return {_FAILURE: (self._seed, self._episode, self._step, f"{type(error).__name__}: {error}")}


def _in_process(make_environment: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    # A terminal sends Ctrl-C to all of its processes; what becomes of these is for their parent to say.
    assert multiprocessing.parent_process() is not None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return _Reporting(make_environment())
