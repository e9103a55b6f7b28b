"""Readers of labelled sequences: each returns what was written, in every form, or refuses in one line."""

import datetime
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.sequence_choice import readers
from envs.sequence_choice.readers import READERS, Recordings, Unreadable, read

QUIET = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
LABELS = st.text("abcdefgh 0123456789-", min_size=1, max_size=6).map(str.strip).filter(bool)
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@dataclass(frozen=True)
class Written:
    """Sequences (T, C) float32 and their labels."""

    sequences: list[np.ndarray]
    labels: list[str]

    def check(self, recordings: Recordings) -> None:
        assert recordings.labels == tuple(self.labels)
        assert recordings.lengths.tolist() == [len(sequence) for sequence in self.sequences]
        assert recordings.steps.dtype == np.float32
        np.testing.assert_array_equal(recordings.steps, np.concatenate(self.sequences))


@st.composite
def written(draw: st.DrawFn) -> Written:
    count, channels = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    shapes = st.tuples(st.integers(1, 6), st.just(channels))
    sequences = [draw(arrays(np.float32, draw(shapes), elements=NUMBERS)) for _ in range(count)]
    return Written(sequences, [draw(LABELS) for _ in range(count)])


def write_npz(data: Written, path: Path) -> None:
    np.savez(
        path, x=np.concatenate(data.sequences), lengths=[len(one) for one in data.sequences], y=np.array(data.labels)
    )


def write_padded_npz(data: Written, path: Path) -> None:
    longest = max(map(len, data.sequences))
    x = np.full((len(data.sequences), longest, data.sequences[0].shape[1]), np.nan, np.float32)
    for row, sequence in zip(x, data.sequences, strict=True):
        row[: len(sequence)] = sequence
    np.savez(path, x=x, y=np.array(data.labels))


def write_csv(data: Written, path: Path) -> None:
    names = [f"c{index}" for index in range(data.sequences[0].shape[1])]
    lines = [",".join(["series", "time", "label", *names])]
    lines += [
        ",".join([f"s{index}", str(step), label, *(repr(float(value)) for value in row)])
        for index, (sequence, label) in enumerate(zip(data.sequences, data.labels, strict=True))
        for step, row in enumerate(sequence)
    ]
    path.write_text("\n".join(lines))


def write_ts(data: Written, path: Path) -> None:
    lines = ["# a comment", "@problemName any", "@timeStamps false", "@classLabel true", "", "@data"]
    lines += [
        ":".join([",".join(repr(float(value)) for value in channel) for channel in sequence.T] + [label])
        for sequence, label in zip(data.sequences, data.labels, strict=True)
    ]
    path.write_text("\n".join(lines))


FORMS: dict[str, tuple[str, Callable[[Written, Path], None]]] = {
    "npz": (".npz", write_npz),
    "padded npz": (".npz", write_padded_npz),
    "csv": (".csv", write_csv),
    "ts": (".ts", write_ts),
}


@pytest.mark.parametrize("form", FORMS)
@QUIET
@given(data=written())
def test_what_was_written_is_read(form: str, data: Written, tmp_path: Path) -> None:
    suffix, write = FORMS[form]
    path = tmp_path / f"data{suffix}"
    write(data, path)
    data.check(read(path))


