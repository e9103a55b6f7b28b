"""Where labelled sequences come from: scikit-learn's digits, or what a user has; split for training and testing."""

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.refusal import Refusal
from envs.sequence_choice.readers import READERS, Recordings, Unreadable, files_of, kind_of, read, refusal

SPLITS = ("train", "validation", "test")
NEEDED = "digits, the path of an .npz, .csv or .ts file, or that of a folder with a subfolder for each label"
TRAIN, TEST = "_TRAIN", "_TEST"
"""Ends of the names, before the suffix, of two sources that are split already."""


@dataclass(frozen=True)
class SequenceSplit:
    """The sequences of one split, in an order drawn at random once; arrays are read-only."""

    labels: tuple[str, ...]
    """of the K classes: as numbers if all are whole ones, else as texts, ascending"""
    channels: tuple[str, ...]
    """C names"""
    steps: np.ndarray
    """(ΣT, C) float32, of all splits"""
    starts: np.ndarray
    """(N,) int64, where each sequence begins in `steps`"""
    lengths: np.ndarray
    """(N,) int64, at least 1"""
    classes: np.ndarray
    """(N,) int64, places in `labels`"""


def load_sequences(source: str | os.PathLike[str], split: str, split_seed: int = 0) -> SequenceSplit:
    """Read a source and return one of its splits.

    A source whose name ends in _TRAIN has its test sequences in the one that ends in _TEST. Of any other a fifth of
    every class is for testing. Of what remains a fifth is for validation. The last results are kept in memory and
    shared by environments side by side.

    :param source: `digits` (scikit-learn's 1,797 images of 8 × 8, row by row), or a path; see `readers`
    :param split: `train`, `validation` or `test`
    :param split_seed: draws the splits
    :raises Refusal: if source or split is unknown, or the source does not hold such sequences
    """
    if split not in SPLITS:
        raise Refusal(f"split {split!r} is unknown: one of {', '.join(SPLITS)} is needed")
    if not isinstance(source, str | os.PathLike):
        raise Refusal(f"source {source!r} does not fit: {NEEDED} is needed")
    name = os.fspath(source)
    if name == "digits":
        return _load(None, (), split_seed)[split]
    try:
        path = Path(name).expanduser().resolve()
        if path.stem.upper().endswith(TEST):
            raise refusal(name, f"it holds what is tested: {_twin(path, TEST, TRAIN).name} is needed, which finds it")
        paths = (path, _twin(path, TRAIN, TEST)) if path.stem.upper().endswith(TRAIN) else (path,)
        for one in paths:
            if not one.exists():
                raise Refusal(f"source {str(one)!r} does not exist: {NEEDED} is needed")
            if kind_of(one) not in READERS or not (one.is_file() or one.is_dir()):
                raise Refusal(f"source {str(one)!r} is unknown: {NEEDED} is needed")
        files = [file for one in paths for file in files_of(one)]
        version = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    except (OSError, ValueError) as error:  # a name that can be none of a file, or a folder that may not be read
        if isinstance(error, Refusal):
            raise
        raise refusal(name, str(error)) from error
    return _load(paths, version, split_seed)[split]


def _twin(path: Path, end: str, other: str) -> Path:
    given = path.stem[-len(end) :]
    return path.with_stem(path.stem[: -len(end)] + (other.lower() if given.islower() else other))


@functools.lru_cache(maxsize=2)
def _load(
    paths: tuple[Path, ...] | None, version: tuple[tuple[str, int, int], ...], split_seed: int
) -> dict[str, SequenceSplit]:
    # The version is there for the cache alone: files that have changed are read again.
    recordings = [_embedded_digits()] if paths is None else [_read(path) for path in paths]
    train, *tests = recordings
    named = "digits" if paths is None else str(paths[0])
    labels = _ascending(set(train.labels))
    if len(labels) < 2:
        raise refusal(named, f"all its labels are {labels[0]!r:.80}, at least two different ones are needed")
    for test in tests:
        assert paths is not None
        if unseen := set(test.labels) - set(labels):
            raise refusal(str(paths[1]), f"label {min(unseen)!r:.80} does not occur in {paths[0].name}")
        if (test.steps.shape[1], test.channels) != (train.steps.shape[1], train.channels):
            raise refusal(str(paths[1]), f"its channels are not those of {paths[0].name}")
    places = {label: place for place, label in enumerate(labels)}
    classes = np.array([places[label] for one in recordings for label in one.labels])
    lengths = np.concatenate([one.lengths for one in recordings])
    starts = np.cumsum(lengths) - lengths
    # The raw output of a bit generator, unlike a permutation, is the same in every version of numpy.
    order = np.argsort(np.random.PCG64(split_seed).random_raw(len(classes)), kind="stable")
    known = np.arange(len(classes)) < len(train.labels)
    held_out = order[~known[order]] if tests else None
    parts = _split(order[known[order]], classes, held_out, labels, named)
    steps = _read_only(np.concatenate([one.steps for one in recordings]))
    channels = train.channels or tuple(f"channel {place}" for place in range(1, steps.shape[1] + 1))
    return {
        split: SequenceSplit(
            labels, channels, steps, *(_read_only(entries[part]) for entries in (starts, lengths, classes))
        )
        for split, part in parts.items()
    }


def _split(
    order: np.ndarray, classes: np.ndarray, test: np.ndarray | None, labels: Sequence[str], named: str
) -> dict[str, np.ndarray]:
    """Divide the sequences in `order` between the splits, class by class; `test` is given if it is a file's own."""
    place = np.empty(len(classes), dtype=np.int64)
    for index, label in enumerate(labels):
        own = order[classes[order] == index]
        needed = 3 if test is None else 2
        if len(own) < needed:
            raise refusal(named, f"label {label!r:.80} has {len(own)} of the {needed} sequences that are needed")
        tested = max(1, (len(own) + 2) // 5) if test is None else 0
        validated = max(1, (len(own) - tested + 2) // 5)
        place[own] = np.repeat((2, 1, 0), (tested, validated, len(own) - tested - validated))
    parts = {split: order[place[order] == index] for index, split in enumerate(SPLITS)}
    return parts if test is None else {**parts, "test": test}


def _read(path: Path) -> Recordings:
    try:
        return read(path)
    except Unreadable as error:
        raise refusal(str(path), str(error)) from error


def _ascending(labels: set[str]) -> tuple[str, ...]:
    if all(re.fullmatch("-?[0-9]{1,18}", label) for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _embedded_digits() -> Recordings:
    from sklearn.datasets import load_digits  # takes a second, which the other tasks need not wait

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)
    return Recordings(
        images.reshape(-1, 8), np.full(len(images), 8), tuple(str(label) for label in bunch.target.tolist()), None
    )
