"""SubprocVecEnv that says which environment failed, and whose processes leave Ctrl-C to their parent."""

import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import SubprocVecEnv

from envs import contract
from envs.contract import EnvironmentFailure, describe
from envs.lookup import float32_space
from envs.refusal import Refusal
from policies.streams import make_streams_last


class _Failure(dict[str, Any]):
    """In place of an info: by it a process reports what its environment raised."""


class ProcessVecEnv(SubprocVecEnv):
    """Steps each environment in a process of its own.

    Other than SubprocVecEnv it reports observations as float32 and `info["episode"]` as SB3's Monitor does, leaves
    the environment's own infos as they are, and raises `EnvironmentFailure` if an environment raises, returns what does
    not fit, or its process ends.

    :param make_environment: makes one environment; has to be picklable
    """

    def __init__(self, make_environment: Callable[[], gymnasium.Env], n_envs: int) -> None:
        super().__init__([partial(_in_process, make_environment)] * n_envs)
        self._last_seeds: list[int | None] = [None] * n_envs
        if self.has_attr("distinct_episodes"):
            self.distinct_episodes = self.get_attr("distinct_episodes", 0)[0]

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
            if isinstance(info, _Failure):
                raise EnvironmentFailure(index, *info["failure"])

    def _ended(self) -> EnvironmentFailure:
        self.waiting = False
        ended = multiprocessing.connection.wait([process.sentinel for process in self.processes], timeout=10.0)
        index = next(i for i, process in enumerate(self.processes) if process.sentinel in ended)
        self.processes[index].join()
        reason = f"its process ended with exit code {self.processes[index].exitcode}"
        return EnvironmentFailure(index, self._last_seeds[index], None, None, reason)


class _Reporting(gymnasium.Wrapper):
    """Checks what an environment returns, counts, and turns what it raises, which would end the process, into an info.

    The infos are copies, which the process may write to.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        if not isinstance(env.observation_space, spaces.Box):
            raise Refusal(f"the observations are {env.observation_space}: a Box is needed")
        self.observation_space = self._space = float32_space(env.observation_space)
        self._seed: int | None = None
        self._episode = self._step = 0
        self._return = 0.0
        self._started = time.time()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._seed, self._episode = seed, 0
        self._episode, self._step, self._return = self._episode + 1, 0, 0.0
        given = {"options": options} if options else {}
        try:
            return contract.reset(self.env, self._space, seed=seed, **given)
        except BaseException as error:  # the process leaves Ctrl-C to its parent
            return self._nothing(), self._report(error)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._step += 1
        try:
            returned, reward, terminated, truncated, info = contract.step(self.env, action)
            observation = contract.as_observation(returned, self._space)
        except BaseException as error:
            return self._nothing(), 0.0, False, False, self._report(error)
        self._return += reward
        ours = contract.passed_on(info, last=terminated or truncated)
        if terminated or truncated:
            seconds = round(time.time() - self._started, 6)
            ours["episode"] = {"r": round(self._return, 6), "l": self._step, "t": seconds}
        return observation, reward, terminated, truncated, ours

    def close(self) -> None:
        contract.close(self.env)

    def _nothing(self) -> np.ndarray:
        return np.zeros(self._space.shape, self._space.dtype)

    def _report(self, error: BaseException) -> _Failure:
        return _Failure(failure=(self._seed, self._episode, self._step, describe(error)))


def _in_process(make_environment: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    # A terminal sends Ctrl-C, and word of its end, to all of its processes; what becomes of these is for their parent
    # to say.
    assert multiprocessing.parent_process() is not None
    for number in (signal.SIGINT, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ())):
        signal.signal(number, signal.SIG_IGN)
    make_streams_last()
    return _Reporting(make_environment())
