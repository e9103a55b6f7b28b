"""Readers of labelled sequences: .npz, .csv, .ts, and a folder with a subfolder for each label.

They read numbers and texts and nothing else: no pickles, and no more than `MOST_BYTES` of a file, however small it is
packed. What every sequence has to be, wherever it comes from, is in `_cleaned`.
"""

import csv
import datetime
import math
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from types import MappingProxyType
from typing import TextIO

import numpy as np

from envs.refusal import Refusal

MOST_BYTES = 2**30
"""Of a file, unpacked; of a folder, all files together."""
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
"""Texts, in any case, for a reading that is missing."""

_REPR = Repr()
_REPR.maxstring = 80


@dataclass(frozen=True)
class Recordings:
    """Labelled sequences of one or more steps each, of C channels, one after the other."""

    steps: np.ndarray
    """(ΣT, C) float32, finite, read-only"""
    lengths: np.ndarray
    """(N,) int64, T of each"""
    labels: tuple[str, ...]
    """(N,)"""
    channels: tuple[str, ...] | None
    """names, if the source has any"""


class Unreadable(ValueError):
    """What a source holds does not fit; the text says where and why, `load_sequences` the rest."""


Sequences = Iterable[tuple[str, str, np.ndarray]]
"""(where it stands, label, (T, C) numbers with NaN where readings are missing) of each"""


def read(path: Path) -> Recordings:
    """Read a source of any kind.

    :param path: that exists, of a kind that `kind_of` knows
    :raises Unreadable: if it does not hold labelled sequences
    """
    try:
        return READERS[kind_of(path)](path)
    except Unreadable:
        raise
    except Exception as error:  # what parsers raise on damaged files is of a dozen kinds, MemoryError one of them
        raise Unreadable(f"{str(error) or type(error).__name__}; {NEEDED[kind_of(path)]} is needed") from error


def kind_of(path: Path) -> str:
    """Return the key in `READERS` of a path."""
    return "folder" if path.is_dir() else path.suffix.lower()


def files_of(path: Path) -> list[Path]:
    """Return the files that a source is made of, in the order they are read: the .csv files of subfolders, or itself.

    Hidden ones are left out.
    """
    if not path.is_dir():
        return [path]
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return [
        file
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() == ".csv" and file.is_file() and not file.name.startswith(".")
    ]


