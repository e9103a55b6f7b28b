"""The random image transformations of the Random Anomaly task.

A transformation is called with `image` (size, size) float32 in [0, 1], which it leaves as it is, `out`, an array of the
same kind that it fills, and the random generator its parameters are drawn from. Values may leave the image's range; the
task clips them.

Source: Hershey and Paffenroth, ICMLA 2023 (doi 10.1109/ICMLA58977.2023.00026) and arXiv 2509.15057.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import cv2
import numpy as np

Transformation = Callable[[np.ndarray, np.ndarray, np.random.Generator], None]
Corner = tuple[int, int]

MILD_DISTORTION, STRONG_DISTORTION = 0.5, 0.9
ERASED_AREA = (0.1, 0.2)
"""Smallest and largest share of the image."""
ERASED_ASPECT = (0.3, 3.3)
"""Smallest and largest height by width."""
NOISE_STD = 0.01
BLUR_WIDTH = 15
BLUR_SIGMA = (0.1, 2.0)
SMALLEST_SIZE = 8
"""In pixels: below it the blur's border would reflect more than there is, and some rectangles would not fit."""

# 4 · image − 3 · smooth, as one filter.
_SHARPENING = (
    4 * np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]) - 3 * np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
).astype(np.float32)


def copy(image: np.ndarray, out: np.ndarray, generator: np.random.Generator) -> None:
    """Leave the image as it is, and the generator too."""
    out[:] = image


def change_perspective(
    image: np.ndarray, out: np.ndarray, generator: np.random.Generator, *, distortion: float
) -> None:
    """Map the image into a random strictly convex quadrilateral, bilinearly; around it is 0."""
    corners = draw_corners(len(image), distortion, generator)
    while not is_strictly_convex(corners):
        corners = draw_corners(len(image), distortion, generator)
    map_to_corners(image, out, corners)


def draw_corners(size: int, distortion: float, generator: np.random.Generator) -> list[Corner]:
    """Move each corner of an image inwards by integers uniform in 0 … ⌊distortion · size / 2⌋.

    :return: (x, y) of the top left, top right, bottom right and bottom left corner, in pixels
    """
    choices = math.floor(distortion * size / 2) + 1
    last = size - 1
    dx0, dy0, dx1, dy1, dx2, dy2, dx3, dy3 = [int(choices * u) for u in generator.random(8).tolist()]
    return [(dx0, dy0), (last - dx1, dy1), (last - dx2, last - dy2), (dx3, last - dy3)]


def is_strictly_convex(corners: Sequence[Corner]) -> bool:
    """Tell whether the path along the corners turns right, in image coordinates, at each of them."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    return (
        (x1 - x0) * (y2 - y1) > (y1 - y0) * (x2 - x1)
        and (x2 - x1) * (y3 - y2) > (y2 - y1) * (x3 - x2)
        and (x3 - x2) * (y0 - y3) > (y3 - y2) * (x0 - x3)
        and (x0 - x3) * (y1 - y0) > (y0 - y3) * (x1 - x0)
    )


def map_to_corners(image: np.ndarray, out: np.ndarray, corners: Sequence[Corner]) -> None:
    """Map the image's four corners to these, which must be strictly convex, and fill the rest with 0."""
    size = len(image)
    last = size - 1
    original = np.array([(0, 0), (last, 0), (last, last), (0, last)], dtype=np.float32)
    to_original = cv2.getPerspectiveTransform(np.array(corners, dtype=np.float32), original)
    cv2.warpPerspective(image, to_original, (size, size), dst=out, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    # The horizon of a convex quadrilateral, where the map divides by zero, lies outside of it but may pass through a
    # pixel of the image, and OpenCV leaves NaN there. Outside is 0; fmax prefers any number to a NaN.
    np.fmax(out, 0.0, out=out)


def erase(image: np.ndarray, out: np.ndarray, generator: np.random.Generator) -> None:
    """Set a random rectangle to 0: 10 to 20 % of the area, aspect log-uniform in 0.3 … 3.3, anywhere in the image.

    Redrawing a rectangle that does not fit is not needed: the longest side is √(0.2 · 3.3) = 0.81 of the image's.
    """
    size = len(image)
    area, aspect, top, left = generator.random(4).tolist()
    area = size * size * (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area)
    aspect = ERASED_ASPECT[0] * (ERASED_ASPECT[1] / ERASED_ASPECT[0]) ** aspect
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    top, left = int((size - height + 1) * top), int((size - width + 1) * left)
    out[:] = image
    out[top : top + height, left : left + width] = 0.0


def erase_and_change_perspective(image: np.ndarray, out: np.ndarray, generator: np.random.Generator) -> None:
    """Erase, then change the perspective mildly."""
    erased = np.empty_like(image)
    erase(image, erased, generator)
    change_perspective(erased, out, generator, distortion=MILD_DISTORTION)


def add_noise(image: np.ndarray, out: np.ndarray, generator: np.random.Generator) -> None:
    """Add Gaussian noise of standard deviation 0.01 to each pixel."""
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(NOISE_STD)
    np.add(image, noise, out=out)


def blur(image: np.ndarray, out: np.ndarray, generator: np.random.Generator) -> None:
    """Smooth with a 15 × 15 Gaussian, sigma uniform in 0.1 … 2.0; borders are reflected about the outermost pixel."""
    sigma = BLUR_SIGMA[0] + (BLUR_SIGMA[1] - BLUR_SIGMA[0]) * generator.random()
    cv2.GaussianBlur(image, (BLUR_WIDTH, BLUR_WIDTH), sigma, dst=out, borderType=cv2.BORDER_REFLECT_101)


def sharpen(image: np.ndarray, out: np.ndarray, generator: np.random.Generator) -> None:
    """Return 4 · image − 3 · smooth in [0, 1], smooth by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13; borders unchanged."""
    cv2.filter2D(image, cv2.CV_32F, _SHARPENING, dst=out)
    out[0], out[-1], out[:, 0], out[:, -1] = image[0], image[-1], image[:, 0], image[:, -1]
    np.clip(out, 0.0, 1.0, out=out)


TRANSFORMATIONS: Mapping[str, Transformation] = MappingProxyType(
    {
        "none": copy,
        "mild-perspective": functools.partial(change_perspective, distortion=MILD_DISTORTION),
        "strong-perspective": functools.partial(change_perspective, distortion=STRONG_DISTORTION),
        "erase": erase,
        "noise": add_noise,
        "erase-perspective": erase_and_change_perspective,
        "blur": blur,
        "sharpen": sharpen,
    }
)
"""The kinds of transformation by name."""
