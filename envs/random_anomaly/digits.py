"""Where handwritten digits come from: scikit-learn's own, MNIST, or a file; split for training and testing."""

import functools
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from envs.refusal import Refusal

SPLITS = ("train", "validation", "test")
SPLIT_SEED = 20250915
OPENML_MNIST = 554
"""OpenML's number of the data set mnist_784, version 1."""


@dataclass(frozen=True)
class DigitImages:
    """The images of one split, grouped by digit; all arrays are float32, read-only."""

    digits: tuple[int, ...]
    """labels, ascending; the other fields have one entry per label"""
    images: tuple[np.ndarray, ...]
    """(examples, size, size) each, in [0, 1]"""
    lowest: tuple[np.ndarray, ...]
    """(examples, 1, 1) each, the least pixel of every image"""
    highest: tuple[np.ndarray, ...]
    """(examples, 1, 1) each"""
    fewest: tuple[int, int, str]
    """the least number of examples that any digit has in any split, that digit and that split"""


def load_digit_images(source: str | os.PathLike[str], split: str, image_size: int) -> DigitImages:
    """Read a source and return one of its splits, resized bilinearly.

    Of every digit 70 % of the examples are for training, 10 % for validation and 20 % for testing, always the same.
    The last three results are kept in memory and shared: environments side by side, and a training's three splits, use
    them together. MNIST's training split takes 490 MB at 50 × 50 pixels.

    :param source: `digits` (scikit-learn's 1,797 images of 8 × 8), `mnist` (70,000 of 28 × 28; downloaded from OpenML
        at the first use, then kept in scikit-learn's data folder) or the path of an .npz file with images `x`
        (n, h, w), uint8 or floats in [0, 1], and integer labels `y` (n,)
    :param split: `train`, `validation` or `test`
    :param image_size: pixels per side
    :raises Refusal: if source or split is unknown, the file does not hold such images, or MNIST cannot be downloaded
    """
    if split not in SPLITS:
        raise Refusal(f"split {split!r} is unknown: one of {', '.join(SPLITS)} is needed")
    if not isinstance(source, str | os.PathLike):
        raise Refusal(f"source {source!r} does not fit: digits, mnist or the path of an .npz file is needed")
    name = os.fspath(source)
    if name in ("digits", "mnist"):
        return _load_split(name, None, split, image_size)
    path = Path(name).expanduser().resolve()
    if path.suffix != ".npz":
        raise Refusal(f"source {name!r} is unknown: digits, mnist or the path of an .npz file is needed")
    if not path.is_file():
        raise Refusal(f"source {name!r} does not exist: digits, mnist or the path of an .npz file is needed")
    status = path.stat()
    return _load_split(str(path), (status.st_mtime_ns, status.st_size), split, image_size)


@functools.lru_cache(maxsize=3)
def _load_split(source: str, file_version: tuple[int, int] | None, split: str, image_size: int) -> DigitImages:
    # The file's version is there for the cache alone: a file that has changed is read again.
    if source == "digits":
        x, y = _embedded_digits()
    elif source == "mnist":
        x, y = _mnist()
    else:
        x, y = _from_file(source)
    digits = np.unique(y)
    # The raw output of a bit generator, unlike a permutation, is the same in every version of numpy.
    order = np.argsort(np.random.PCG64(SPLIT_SEED).random_raw(len(y)), kind="stable")
    parts = [_split_indices(order[y[order] == digit]) for digit in digits]
    fewest = min(
        (len(part[name]), int(digit), name) for digit, part in zip(digits, parts, strict=True) for name in SPLITS
    )
    images = tuple(_resize(x[part[split]], image_size) for part in parts)
    return DigitImages(
        digits=tuple(int(digit) for digit in digits),
        images=images,
        lowest=tuple(_read_only(group.min(axis=(1, 2), keepdims=True, initial=1.0)) for group in images),
        highest=tuple(_read_only(group.max(axis=(1, 2), keepdims=True, initial=0.0)) for group in images),
        fewest=fewest,
    )


def _split_indices(indices: np.ndarray) -> Mapping[str, np.ndarray]:
    n = len(indices)
    train, validation = (7 * n + 5) // 10, (n + 5) // 10
    return dict(zip(SPLITS, np.split(indices, [train, train + validation]), strict=True))


def _resize(images: np.ndarray, size: int) -> np.ndarray:
    scale = np.float32(255.0 if images.dtype == np.uint8 else 1.0)
    resized = np.empty((len(images), size, size), dtype=np.float32)
    for image, out in zip(images, resized, strict=True):
        cv2.resize(image.astype(np.float32) / scale, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)
    return _read_only(np.clip(resized, 0.0, 1.0, out=resized))  # interpolation may round to just above 1


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _embedded_digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # takes a second, which the other tasks need not wait

    bunch = load_digits()
    return bunch.images / 16.0, bunch.target


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml, get_data_home

    # Reading OpenML's text file takes minutes, hence a copy as arrays.
    try:
        copy = Path(get_data_home()) / "mnist_784_uint8.npz"
    except OSError as error:  # scikit-learn makes the folder
        reason = " ".join(str(error).split())
        raise Refusal(
            f"source 'mnist': scikit-learn has no folder for data ({reason}): SCIKIT_LEARN_DATA has to name one"
        ) from None
    if not copy.is_file():
        try:
            # Arrays by liac-arff: data frames, and the faster parser, would need pandas.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "A network error occurred while downloading .* Retrying")
                bunch = fetch_openml(data_id=OPENML_MNIST, as_frame=False, parser="liac-arff")
            unfinished = copy.with_name(f"{copy.stem}-{os.getpid()}.npz")
            np.savez(unfinished, x=bunch.data.astype(np.uint8).reshape(-1, 28, 28), y=bunch.target.astype(np.uint8))
            unfinished.replace(copy)
        except (OSError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise Refusal(
                f"source 'mnist' cannot be downloaded from OpenML ({reason}): "
                "a network connection, digits or the path of an .npz file is needed"
            ) from error
    return _from_file(str(copy))


def _from_file(path: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            is_archive = isinstance(content, np.lib.npyio.NpzFile)
            arrays = {name: content[name] for name in ("x", "y") if is_archive and name in content}
    except Exception as error:  # what the parsers of archives raise on damaged ones is of a dozen kinds
        raise _unfit(path, str(error) or type(error).__name__) from error
    if not is_archive:
        raise _unfit(path, "it is a single array")
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise _unfit(path, f"it holds no {' and no '.join(missing)}")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise _unfit(path, f"{name} is no array")  # a member without numpy's header comes as bytes
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 3 or 0 in x.shape:
        raise _unfit(path, f"x has shape {x.shape}")
    if y.shape != (len(x),):
        raise _unfit(path, f"y has shape {y.shape}, x {x.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise _unfit(path, f"y is of type {y.dtype}")
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise _unfit(path, f"x is of type {x.dtype}")
    if x.dtype != np.uint8 and not ((x >= 0) & (x <= 1)).all():
        raise _unfit(path, "x holds values outside of [0, 1] or NaN")
    return x, y


def _unfit(path: str, reason: str) -> Refusal:
    return Refusal(
        f"source {path!r} does not fit: {reason}; images x (n, h, w), uint8 or floats in [0, 1], "
        "and integer labels y (n,) are needed"
    )
