"""Many Sequence Choice environments as one Stable-Baselines3 VecEnv, without the cost of stepping each."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random

from envs.sequence_choice.task import SequenceChoiceTask
from envs.vectorized.state_tree import StateTree, generator_state, set_generator_state
from envs.vectorized.task_batch import TaskBatch


class SequenceChoiceVecEnv(TaskBatch):
    """`n_envs` environments in step, each in an episode of its own.

    Observations, rewards and infos of environment i are, bit by bit, those of a `SequenceChoiceEnv` with the same
    arguments and seed, whatever n_envs. As of any VecEnv, the infos at an episode's end also hold
    `terminal_observation` and `TimeLimit.truncated`; those of the other steps are empty.

    :param n_envs: number of environments
    :param arguments: of `SequenceChoiceTask`
    :raises ValueError: if an argument does not fit
    """

    def __init__(self, n_envs: int, **arguments: Any) -> None:
        if n_envs < 1:
            raise ValueError(f"n_envs {n_envs} does not fit: at least 1 is needed")
        self.task = task = SequenceChoiceTask(**arguments)
        self.distinct_episodes = task.n_sequences
        """as `agents.evaluation.play_episodes` asks: this many seeds in a row play every episode that there is, once"""
        super().__init__(n_envs, task.observation_space, task.action_space)
        self._generators = [np_random()[0] for _ in range(n_envs)]
        self._sequences, self._times, self._right_steps = np.zeros((3, n_envs), dtype=np.int64)
        self._begun = False
        self._actions = np.zeros(n_envs, dtype=np.int64)

    def reset(self) -> np.ndarray:
        """Begin new episodes: those of the seeds set since the last time, or drawn.

        :return: (n_envs, n_x) their first steps
        """
        for index, seed in enumerate(self._seeds):
            if seed is None:
                self._sequences[index] = self.task.draw(self._generators[index])
            else:
                self._generators[index] = np_random(seed)[0]
                self._sequences[index] = self.task.first(seed)
        self._reset_seeds()
        self._reset_options()
        self._times[:] = self._right_steps[:] = 0
        self._begun = True
        return self.task.observe(self._sequences, self._times)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Take the answers that there are to give, and show the next steps, or the first ones of new episodes.

        :return: observations (n_envs, n_x) float32, rewards (n_envs,) float32, dones (n_envs,) bool, infos; all fresh
        """
        if not self._begun:
            raise gymnasium.error.ResetNeeded("there are no episodes to step in: reset() is needed first")
        task = self.task
        dones = self._times == task.last_steps[self._sequences]
        rights = self._actions == task.sequences.classes[self._sequences]
        if task.at_end:
            rights &= dones
        self._right_steps += rights
        self._times += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        if ended.size:
            last = task.observe(self._sequences[ended], self._times[ended])
            for row, index in enumerate(ended):
                infos[index] = task.info(
                    int(self._sequences[index]), int(self._actions[index]), int(self._right_steps[index])
                )
                infos[index] |= {"terminal_observation": last[row], "TimeLimit.truncated": False}
                self._sequences[index] = task.draw(self._generators[index])
            self._times[ended] = self._right_steps[ended] = 0
        return task.observe(self._sequences, self._times), rights.astype(np.float32), dones, infos

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on from here, as if never interrupted.

        :return: `generators` and, (n_envs,) int64 each, `sequences`, `times` (steps taken in them) and `right_steps`
        """
        if not self._begun:
            raise gymnasium.error.ResetNeeded("there is no state before the first episodes: reset() is needed first")
        return {
            "generators": [generator_state(generator) for generator in self._generators],
            "sequences": self._sequences.copy(),
            "times": self._times.copy(),
            "right_steps": self._right_steps.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Return to a state of the same number of environments with the same arguments.

        Seeds that were set and not yet used are forgotten.

        :return: (n_envs, n_x) what is seen at that time
        :raises Refusal: if the state is of another number of environments, of other sequences, or damaged
        """
        tree = StateTree(state, "the state does not fit these environments:")
        generators = tree.row("generators", self.num_envs)
        sequences, times, right_steps = (
            tree.array(name, (self.num_envs,), np.int64) for name in ("sequences", "times", "right_steps")
        )
        for name, values, most in (
            ("sequences", sequences, np.array(self.task.n_sequences - 1)),
            ("times", times, self.task.last_steps[np.clip(sequences, 0, self.task.n_sequences - 1)]),
            ("right_steps", right_steps, times),
        ):
            if ((values < 0) | (values > most)).any():
                tree.refuse(name, f"one of these {self.task.n_sequences} sequences")
        for index, generator in enumerate(self._generators):
            set_generator_state(generator, generators.table(str(index)))
        self._reset_seeds()
        self._sequences[:], self._times[:], self._right_steps[:] = sequences, times, right_steps
        self._begun = True
        return self.task.observe(self._sequences, self._times)
