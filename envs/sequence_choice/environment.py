"""SequenceChoice-v0: read a labelled sequence step by step, and name its class."""

import os
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from envs.sequence_choice.task import SequenceChoiceTask
from envs.vectorized.state_tree import StateTree, generator_state, set_generator_state

if TYPE_CHECKING:
    from envs.sequence_choice.batch import SequenceChoiceVecEnv


class SequenceChoiceEnv(gymnasium.Env[np.ndarray, np.int64]):
    """The steps of one sequence, then one more, at which the action is the answer; it ends the episode.

    Observations are float32 (n_x,), see `SequenceChoiceTask`; actions Discrete(classes). The reward is 1 for the right
    answer and 0 otherwise, and 0 before; with `answer="every"` it is 1 or 0 at every step, and there is no extra one.
    The last step's info holds `sequence` (its place in the split), `label`, `answer` (the last one), `labels` (those of
    the actions), `channels` and `is_success`, and with `answer="every"` `right_steps`, a share. After a reset with a
    seed the first sequence is the seed's; the others are drawn at random.

    :param source: and the following: see `SequenceChoiceTask`
    :raises Refusal: if an argument does not fit
    """

    def __init__(
        self,
        source: str | os.PathLike[str] = "digits",
        split: str = "train",
        answer: str = "end",
        window: int = 1,
        split_seed: int = 0,
        balanced: bool = False,
    ) -> None:
        self.task = SequenceChoiceTask(source, split, answer, window, split_seed, balanced)
        self.distinct_episodes = self.task.n_sequences
        """as `agents.evaluation.play_episodes` asks"""
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        self._sequence: int | None = None
        self._time = self._right_steps = 0

    @staticmethod
    def batched(n_envs: int, **arguments: Any) -> "SequenceChoiceVecEnv":
        """Make the same environments as one batch; see `envs.vectorized.make`."""
        # A program that lets an exported policy act needs neither Stable-Baselines3 nor torch.
        from envs.sequence_choice.batch import SequenceChoiceVecEnv

        return SequenceChoiceVecEnv(n_envs, **arguments)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a sequence; see Gymnasium.

        :return: its first step, and no info
        """
        super().reset(seed=seed)
        self._sequence = self.task.draw(self.np_random) if seed is None else self.task.first(seed)
        self._time = self._right_steps = 0
        return self._observation(self._sequence), {}

    def step(self, action: int | np.integer) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take the answer if there is one to give here, and show the next step."""
        if self._sequence is None:
            raise gymnasium.error.ResetNeeded("SequenceChoice-v0 has no episode to step in: reset() is needed first")
        sequence, answer = self._sequence, int(action)
        is_last = self._time == self.task.last_steps[sequence]
        is_right = answer == self.task.sequences.classes[sequence] and (is_last or not self.task.at_end)
        self._right_steps += bool(is_right)
        self._time += 1
        observation = self._observation(sequence)
        if not is_last:
            return observation, float(is_right), False, False, {}
        self._sequence = None
        return observation, float(is_right), True, False, self.task.info(sequence, answer, self._right_steps)

    def _observation(self, sequence: int) -> np.ndarray:
        return self.task.observe(np.array([sequence]), np.array([self._time]))[0]

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on from here."""
        if self._sequence is None:
            raise gymnasium.error.ResetNeeded("there is no state between two episodes: reset() is needed first")
        return {
            "random": generator_state(self.np_random),
            "sequence": self._sequence,
            "time": self._time,
            "right_steps": self._right_steps,
        }

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Return to a state of an environment with the same arguments.

        :return: what is seen at that time
        :raises Refusal: if the state is of other sequences or damaged
        """
        tree = StateTree(state, "the state does not fit this environment:")
        sequence = tree.whole("sequence", most=self.task.n_sequences - 1)
        time = tree.whole("time", most=int(self.task.last_steps[sequence]))
        right_steps = tree.whole("right_steps", most=time)
        set_generator_state(self.np_random, tree.table("random"))
        self._sequence, self._time, self._right_steps = sequence, time, right_steps
        return self._observation(sequence)
