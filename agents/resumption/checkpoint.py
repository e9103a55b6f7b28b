"""Checkpoints as files: everything a training needs to go on, without pickles, whole or not at all.

A checkpoint is one safetensors file, `checkpoints/<steps>.safetensors` of the run folder. Its tensors are the state's
arrays, its metadata the rest of the state as JSON, and a digest of both, by which damage is noticed.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import safetensors
import safetensors.numpy

from agents.runs.files import write_whole
from envs.vectorized.state_tree import StateTree
from policies.refusal import Refusal
from policies.streams import say

FOLDER = "checkpoints"
SUFFIX = ".safetensors"
FORMAT = "1"
_ARRAY = "array"
"""Key of the table that stands in the JSON where the state has an array."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after so many environment steps: a tree of tables and lists, arrays and plain values."""

    steps: int
    state: Mapping[str, Any]

    def tree(self) -> StateTree:
        """Return the state for readers that refuse what does not fit."""
        return StateTree(self.state, "the checkpoint does not fit this run:")

    def to_bytes(self) -> bytes:
        """Return the content of its file.

        :raises Refusal: for a state, as of a user's own callback or environment, that holds what no checkpoint can
        """
        arrays: dict[str, np.ndarray] = {}
        plain = _without_arrays(self.state, "", arrays)
        text = json.dumps({"steps": self.steps, "state": plain})
        metadata = {"format": FORMAT, "state": text, "sha256": _digest(text, arrays)}
        return safetensors.numpy.save(arrays, metadata)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Read what `to_bytes` wrote.

        :raises Refusal: if it is something else, incomplete or damaged
        """
        try:
            header_size = int.from_bytes(content[:8], "little")
            arrays = safetensors.numpy.load(content)
            metadata = json.loads(content[8 : 8 + header_size])["__metadata__"]
            if metadata.get("format") != FORMAT:
                raise Refusal(f"its format is {metadata.get('format')!r}, {FORMAT!r} is needed")
            if metadata["sha256"] != _digest(metadata["state"], arrays):
                raise Refusal("its digest does not fit its content")
            table = json.loads(metadata["state"])
            steps, state = table["steps"], _with_arrays(table["state"], arrays)
        except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
            raise Refusal(f"it is no whole checkpoint: {' '.join(reason.split())}") from None
        if type(steps) is not int or steps < 0 or not isinstance(state, dict):
            raise Refusal("it is no whole checkpoint: it holds no state after a number of steps")
        return cls(steps, state)


def write_checkpoint(run: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint into a run folder; when it is safely there, remove all but the last `keep`.

    :raises OSError: if it cannot be written; the older ones are untouched then
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{checkpoint.steps}{SUFFIX}"
    write_whole(path, checkpoint.to_bytes())
    for old in checkpoint_files(run)[:-keep]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
    return path


def checkpoint_files(run: Path) -> list[Path]:
    """Return the checkpoints of a run folder, those after fewer steps first; unfinished files are none."""
    found = [path for path in (run / FOLDER).glob(f"*{SUFFIX}") if path.stem.isascii() and path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem))


def checkpoint_to_resume(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of a run folder; None if it has none at all.

    To be called by the holder of the run's lock: what a process that was killed left unfinished is removed, and so are
    damaged checkpoints, once an older one is found to be whole.

    :raises Refusal: if there are checkpoints, but none is whole
    """
    for folder in (run, run / FOLDER, run / "best", run / "final"):
        for path in folder.glob(".*.tmp"):
            path.unlink()
    damaged: list[Path] = []
    first_reason = ""
    for path in reversed(checkpoint_files(run)):
        try:
            checkpoint = Checkpoint.from_bytes(path.read_bytes())
        except (OSError, Refusal) as error:
            damaged.append(path)
            first_reason = first_reason or str(error)
            continue
        for other in damaged:
            say(f"warning: {other} is damaged, going back to {path.name}")
            other.unlink()
        return checkpoint
    if damaged:
        raise Refusal(f"{damaged[0]} cannot be used, nor an older checkpoint: {first_reason}")
    return None


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def _without_arrays(tree: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, np.ndarray | np.generic):
        if tree.dtype.kind not in "biuf":
            _refuse(f"array of {tree.dtype}", path)
        arrays[path] = np.ascontiguousarray(tree).reshape(np.shape(tree))
        return {_ARRAY: path}
    if isinstance(tree, Mapping):
        return {str(key): _without_arrays(value, _below(path, str(key)), arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_arrays(value, _below(path, str(index)), arrays) for index, value in enumerate(tree)]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    return _refuse(type(tree).__name__, path)


def _below(path: str, key: str) -> str:
    # Escaped as in a JSON pointer (RFC 6901), so that no two arrays share a path.
    key = key.replace("~", "~0").replace("/", "~1")
    return f"{path}/{key}" if path else key


def _refuse(kind: str, path: str) -> NoReturn:
    raise Refusal(
        f"no checkpoint can hold the {kind} at {path} of a state: numbers, texts, true, false and null, arrays of "
        "numbers, and lists and dictionaries of these are needed"
    )


def _with_arrays(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, dict):
        # A callback's own table may have this key alone too, with something else in it.
        if tree.keys() == {_ARRAY} and isinstance(tree[_ARRAY], str) and tree[_ARRAY] in arrays:
            return arrays[tree[_ARRAY]]
        return {key: _with_arrays(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_arrays(value, arrays) for value in tree]
    return tree
