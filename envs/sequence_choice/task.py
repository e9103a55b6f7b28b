"""What an episode of Sequence Choice is: the steps of one labelled sequence, and where its class is named."""

import os
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.refusal import Refusal
from envs.sequence_choice.sources import load_sequences

ANSWERS = ("end", "every")
MOST_INPUTS = 1_000_000


class SequenceChoiceTask:
    """The arguments of the task, checked, and its sequences.

    Observations are readings as the source has them, (C,), or of `window` steps at once, (window · C,), earlier ones
    first; at the end the last ones are repeated to make the window full. With `answer="end"` there is one more entry,
    0, and one more step, at which it is 1 beside the last readings once more: there the class is named. Any other
    value beside it would be made up, and could be far from all that a sensor says.

    :param source: see `envs.sequence_choice.sources.load_sequences`
    :param split: `train`, `validation` or `test`, disjoint sets of sequences
    :param answer: `end`: the class is named at the extra step; `every`: at every step of the sequence
    :param window: steps of the sequence that are read at once, for long ones; at least 1
    :param split_seed: draws the splits of a source that has none
    :param balanced: draw every class as often as the others, however many sequences it has
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
        if answer not in ANSWERS:
            raise Refusal(f"answer {answer!r} is unknown: {' or '.join(ANSWERS)} is needed")
        for name, value, least, most in (("window", window, 1, MOST_INPUTS), ("split_seed", split_seed, 0, 2**31 - 1)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise Refusal(f"{name} {value!r} does not fit: a whole number from {least} to {most} is needed")
        if not isinstance(balanced, bool):
            raise Refusal(f"balanced {balanced!r} does not fit: True or False is needed")
        self.source, self.split, self.answer, self.window, self.balanced = source, split, answer, window, balanced
        self.sequences = load_sequences(source, split, split_seed)
        self.labels = self.sequences.labels
        self.at_end = answer == "end"
        """there is an extra step"""
        self.n_sequences = len(self.sequences.lengths)
        self._members = [np.flatnonzero(self.sequences.classes == index) for index in range(len(self.labels))]
        if self.balanced and not all(map(len, self._members)):  # a test file may lack a class
            raise Refusal(f"balanced does not fit: split {split!r} has no sequence of one of the labels")
        n_readings = self.sequences.steps.shape[1] * window
        if n_readings > MOST_INPUTS:
            raise Refusal(f"window {window} does not fit: it makes {n_readings:,} inputs, {MOST_INPUTS:,} are the most")
        low = np.full(n_readings + self.at_end, -np.inf, dtype=np.float32)
        high = -low
        if self.at_end:
            low[-1], high[-1] = 0.0, 1.0
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(len(self.labels))
        self.n_windows = -(-self.sequences.lengths // window)
        """(N,) observations that each sequence takes"""
        self.last_steps = self.n_windows - (not self.at_end)
        """(N,) the step, from 0, whose answer ends the episode of each sequence"""

    def first(self, seed: int) -> int:
        """Return the sequence of the first episode after a seed: as many seeds in a row show each of them once."""
        return seed % self.n_sequences

    def draw(self, generator: np.random.Generator) -> int:
        """Draw a sequence."""
        if not self.balanced:
            return int(generator.random() * self.n_sequences)
        members = self._members[int(generator.random() * len(self._members))]
        return int(members[int(generator.random() * len(members))])

    def observe(self, sequences: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return what is seen of B sequences at B times: (B, n_x) float32, not shared."""
        split, n_windows = self.sequences, self.n_windows[sequences]
        places = np.minimum(times, n_windows - 1)[:, None] * self.window + np.arange(self.window)
        places = np.minimum(places, split.lengths[sequences][:, None] - 1)
        readings = split.steps[split.starts[sequences][:, None] + places].reshape(len(sequences), -1)
        if not self.at_end:
            return readings
        return np.concatenate([readings, (times >= n_windows)[:, None].astype(np.float32)], axis=1)

    def info(self, sequence: int, answer: int, right_steps: int) -> dict[str, Any]:
        """Return what the environment reports at the end of an episode.

        :param answer: the class that was named last
        :param right_steps: at how many steps the right one was named; reported as a share if every step has an answer
        """
        right = int(self.sequences.classes[sequence])
        info: dict[str, Any] = {
            "sequence": sequence,
            "label": self.labels[right],
            "answer": self.labels[answer],
            "labels": self.labels,
            "channels": self.sequences.channels,
            "is_success": answer == right,
        }
        return info if self.at_end else {**info, "right_steps": right_steps / int(self.n_windows[sequence])}