def read_npz(path: Path) -> Recordings:
    """Read an archive with `x` (N, T, C), or `x` (ΣT, C) and `lengths` (N,), and labels `y` (N,).

    Shorter sequences of (N, T, C) end in steps that are NaN throughout. Labels are texts, whole numbers or bools.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise Unreadable("it is no .npz archive")
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise Unreadable(f"it holds {size:,} bytes, {MOST_BYTES:,} are the most")
        file.seek(0)
        content = np.load(file, allow_pickle=False)
        arrays = {name: content[name] for name in ("x", "y", "lengths") if name in content}
    for name in ("x", "y"):
        if name not in arrays:
            raise Unreadable(f"it holds no {name}")
    for name, entries in arrays.items():
        if not isinstance(entries, np.ndarray):  # a member without numpy's header comes as bytes
            raise Unreadable(f"{name} is no array")
    x, y, lengths = arrays["x"], arrays["y"], arrays.get("lengths")
    if x.dtype.kind not in "biuf":
        raise Unreadable(f"x is of type {x.dtype}, numbers are needed")
    if y.dtype.kind not in "biuU":
        raise Unreadable(f"y is of type {y.dtype}, texts or whole numbers are needed")
    if x.ndim != (3 if lengths is None else 2) or 0 in x.shape:
        needed = "(N, T, C), or (ΣT, C) with lengths (N,)," if lengths is None else "(ΣT, C)"
        raise Unreadable(f"x has shape {x.shape}, {needed} is needed")
    if lengths is None:
        parts: Iterable[np.ndarray] = x
        count = len(x)
    else:
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not ((lengths >= 1) & (lengths <= len(x))).all():
            raise Unreadable(f"lengths do not fit: whole numbers (N,) from 1 to {len(x):,} are needed")
        if sum(lengths.tolist()) != len(x):
            raise Unreadable(f"lengths add up to {sum(lengths.tolist()):,}, x has {len(x):,} steps")
        parts = np.split(x, np.cumsum(lengths.astype(np.int64))[:-1])
        count = len(lengths)
    if y.shape != (count,):
        raise Unreadable(f"y has shape {y.shape}, ({count},) is needed")
    labels = [str(label) for label in y.tolist()]
    return _recordings(
        (f"sequence {index}", label, part.astype(np.float64))
        for index, (label, part) in enumerate(zip(labels, parts, strict=True))
    )


def read_csv(path: Path) -> Recordings:
    """Read a table with the columns series, time, label, then channels: one row for each step, in any order.

    Times are numbers or dates in ISO form; steps are sorted by them.
    """
    rows = _rows(path)
    _, header = next(rows, (1, []))
    if [name.lower() for name in header[:3]] != ["series", "time", "label"] or len(header) < 4:
        raise Unreadable(f"its columns are {_short(header)}, series, time, label, then channels are needed")
    channels = _channels(header[3:], "its header")
    tables: dict[str, tuple[str, _Table]] = {}
    for line, (series, time, label, *cells) in _of_width(rows, len(header)):
        known, table = tables.setdefault(series, (label, _Table(f"series {_short(series)}", len(channels))))
        if known != label:
            raise Unreadable(f"line {line}: {table.where} is labelled {_short(label)}, {_short(known)} before")
        table.add(cells, time, f"line {line}")
    return _recordings(((table.where, label, table.sorted()) for label, table in tables.values()), channels)


def read_folder(path: Path) -> Recordings:
    """Read a folder with a subfolder for each label, and in these a .csv file for each sequence: a row for each step.

    The first row may name the channels. A first column that is called time is none; steps are sorted by it.
    """
    files = files_of(path)
    if not files:
        raise Unreadable("it has no subfolders with .csv files")
    size = sum(file.stat().st_size for file in files)
    if size > MOST_BYTES:
        raise Unreadable(f"its files hold {size:,} bytes, {MOST_BYTES:,} are the most")
    channels: tuple[str, ...] | None = None

    def sequences() -> Iterator[tuple[str, str, np.ndarray]]:
        nonlocal channels
        for index, file in enumerate(files):
            where = f"{file.parent.name}/{file.name}"
            found, values = _read_sequence(file, where)
            if index and found != channels:
                raise Unreadable(f"{where}: channels are {_short(found)}, those of the first file {_short(channels)}")
            channels = found
            yield where, file.parent.name, values

    recordings = _recordings(sequences())
    return Recordings(recordings.steps, recordings.lengths, recordings.labels, channels)


def _read_sequence(file: Path, where: str) -> tuple[tuple[str, ...] | None, np.ndarray]:
    try:
        rows = _rows(file)
        line, first = next(rows, (1, []))
        if not first:
            raise Unreadable(f"{where} is empty")
        is_header = not all(cell.lower() in MISSING or _is_number(cell) for cell in first)
        timed = is_header and first[0].lower() == "time"
        channels = _channels(first[timed:], "its header") if is_header else None
        table = _Table(where, len(first) - timed)
        if not is_header:
            table.add(first, None, f"line {line}")
        for line, cells in _of_width(rows, len(first)):
            table.add(cells[timed:], cells[0] if timed else None, f"line {line}")
        return channels, table.sorted()
    except Unreadable as error:
        raise error if str(error).startswith(where) else Unreadable(f"{where}: {error}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise Unreadable(f"{where}: {error}") from error


def read_ts(path: Path) -> Recordings:
    """Read a file of the UCR/UEA archive (timeseriesclassification.com).

    After a header a line for each sequence: channels, each all of its readings apart by commas, and the label, apart by
    colons.
    """
    header: dict[str, str] = {}
    with _opened(path) as file:
        lines = ((f"line {number}", line.strip()) for number, line in enumerate(file, 1))
        lines = ((where, line) for where, line in lines if line and line[0] not in "#%")
        for where, line in lines:
            if line[0] != "@":
                raise Unreadable(f"{where}: {_short(line)} stands before @data")
            key, *value = line[1:].split(maxsplit=1) or [""]
            header[key.lower()] = value[0] if value else ""
            if key.lower() == "data":
                break
        flag, *declared = header.get("classlabel", "").split() or ["false"]
        if flag.lower() != "true":
            raise Unreadable("its header has no @classLabel true, with the labels, before @data")
        if header.get("timestamps", "false").lower() != "false":
            raise Unreadable("it has time stamps, which are not read: a file with @timeStamps false is needed")
        recordings = _recordings(_ts_sequences(lines, declared))
    dimensions = header.get("dimensions", "")
    if dimensions and dimensions != str(recordings.steps.shape[1]):
        raise Unreadable(f"its header says @dimensions {_short(dimensions)}, it has {recordings.steps.shape[1]}")
    return recordings


def _ts_sequences(lines: Iterable[tuple[str, str]], declared: list[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    for where, line in lines:
        *parts, label = (part.strip() for part in line.split(":"))
        if declared and label not in declared:
            raise Unreadable(f"{where}: label {_short(label)} is none of those that @classLabel names")
        yield where, label, _ts_channels(parts, where)


def _ts_channels(parts: list[str], where: str) -> np.ndarray:
    rows = []
    for part in parts:
        cells = [cell.strip() for cell in part.split(",")]
        rows.append([_number(cell, where) for cell in cells])
        if len(rows[-1]) != len(rows[0]):
            raise Unreadable(f"{where}: a channel has {len(rows[-1])} readings, the first {len(rows[0])}")
    if not rows:
        raise Unreadable(f"{where}: there are no channels before the label, which follows a colon")
    return np.array(rows, dtype=np.float64).T


READERS: Mapping[str, Callable[[Path], Recordings]] = MappingProxyType(
    {".npz": read_npz, ".csv": read_csv, ".ts": read_ts, "folder": read_folder}
)
"""By the ending of a file's name."""


