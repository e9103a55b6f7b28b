"""An episode of the Random Anomaly task as one picture."""

import math

import numpy as np

from envs.random_anomaly.task import MEAN, STD

GAP = 2
"""Pixels around each image, where the bars are drawn."""
BACKGROUND, BAR = 96, 255


def episode_strip(
    observations: np.ndarray, *, anomaly_index: int | None = None, answer: int | None = None
) -> np.ndarray:
    """Lay an episode's images side by side.

    :param observations: (images, image_size²), normalized, in order; with the blank image or without
    :param anomaly_index: the image that gets a white bar below it: the odd one; the blank image for "none"
    :param answer: the image that gets a white bar above it: the one that was named
    :return: (image_size + 4, images · (image_size + 2) + 2) uint8
    :raises ValueError: if the observations are no square images, or an index lies outside
    """
    observations = np.asarray(observations)
    n, size = len(observations), math.isqrt(observations.shape[-1])
    if observations.shape != (n, size * size):
        raise ValueError(f"observations of shape {observations.shape} do not fit: (images, size²) is needed")
    pixels = np.clip(np.rint((observations * STD + MEAN) * 255.0), 0, 255).astype(np.uint8)
    pitch = size + GAP
    strip = np.full((size + 2 * GAP, n * pitch + GAP), BACKGROUND, dtype=np.uint8)
    strip[GAP:-GAP, GAP:].reshape(size, n, pitch)[:, :, :size] = pixels.reshape(n, size, size).transpose(1, 0, 2)
    for name, index, rows in (("anomaly_index", anomaly_index, slice(-GAP, None)), ("answer", answer, slice(GAP))):
        if index is None:
            continue
        if not 0 <= index < n:
            raise ValueError(f"{name} {index} does not fit: an index below {n}, the number of images, is needed")
        strip[rows, GAP + index * pitch : (index + 1) * pitch] = BAR
    return strip
