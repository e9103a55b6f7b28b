"""A VecEnv that steps its environments in threads of one process, for environments whose step releases the GIL."""

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import contract
from envs.contract import EnvironmentFailure
from envs.lookup import float32_space
from envs.vectorized.state import environment_state, set_environment_state
from envs.vectorized.state_tree import StateTree

_Work = Callable[[], None]


class ThreadVecEnv(DummyVecEnv):
    """Steps environments in `n_threads` threads, the caller's among them, with the semantics of DummyVecEnv.

    Threads help where a step spends its time outside the interpreter, as MuJoCo's do. With one thread it is a lean
    DummyVecEnv. Results do not depend on the number of threads: who steps an environment does not matter to it, and
    nothing is shared between environments.

    Other than DummyVecEnv it
    - reports float observations as float32, terminal observations too,
    - adds `info["episode"]` as SB3's Monitor does: return `r`, length `l`, seconds `t` since the start,
    - copies infos, but what is in them only at an episode's end; see `envs.contract.passed_on`,
    - raises `EnvironmentFailure` if an environment raises, or returns what does not fit. All others have been stepped
      then; only a reset goes on.

    :param env_fns: each makes one environment, with Box observations
    :param n_threads: default: one per usable core, at most one per environment
    """

    observation_space: spaces.Box

    def __init__(self, env_fns: Sequence[Callable[[], gymnasium.Env]], n_threads: int | None = None) -> None:
        super().__init__(list(env_fns))
        if not isinstance(self.observation_space, spaces.Box):
            raise ValueError(f"the observations are {self.observation_space}: a Box is needed to step in threads")
        if n_threads is not None and n_threads < 1:
            raise ValueError(f"n_threads {n_threads} does not fit: at least 1 is needed")
        if np.issubdtype(self.observation_space.dtype, np.floating):
            self.observation_space = float32_space(self.observation_space)
        if (distinct := getattr(self.envs[0].unwrapped, "distinct_episodes", None)) is not None:
            self.distinct_episodes = distinct
        n = self.num_envs
        self.n_threads = min(n, n_threads if n_threads is not None else available_cores())
        self._observations = np.zeros((n, *self.observation_space.shape), self.observation_space.dtype)
        self._infos: list[dict[str, Any]] = [{} for _ in range(n)]
        self._returns = [0.0] * n
        self._lengths = [0] * n
        self._episodes = [0] * n
        self._last_seeds: list[int | None] = [None] * n
        self._started = time.time()
        self._failures: list[EnvironmentFailure] = []
        self._pending: deque[int] = deque()
        self._outstanding = 0
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._workers = [
            Thread(target=_serve, args=(self._work, self._done), name=f"environments-{i}", daemon=True)
            for i in range(1, self.n_threads)
        ]
        for worker in self._workers:
            worker.start()
        # Holds the queue, not the VecEnv: one that is dropped without close() ends its threads too.
        self._stop = weakref.finalize(self, _stop, self._work, self._workers)

    def reset(self) -> np.ndarray:
        """Reset every environment, with the seeds and options set since the last time.

        :return: (n_envs, *shape) first observations
        """
        self._settle()
        for index in range(self.num_envs):
            seed, options = self._seeds[index], self._options[index]
            if seed is not None:
                self._last_seeds[index] = seed
                self._episodes[index] = 0
            self._reset_one(index, seed=seed, **({"options": options} if options else {}))
        self._raise_failure()
        self._reset_seeds()
        self._reset_options()
        return self._observations.copy()

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step every environment; one whose episode ends is reset.

        :return: observations (n_envs, *shape), rewards (n_envs,) float32, dones (n_envs,) bool, infos; all fresh
        :raises EnvironmentFailure: if an environment raised; of several the one with the lowest index
        """
        self._settle()
        self._pending.extend(range(self.num_envs))
        for _ in self._workers:
            self._outstanding += 1
            self._work.put(self._step_pending)
        self._step_pending()
        self._join()
        self._raise_failure()
        return self._observations.copy(), self.buf_rews.copy(), self.buf_dones.copy(), list(self._infos)

    def get_state(self) -> dict[str, Any] | None:
        """Return what `set_state` needs to go on from here, or None if an environment cannot tell its exact state."""
        self._settle()
        environments = []
        for environment in self.envs:
            state = environment_state(environment)
            if state is None:
                return None
            environments.append(state)
        return {
            "environments": environments,
            "observations": self._observations.copy(),
            "returns": list(self._returns),
            "lengths": list(self._lengths),
            "episodes": list(self._episodes),
            "seeds": list(self._last_seeds),
        }

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Return to a state of as many environments with the same arguments.

        Seeds that were set and not yet used are forgotten.

        :return: (n_envs, *shape) the observations of that time
        :raises Refusal: if the state is of other environments or damaged
        """
        self._settle()
        tree = StateTree(state, "the state does not fit these environments:")
        environments, returns, lengths, episodes, seeds = (
            tree.row(name, self.num_envs) for name in ("environments", "returns", "lengths", "episodes", "seeds")
        )
        for index, environment in enumerate(self.envs):
            set_environment_state(environment, environments.table(str(index)))
        tree.fill("observations", self._observations)
        self._returns = [returns.number(index) for index in returns]
        self._lengths = [lengths.whole(index) for index in lengths]
        self._episodes = [episodes.whole(index) for index in episodes]
        self._last_seeds = [None if seeds[index] is None else seeds.whole(index) for index in seeds]
        self._reset_seeds()
        self._reset_options()
        return self._observations.copy()

    def close(self) -> None:
        """End the threads and close the environments."""
        self._settle()
        self._stop()
        contract.close(*self.envs)

    def _step_pending(self) -> None:
        # Environments are taken one at a time, so that a thread held up elsewhere does not hold up the others.
        while True:
            try:
                index = self._pending.popleft()
            except IndexError:
                return
            try:
                self._step_one(index)
            except BaseException as error:
                self._fail(index, self._lengths[index] + 1, error)

    def _step_one(self, index: int) -> None:
        returned, reward, terminated, truncated, info = contract.step(self.envs[index], self.actions[index])
        observation = contract.as_observation(returned, self.observation_space)
        self._returns[index] += reward
        self._lengths[index] += 1
        self.buf_rews[index] = reward
        self.buf_dones[index] = done = terminated or truncated
        self._infos[index] = ours = contract.passed_on(info, last=done)
        ours["TimeLimit.truncated"] = truncated and not terminated
        if not done:
            self._observations[index] = observation
            return
        ours["terminal_observation"] = np.array(observation)
        ours["episode"] = {
            "r": round(self._returns[index], 6),
            "l": self._lengths[index],
            "t": round(time.time() - self._started, 6),
        }
        self._reset_one(index)

    def _reset_one(self, index: int, **options: Any) -> None:
        self._episodes[index] += 1
        self._returns[index], self._lengths[index] = 0.0, 0
        try:
            self._observations[index], self.reset_infos[index] = contract.reset(
                self.envs[index], self.observation_space, **options
            )
        except BaseException as error:
            self._fail(index, 0, error)

    def _fail(self, index: int, step: int, error: BaseException) -> None:
        if not contract.is_its_own(error):
            raise error
        self._failures.append(EnvironmentFailure(index, self._last_seeds[index], self._episodes[index], step, error))

    def _settle(self) -> None:
        # Only a step interrupted from the keyboard leaves anything to wait for or to forget.
        self._pending.clear()
        self._join()
        self._failures.clear()

    def _join(self) -> None:
        while self._outstanding:
            self._done.get()
            self._outstanding -= 1

    def _raise_failure(self) -> None:
        if self._failures:
            failure = min(self._failures, key=lambda failure: failure.index or 0)
            self._failures.clear()
            raise failure


def available_cores() -> int:
    """Return the number of cores this process may use, as `policies.recurrent.threads` counts them."""
    count = getattr(os, "process_cpu_count", None)  # since Python 3.13, on every system
    if count is not None:
        return count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(work_queue: "SimpleQueue[_Work | None]", done: "SimpleQueue[None]") -> None:
    while (work := work_queue.get()) is not None:
        try:
            work()
        finally:
            del work  # an idle thread must not keep the VecEnv alive
            done.put(None)


def _stop(work: "SimpleQueue[_Work | None]", workers: list[Thread]) -> None:
    for _ in workers:
        work.put(None)
    for worker in workers:
        worker.join()