NEEDED = MappingProxyType(
    {
        ".npz": "an archive of x (N, T, C), or x (ΣT, C) with lengths (N,), and labels y (N,)",
        ".csv": "a table of the columns series, time, label, then channels",
        ".ts": "a file of the UCR/UEA archive",
        "folder": "a folder with a subfolder of .csv files for each label",
    }
)
"""What a source of each kind has to be, for the line that refuses it."""


class _Table:
    """The steps of one sequence while its rows are read."""

    def __init__(self, where: str, n_channels: int) -> None:
        self.where = where
        self._n_channels = n_channels
        self._values = array("d")
        self._times = array("d")
        self._dated: bool | None = None

    def add(self, cells: list[str], time: str | None, where: str) -> None:
        self._values.extend(_number(cell, where) for cell in cells)
        if time is None:
            return
        moment, dated = _moment(time, where)
        if self._dated not in (None, dated):
            raise Unreadable(f"{where}: time {_short(time)} and those before are not both numbers or both dates")
        self._dated = dated
        self._times.append(moment)

    def sorted(self) -> np.ndarray:
        values = np.array(self._values, dtype=np.float64).reshape(-1, self._n_channels)
        if not self._times:
            return values
        times = np.array(self._times)
        order = np.argsort(times, kind="stable")
        if (np.diff(times[order]) == 0).any():
            raise Unreadable(f"{self.where} has two steps of the same time")
        return values[order]