@QUIET
@given(data=written(), order=st.randoms(use_true_random=False), dated=st.booleans())
def test_rows_of_a_table_may_stand_in_any_order(data: Written, order: Any, dated: bool, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    write_csv(data, path)
    header, *rows = path.read_text().splitlines()
    first = [row for row in rows if row.split(",")[1] == "0"]
    others = [row for row in rows if row not in first]
    order.shuffle(others)
    rows = first + others  # sequences come in the order of their first rows
    if dated:
        day = datetime.date(2025, 1, 30)
        parts = [row.split(",", 2) for row in rows]
        rows = [",".join([s, str(day + datetime.timedelta(int(step))), rest]) for s, step, rest in parts]
    path.write_text("\n".join([header, *rows]))
    data.check(read(path))


@QUIET
@given(data=written(), timed=st.booleans(), headed=st.booleans())
def test_a_folder_has_a_subfolder_for_each_label(
    data: Written, timed: bool, headed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("recordings")
    for index, (sequence, label) in enumerate(zip(data.sequences, data.labels, strict=True)):
        (folder / f"l{label}").mkdir(exist_ok=True)
        rows = [[repr(float(value)) for value in row] for row in sequence]
        if headed:
            names = [f"c{channel}" for channel in range(sequence.shape[1])]
            rows = [[str(step), *row] if timed else row for step, row in enumerate(rows)]
            rows = [["Time", *names] if timed else names, *(reversed(rows) if timed else rows)]
        (folder / f"l{label}" / f"{index}.csv").write_text("\n".join(map(",".join, rows)))
    (folder / ".hidden").mkdir()
    (folder / f"l{data.labels[0]}" / "notes.txt").touch()
    recordings = read(folder)
    order = sorted(range(len(data.labels)), key=lambda index: (f"l{data.labels[index]}", f"{index}.csv"))
    Written([data.sequences[index] for index in order], [f"l{data.labels[index]}" for index in order]).check(recordings)
    expected = tuple(f"c{channel}" for channel in range(recordings.steps.shape[1])) if headed else None
    assert recordings.channels == expected


@QUIET
@given(
    values=arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.sampled_from([1.0, 2.0])),
    data=st.data(),
)
def test_missing_readings_keep_the_last_one(values: np.ndarray, data: st.DataObject, tmp_path: Path) -> None:
    missing = data.draw(arrays(bool, values.shape))
    holes = np.where(missing, np.nan, values)
    np.savez(tmp_path / "a.npz", x=holes[None], y=["a"])
    length = int(np.max(np.flatnonzero(~missing.all(axis=1)), initial=-1)) + 1
    if not length or missing[:length].all(axis=0).any():
        with pytest.raises(Unreadable, match="has no reading"):
            read(tmp_path / "a.npz")
        return
    steps = read(tmp_path / "a.npz").steps
    assert steps.shape == (length, values.shape[1])
    for channel, found in zip(holes[:length].T, steps.T, strict=True):
        last = channel[~np.isnan(channel)][0]
        for reading, value in zip(channel, found, strict=True):
            last = last if np.isnan(reading) else reading
            assert value == last


def test_words_for_missing_readings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("series,time,label,c\n1,0,a,1\n1,1,a,\n1,2,a,NaN\n1,3,a,?\n1,4,a,n/a\n1,5,a,2\n")
    assert read(tmp_path / "a.csv").steps[:, 0].tolist() == [1, 1, 1, 1, 1, 2]
    (tmp_path / "a.ts").write_text("@classLabel true a\n@data\n?,3,nan,4,?:a\n")
    assert read(tmp_path / "a.ts").steps[:, 0].tolist() == [3, 3, 3, 4]


NPZ: list[tuple[dict[str, Any], str]] = [
    ({"y": ["a"]}, "holds no x"),
    ({"x": np.zeros((1, 2, 1))}, "holds no y"),
    ({"x": np.zeros((2, 2)), "y": ["a", "b"]}, r"x has shape \(2, 2\)"),
    ({"x": np.zeros((2, 2, 1)), "y": ["a"]}, r"y has shape \(1,\)"),
    ({"x": np.zeros((1, 2, 1)), "y": [0.5]}, "y is of type float64"),
    ({"x": np.zeros((1, 2, 1), complex), "y": ["a"]}, "x is of type complex128"),
    ({"x": np.zeros((3, 1)), "lengths": [1, 1], "y": ["a", "b"]}, "lengths add up to 2, x has 3 steps"),
    ({"x": np.zeros((3, 1)), "lengths": [0, 3], "y": ["a", "b"]}, "lengths do not fit"),
    ({"x": np.zeros((3, 1)), "lengths": [1.0, 2.0], "y": ["a", "b"]}, "lengths do not fit"),
    ({"x": np.array([[[1.0], [np.inf]]]), "y": ["a"]}, "sequence 0 is not finite in float32 at step 2, channel 1"),
    ({"x": np.array([[[1e300]]]), "y": ["a"]}, "sequence 0 is not finite in float32"),
    ({"x": np.full((1, 2, 1), np.nan), "y": ["a"]}, "sequence 0 has no readings"),
    ({"x": np.zeros((1, 2, 1)), "y": [""]}, "sequence 0 has no label"),
    ({"x": np.array([[[object()]]], dtype=object), "y": ["a"]}, "allow_pickle=False"),
]
CSV = [
    ("", "its columns are"),
    ("time,series,label,c\n", "its columns are"),
    ("series,time,label\n", "then channels are needed"),
    ("series,time,label,c,c\n", "one or more different names"),
    ("series,time,label,c\n", "it holds no sequences"),
    ("series,time,label,c\n1,0,a,1,2\n", "line 2 has 5 cells, 4 are needed"),
    ("series,time,label,c\n1,0,a,x\n", "line 2: 'x' is no number"),
    ("series,time,label,c\n1,noon,a,1\n", "line 2: time 'noon' is neither a number nor a date"),
    ("series,time,label,c\n1,nan,a,1\n", "line 2: time 'nan' is not finite"),
    ("series,time,label,c\n1,1,a,1\n1,2025-01-01,a,1\n", "line 3: time '2025-01-01' and those before"),
    ("series,time,label,c\n1,1,a,1\n1,1.0,a,2\n", "series '1' has two steps of the same time"),
    ("series,time,label,c\n1,0,a,1\n1,1,b,1\n", "line 3: series '1' is labelled 'b', 'a' before"),
    ("series,time,label,c\n1,0,,1\n", "series '1' has no label"),
    ('series,time,label,c\n1,0,"a\n', "unexpected end of data"),
]
TS = [
    ("", "no @classLabel true"),
    ("@classLabel false\n@data\n1:a\n", "no @classLabel true"),
    ("1,2:a\n", "line 1: '1,2:a' stands before @data"),
    ("@timeStamps true\n@classLabel true a\n@data\n(0,1):a\n", "time stamps, which are not read"),
    ("@classLabel true a b\n@data\n1:c\n", "line 3: label 'c' is none of those"),
    ("@classLabel true a\n@data\n1,2:1:a\n", "line 3: a channel has 1 readings, the first 2"),
    ("@classLabel true a\n@data\n1:2:a\n1:a\n", "line 4 has 1 channels, the first sequence 2"),
    ("@classLabel true a\n@data\na\n", "line 3: there are no channels before the label"),
    ("@classLabel true a\n@dimensions 2\n@data\n1:a\n", "@dimensions '2', it has 1"),
    ("@classLabel true\n@data\n1:\n", "line 3 has no label"),
    ("@classLabel true\n@data\n", "it holds no sequences"),
]


@pytest.mark.parametrize(("content", "message"), NPZ)
def test_unfit_archives(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(Unreadable, match=message):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize(("suffix", "text", "message"), [(".csv", *one) for one in CSV] + [(".ts", *one) for one in TS])
def test_unfit_texts(suffix: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(text)
    with pytest.raises(Unreadable, match=message):
        read(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no subfolders with .csv files"),
        ({"a.csv": "1\n"}, "no subfolders with .csv files"),
        ({"a/1.csv": ""}, "a/1.csv is empty"),
        ({"a/1.csv": "x,y\n"}, "a/1.csv has no readings"),
        ({"a/1.csv": "x,y\n1,2\n", "b/1.csv": "x,z\n1,2\n"}, r"b/1.csv: channels are \('x', 'z'\)"),
        ({"a/1.csv": "1,2\n", "b/1.csv": "1\n"}, "b/1.csv has 1 channels, the first sequence 2"),
        ({"a/1.csv": "x,y\n1\n"}, "a/1.csv: line 2 has 1 cells, 2 are needed"),
        ({"a/1.csv": "time\n1\n"}, "a/1.csv: its header names the channels"),
        ({"a/1.csv": "time,x\n1,1\n1,2\n"}, "a/1.csv has two steps of the same time"),
        ({"a/1.csv": "x\n1\ny\n"}, "a/1.csv: line 3: 'y' is no number"),
    ],
)
def test_unfit_folders(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(Unreadable, match=message):
        read(tmp_path)


def test_no_more_than_so_many_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small on the disk may be large when it is unpacked."""
    monkeypatch.setattr(readers, "MOST_BYTES", 20_000)
    content = io.BytesIO()
    np.save(content, np.zeros((1, 20_000, 1), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content.getvalue())
    assert (tmp_path / "a.npz").stat().st_size < 1_000
    (tmp_path / "a.ts").write_text("#" * 20_001)
    (tmp_path / "a.csv").write_text("#" * 20_001)
    (tmp_path / "label").mkdir()
    (tmp_path / "label" / "1.csv").write_text("1\n" * 10_001)
    for path in (tmp_path / "a.npz", tmp_path / "a.ts", tmp_path / "a.csv", tmp_path):
        with pytest.raises(Unreadable, match="bytes, 20,000 are the most"):
            read(path)


def test_an_array_that_says_it_is_endless_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000, 1), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(Unreadable):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [suffix for suffix in READERS if suffix != "folder"])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_anything_else_is_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(Unreadable):
        read(path)
