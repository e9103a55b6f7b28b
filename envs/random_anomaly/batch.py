"""Many Random Anomaly environments as one Stable-Baselines3 VecEnv, without the cost of stepping each."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random

from envs.random_anomaly.task import AnomalyEpisode, RandomAnomalyTask
from envs.vectorized.state_tree import StateTree
from envs.vectorized.task_batch import TaskBatch


class DrawnEpisodes(NamedTuple):
    """One episode for each environment, with the generators' states from before they drew them."""

    generators: np.ndarray
    """(n_envs, 6) uint64, see `pack_generator_state`"""
    observations: np.ndarray
    """(T + 1, n_envs, image_size²) float32; the last row is zero, the blank image"""
    episodes: list[AnomalyEpisode]


class RandomAnomalyVecEnv(TaskBatch):
    """`n_envs` environments in step: all episodes have T + 1 steps, so that they begin and end together.

    The next episodes are drawn in a thread while the present ones are played. What is drawn does not depend on that.

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
        self._present: DrawnEpisodes | None = None
        self._next: Future[DrawnEpisodes] | None = None
        self._drawer = ThreadPoolExecutor(1, "episodes")
        shape = task.sequence_length + 1, n_envs, task.image_size**2
        self._rooms = [np.zeros(shape, dtype=np.float32) for _ in range(2)]  # for the present and the next episodes
        self._terminal_observation = np.zeros(task.image_size**2, dtype=np.float32)
        self._terminal_observation.flags.writeable = False  # shared by all infos
        self._time = 0
        self._actions = np.zeros(n_envs, dtype=np.int64)
        self._started = time.time()

    def reset(self) -> np.ndarray:
        """Begin new episodes, from the seeds set since the last time or from where the generators are.

        :return: (n_envs, image_size²) first images
        """
        if any(seed is not None for seed in self._seeds):
            self._forget_next()
            for index, seed in enumerate(self._seeds):
                if seed is not None:
                    self._generators[index] = np_random(seed)[0]
        self._reset_seeds()
        self._reset_options()
        self._started = time.time()
        return self._begin_episodes()

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Show the next images; at the blank ones take the answers and begin the next episodes.

        :return: observations (n_envs, image_size²) float32, rewards (n_envs,) float32, dones (n_envs,) bool, infos; all
            fresh, but for the terminal observations, which are read-only
        """
        if self._present is None:
            raise gymnasium.error.ResetNeeded("there are no episodes to step in: reset() is needed first")
        n, length = self.num_envs, self.task.sequence_length
        self._time += 1
        if self._next is None:  # not before the first step: the last episodes of an evaluation are never stepped in
            self._next = self._drawer.submit(self._draw)
        if self._time <= length:
            seen = self._present.observations[self._time].copy()
            return seen, np.zeros(n, np.float32), np.zeros(n, bool), [{} for _ in range(n)]
        infos = [
            self._final_info(episode, int(action))
            for episode, action in zip(self._present.episodes, self._actions, strict=True)
        ]
        rewards = np.array([info["is_success"] for info in infos], dtype=np.float32)
        return self._begin_episodes(), rewards, np.ones(n, bool), infos

    def close(self) -> None:
        """Draw no more episodes."""
        self._drawer.shutdown()

    def _final_info(self, episode: AnomalyEpisode, action: int) -> dict[str, Any]:
        info = episode.info(action)
        info["terminal_observation"] = self._terminal_observation
        info["TimeLimit.truncated"] = False
        info["episode"] = {
            "r": float(info["is_success"]),
            "l": self.task.sequence_length + 1,
            "t": round(time.time() - self._started, 6),
        }
        return info

    def _begin_episodes(self, steps: int = 0) -> np.ndarray:
        """Take the next episodes, drawn ahead or now; returns what is seen after so many steps in them."""
        self._present = self._draw() if self._next is None else self._drawn_ahead(self._next)
        self._time = steps
        self._rooms.reverse()
        return self._present.observations[steps].copy()

    def _drawn_ahead(self, ahead: Future[DrawnEpisodes]) -> DrawnEpisodes:
        try:
            return ahead.result()
        finally:
            if ahead.done():  # else it was this wait that ended early, and the room is still being drawn into
                self._next = None

    def _draw(self) -> DrawnEpisodes:
        """Draw into the room that the present episodes are not in."""
        task, room = self.task, self._rooms[0]
        images = room[:-1].reshape(-1, self.num_envs, task.image_size, task.image_size)
        states = np.stack([pack_generator_state(generator) for generator in self._generators])
        episodes = [task.draw_episode(generator, images[:, i]) for i, generator in enumerate(self._generators)]
        return DrawnEpisodes(states, room, episodes)

    def _forget_next(self) -> None:
        """Return the generators to where they were before they drew ahead."""
        if self._next is not None:
            self._set_generators(self._drawn_ahead(self._next).generators)

    def _set_generators(self, states: np.ndarray) -> None:
        self._generators = [unpack_generator_state(packed) for packed in states]

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on from here, as if never interrupted.

        :return: `generators`: (n_envs, 6) uint64, states of the generators before they drew the present episodes;
            `time`: steps taken in these
        """
        if self._present is None:
            raise gymnasium.error.ResetNeeded("there is no state before the first episodes: reset() is needed first")
        return {"generators": self._present.generators.copy(), "time": self._time}

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Return to a state of the same number of environments with the same arguments.

        Seeds that were set and not yet used are forgotten.

        :return: (n_envs, image_size²) the images shown at that time
        :raises Refusal: if the state is of another number of environments or a longer sequence, or damaged
        """
        tree = StateTree(state, "the state does not fit these environments:")
        generators = tree.array("generators", (self.num_envs, 6), np.uint64)
        if (generators[:, 4:] > np.array([1, 2**32 - 1], dtype=np.uint64)).any():
            tree.refuse("generators", "one of states of PCG64")
        steps = tree.whole("time", most=self.task.sequence_length)
        self._forget_next()
        self._set_generators(generators)
        self._reset_seeds()
        return self._begin_episodes(steps)


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