def _recordings(sequences: Sequences, channels: tuple[str, ...] | None = None) -> Recordings:
    parts: list[np.ndarray] = []
    labels: list[str] = []
    for where, label, values in sequences:
        if not label:
            raise Unreadable(f"{where} has no label")
        part = _cleaned(values, where)
        if parts and part.shape[1] != parts[0].shape[1]:
            raise Unreadable(f"{where} has {part.shape[1]} channels, the first sequence {parts[0].shape[1]}")
        parts.append(part)
        labels.append(label)
    if not parts:
        raise Unreadable("it holds no sequences")
    steps = np.concatenate(parts)
    steps.flags.writeable = False
    return Recordings(steps, np.array([len(part) for part in parts], dtype=np.int64), tuple(labels), channels)


def _cleaned(values: np.ndarray, where: str) -> np.ndarray:
    """Return a sequence as float32, with no reading missing.

    Steps at the end without any reading are left out: so are shorter sequences padded. A missing reading is the last
    one before it, as a sensor that says nothing keeps its value, or the first one of its channel.

    :param values: (T, C) float64
    """
    n_channels = values.shape[1]
    missing = np.isnan(values)
    there = np.flatnonzero(~missing.all(axis=1))
    if not there.size:
        raise Unreadable(f"{where} has no readings")
    values, missing = values[: there[-1] + 1], missing[: there[-1] + 1]
    if missing.any():
        if missing.all(axis=0).any():
            raise Unreadable(f"{where} has no reading in channel {int(np.argmax(missing.all(axis=0))) + 1}")
        first = np.argmin(missing, axis=0)
        known = np.where(missing, first, np.arange(len(values))[:, None])
        values = values[np.maximum.accumulate(known, axis=0), np.arange(n_channels)]
    with np.errstate(over="ignore"):
        cleaned = values.astype(np.float32)
    if not np.isfinite(cleaned).all():
        step, channel = np.argwhere(~np.isfinite(cleaned))[0]
        raise Unreadable(f"{where} is not finite in float32 at step {step + 1}, channel {channel + 1}")
    return cleaned


def _opened(path: Path) -> TextIO:
    if path.stat().st_size > MOST_BYTES:
        raise Unreadable(f"it holds {path.stat().st_size:,} bytes, {MOST_BYTES:,} are the most")
    return path.open(newline="", encoding="utf-8-sig")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Return the rows that are not blank, with the numbers of their lines; cells without white space around them."""
    with _opened(path) as file:
        reader = csv.reader(file, strict=True)
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped


def _of_width(rows: Iterator[tuple[int, list[str]]], width: int) -> Iterator[tuple[int, list[str]]]:
    for line, cells in rows:
        if len(cells) != width:
            raise Unreadable(f"line {line} has {len(cells)} cells, {width} are needed")
        yield line, cells


def _channels(names: list[str], where: str) -> tuple[str, ...]:
    if not names or not all(names) or len(set(names)) != len(names):
        raise Unreadable(f"{where} names the channels {_short(names)}, one or more different names are needed")
    return tuple(names)


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        if cell.lower() in MISSING:
            return math.nan
        raise Unreadable(f"{where}: {_short(cell)} is no number") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _moment(time: str, where: str) -> tuple[float, bool]:
    """Return a time as a number, and whether it is a date."""
    try:
        moment, dated = float(time), False
    except ValueError:
        try:
            date = datetime.datetime.fromisoformat(time)
        except ValueError:
            raise Unreadable(
                f"{where}: time {_short(time)} is neither a number nor a date such as 2025-01-31"
            ) from None
        aware = date if date.tzinfo is not None else date.replace(tzinfo=datetime.UTC)
        moment, dated = (aware - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds(), True
    if not math.isfinite(moment):
        raise Unreadable(f"{where}: time {_short(time)} is not finite")
    return moment, dated


def _short(value: object) -> str:
    return _REPR.repr(value)


def refusal(source: str, reason: str) -> Refusal:
    """Return the line that refuses a source."""
    return Refusal(f"source {_short(source)} does not fit: {reason}")
