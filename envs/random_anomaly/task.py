"""What an episode of the Random Anomaly task is, and how one is drawn.

A sequence of T images of different handwritten examples of one digit, each passed through the same kind of random
transformation with parameters of its own; one image, at a random place, is passed through another kind. Then comes a
blank image, where the odd place is to be named.

Source: Hershey and Paffenroth, ICMLA 2023 (doi 10.1109/ICMLA58977.2023.00026) and arXiv 2509.15057.
"""

import math
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from envs.random_anomaly.digits import load_digit_images
from envs.random_anomaly.transformations import SMALLEST_SIZE, TRANSFORMATIONS
from envs.refusal import Refusal

MEAN, STD = np.float32(0.1307), np.float32(0.3081)
"""Of MNIST's pixels in [0, 1]; observations are normalized with them."""


class AnomalyEpisode(NamedTuple):
    """The truth about an episode."""

    anomaly_index: int
    """place of the odd image, from 0; the sequence length if there is none. The action that names it"""
    normal_kind: str
    anomaly_kind: str
    """equals normal_kind if no image is odd"""
    digit: int

    def info(self, answer: int) -> dict[str, Any]:
        """Return what the environment reports at the end of the episode."""
        return {**self._asdict(), "answer": answer, "is_success": answer == self.anomaly_index}


class RandomAnomalyTask:
    """The arguments of the task, checked, and the generator of its episodes.

    :param sequence_length: T, images per episode, at least 2
    :param image_size: pixels per side, at least 8
    :param source: of the digits; see `envs.random_anomaly.digits.load_digit_images`
    :param split: `train`, `validation` or `test`, disjoint sets of examples
    :param kinds: two or more names of transformations (a list, or a text separated by commas), of which each episode
        uses two; None for all
    :param anomaly_probability: in (0, 1], of an episode to have an odd image. Below 1 there is one more action, T,
        which says that there is none
    :raises Refusal: if an argument does not fit, or the source has fewer than T examples of a digit in a split
    """

    def __init__(
        self,
        sequence_length: int = 10,
        image_size: int = 50,
        source: str | os.PathLike[str] = "digits",
        split: str = "train",
        kinds: str | Iterable[str] | None = None,
        anomaly_probability: float = 1.0,
    ) -> None:
        self.sequence_length = _integer("sequence_length", sequence_length, 2)
        self.image_size = _integer("image_size", image_size, SMALLEST_SIZE)
        self.source = source
        self.split = split
        self.kinds = _kinds(kinds)
        self.anomaly_probability = _probability("anomaly_probability", anomaly_probability)
        self._digit_images = load_digit_images(source, split, self.image_size)
        count, digit, short_split = self._digit_images.fewest
        if count < self.sequence_length:
            raise Refusal(
                f"sequence_length {self.sequence_length} does not fit: source {os.fspath(source)!r} has only {count} "
                f"examples of digit {digit} in split {short_split!r}, a shorter sequence or more examples are needed"
            )
        lowest, highest = normalize(np.array([0.0, 1.0], dtype=np.float32))
        self.observation_space = spaces.Box(lowest, highest, (self.image_size**2,), np.float32)
        """One flat normalized image."""
        self.action_space = spaces.Discrete(self.sequence_length + (self.anomaly_probability < 1.0))
        """Places, and "none" if that can be right."""

    @property
    def digits(self) -> tuple[int, ...]:
        """The digits that occur, ascending."""
        return self._digit_images.digits

    def draw_episode(self, generator: np.random.Generator, images: np.ndarray) -> AnomalyEpisode:
        """Draw an episode.

        :param generator: the only source of randomness
        :param images: (sequence_length, image_size, image_size) float32, filled with the normalized images, in order
        """
        length, kinds = self.sequence_length, self.kinds
        digit, normal, anomaly, place, present, *choices = generator.random(5 + length).tolist()
        group = int(digit * len(self._digit_images.digits))
        normal_index = int(normal * len(kinds))
        anomaly_index = int(anomaly * (len(kinds) - 1))
        anomaly_index += anomaly_index >= normal_index
        odd_place, normal_kind, anomaly_kind = int(place * length), kinds[normal_index], kinds[anomaly_index]
        if present >= self.anomaly_probability:
            odd_place, anomaly_kind = length, normal_kind

        pool = self._digit_images.images[group]
        examples = choose_distinct(len(pool), choices)
        normal_transformation, odd_transformation = TRANSFORMATIONS[normal_kind], TRANSFORMATIONS[anomaly_kind]
        for index, example in enumerate(examples):
            transformation = odd_transformation if index == odd_place else normal_transformation
            transformation(pool[example], images[index], generator)
        lowest, highest = self._digit_images.lowest[group][examples], self._digit_images.highest[group][examples]
        normalize(np.clip(images, lowest, highest, out=images))
        return AnomalyEpisode(odd_place, normal_kind, anomaly_kind, self._digit_images.digits[group])


def normalize(images: np.ndarray) -> np.ndarray:
    """Normalize float32 images in place, and return them."""
    images -= MEAN
    images /= STD
    return images


def choose_distinct(n: int, uniforms: Iterable[float]) -> list[int]:
    """Return as many different integers below `n` as there are uniform numbers in [0, 1).

    Every sequence is equally likely: these are the first swaps of a Fisher-Yates shuffle, without a list of all `n`.
    """
    moved: dict[int, int] = {}
    chosen = []
    for first, uniform in enumerate(uniforms):
        other = first + int(uniform * (n - first))
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(first, first)
    return chosen


def _integer(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise Refusal(f"{name} {value!r} does not fit: a whole number of at least {least} is needed")
    return int(value)


def _probability(name: str, value: float) -> float:
    number = not isinstance(value, bool) and isinstance(value, int | float | np.integer | np.floating)
    if not number or math.isnan(value) or not 0.0 < value <= 1.0:
        raise Refusal(f"{name} {value!r} does not fit: a number above 0 and at most 1 is needed")
    return float(value)


def _kinds(kinds: str | Iterable[str] | None) -> tuple[str, ...]:
    if kinds is None:
        return tuple(TRANSFORMATIONS)
    names = tuple(name.strip() for name in kinds.split(",")) if isinstance(kinds, str) else kinds
    if not isinstance(names, Iterable):
        raise Refusal(f"kinds {kinds!r} do not fit: names such as none,blur are needed")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or name not in TRANSFORMATIONS:
            raise Refusal(f"kinds: {name!r} is unknown, names of {', '.join(TRANSFORMATIONS)} are needed")
    if len(set(names)) != len(names):
        raise Refusal(f"kinds {','.join(names)} do not fit: each name is needed once")
    if len(names) < 2:
        raise Refusal(f"kinds {','.join(names)!r} do not fit: at least two different kinds are needed")
    return names
