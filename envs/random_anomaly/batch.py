"""Many Random Anomaly environments as one Stable-Baselines3 VecEnv, without the cost of stepping each."""

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random

from envs.random_anomaly.task import AnomalyEpisode, RandomAnomalyTask
from envs.vectorized.state_tree import StateTree
from envs.vectorized.task_batch import TaskBatch


class RandomAnomalyVecEnv(TaskBatch):
    """`n_envs` environments in step: all episodes have T + 1 steps, so that they begin and end together.

    Observations, rewards and infos of environment i are, bit by bit, those of a `RandomAnomalyEnv` with the same
    arguments and seed, whatever n_envs. As of any VecEnv, the infos at an episode's end also hold
    `terminal_observation`, `TimeLimit.truncated` and `episode` (return `r`, length `l`, seconds `t` since the reset);
    those of the other steps are empty.

    :param n_envs: number of environments
    :param arguments: of `RandomAnomalyTask`
    :raises ValueError: if an argument does not fit
    """

    def __init__(self, n_envs: int, **arguments: Any) -> None:
        if n_envs < 1:
            raise ValueError(f"n_envs {n_envs} does not fit: at least 1 is needed")
        self.task = task = RandomAnomalyTask(**arguments)
        super().__init__(n_envs, task.observation_space, task.action_space)
        self._generators = [np_random()[0] for _ in range(n_envs)]
        self._generator_states = np.zeros((n_envs, 6), dtype=np.uint64)
        self._episodes: list[AnomalyEpisode] = []
        # One row of all environments per time step; the last row stays zero: the blank image.
        self._observations = np.zeros((task.sequence_length + 1, n_envs, task.image_size**2), dtype=np.float32)
        self._terminal_observation = np.zeros(task.image_size**2, dtype=np.float32)
        self._terminal_observation.flags.writeable = False  # shared by all infos
        self._time = 0
        self._actions = np.zeros(n_envs, dtype=np.int64)
        self._started = time.time()

    def reset(self) -> np.ndarray:
        """Begin new episodes, from the seeds set since the last time or from where the generators are.

        :return: (n_envs, image_size²) first images
        """
        for index, seed in enumerate(self._seeds):
            if seed is not None:
                self._generators[index] = np_random(seed)[0]
        self._reset_seeds()
        self._reset_options()
        self._draw_episodes()
        self._started = time.time()
        return self._observations[0].copy()

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Show the next images; at the blank ones take the answers and begin the next episodes.

        :return: observations (n_envs, image_size²) float32, rewards (n_envs,) float32, dones (n_envs,) bool, infos; all
            fresh, but for the terminal observations, which are read-only
        """
        if not self._episodes:
            raise gymnasium.error.ResetNeeded("there are no episodes to step in: reset() is needed first")
        n, length = self.num_envs, self.task.sequence_length
        self._time += 1
        if self._time <= length:
            seen = self._observations[self._time].copy()
            return seen, np.zeros(n, np.float32), np.zeros(n, bool), [{} for _ in range(n)]
        infos = [self._final_info(index) for index in range(n)]
        rewards = np.array([info["is_success"] for info in infos], dtype=np.float32)
        self._draw_episodes()
        return self._observations[0].copy(), rewards, np.ones(n, bool), infos

    def _final_info(self, index: int) -> dict[str, Any]:
        info = self._episodes[index].info(int(self._actions[index]))
        info["terminal_observation"] = self._terminal_observation
        info["TimeLimit.truncated"] = False
        info["episode"] = {
            "r": float(info["is_success"]),
            "l": self.task.sequence_length + 1,
            "t": round(time.time() - self._started, 6),
        }
        return info

    def _draw_episodes(self) -> None:
        task = self.task
        images = self._observations[:-1].reshape(-1, self.num_envs, task.image_size, task.image_size)
        for index, generator in enumerate(self._generators):
            self._generator_states[index] = pack_generator_state(generator)
        self._episodes = [
            task.draw_episode(generator, images[:, index]) for index, generator in enumerate(self._generators)
        ]
        self._time = 0

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on from here, as if never interrupted.

        :return: `generators`: (n_envs, 6) uint64, states of the generators before they drew the present episodes;
            `time`: steps taken in these
        """
        if not self._episodes:
            raise gymnasium.error.ResetNeeded("there is no state before the first episodes: reset() is needed first")
        return {"generators": self._generator_states.copy(), "time": self._time}

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Return to a state of the same number of environments with the same arguments.

        Seeds that were set and not yet used are forgotten.

        :return: (n_envs, image_size²) the images shown at that time
        :raises Refusal: if the state is of another number of environments or a longer sequence, or damaged
        """
        tree = StateTree(state, "the state does not fit these environments:")
        generators = tree.array("generators", self._generator_states.shape, np.uint64)
        if (generators[:, 4:] > np.array([1, 2**32 - 1], dtype=np.uint64)).any():
            tree.refuse("generators", "one of states of PCG64")
        steps = tree.whole("time", most=self.task.sequence_length)
        for index, packed in enumerate(generators):
            self._generators[index] = unpack_generator_state(packed)
        self._reset_seeds()
        self._draw_episodes()
        self._time = steps
        return self._observations[steps].copy()


_HALF = 1 << 64


def pack_generator_state(generator: np.random.Generator) -> np.ndarray:
    """Return the state of a PCG64 generator as (6,) uint64."""
    state = generator.bit_generator.state
    value, increment = state["state"]["state"], state["state"]["inc"]
    return np.array(
        [*divmod(value, _HALF), *divmod(increment, _HALF), state["has_uint32"], state["uinteger"]], dtype=np.uint64
    )


def unpack_generator_state(packed: np.ndarray) -> np.random.Generator:
    """Return a PCG64 generator in that state."""
    value_high, value_low, increment_high, increment_low, has_uint32, uinteger = packed.tolist()
    bit_generator = np.random.PCG64(0)
    bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": value_high * _HALF + value_low, "inc": increment_high * _HALF + increment_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bit_generator)
