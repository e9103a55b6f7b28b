"""Sources of labelled sequences: how they are split, which are refused, and that files that change are read again."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from envs.refusal import Refusal
from envs.sequence_choice.sources import SPLITS, SequenceSplit, load_sequences


def numbered(path: Path, counts: dict[str, int], first: int = 0) -> Path:
    """Write sequences of a single step that hold their own number."""
    y = np.repeat(np.array(list(counts)), list(counts.values()))
    np.savez(path, x=np.arange(first, first + len(y), dtype=float)[:, None, None], y=y)
    return path


def numbers(split: SequenceSplit) -> list[int]:
    return split.steps[split.starts, 0].astype(int).tolist()


def test_embedded_digits_row_by_row() -> None:
    splits = [load_sequences("digits", split) for split in SPLITS]
    assert [len(split.lengths) for split in splits] == [1151, 287, 359]
    bunch = load_digits()
    known = {image.astype(np.float32).tobytes() for image in bunch.images / 16}
    seen = set()
    for split in splits:
        assert split.labels == tuple("0123456789")
        assert split.channels == tuple(f"channel {index}" for index in range(1, 9))
        assert set(split.lengths.tolist()) == {8}
        assert not split.steps.flags.writeable
        seen |= {split.steps[start : start + 8].tobytes() for start in split.starts}
    assert seen == known


@settings(max_examples=40)
@given(counts=st.dictionaries(st.sampled_from("abcde"), st.integers(3, 40), min_size=2), seed=st.integers(0, 2**31 - 1))
def test_splits_are_disjoint_complete_and_of_every_class(
    counts: dict[str, int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = numbered(tmp_path_factory.mktemp("data") / "a.npz", counts)
    splits = [load_sequences(path, split, seed) for split in SPLITS]
    assert sorted(number for split in splits for number in numbers(split)) == list(range(sum(counts.values())))
    y = np.load(path)["y"]
    for split, share in zip(splits, (0.64, 0.16, 0.2), strict=True):
        found = [split.labels[index] for index in split.classes]
        assert found == y[numbers(split)].tolist()
        assert set(found) == set(counts)
        for label, count in Counter(found).items():
            assert abs(count - share * counts[label]) <= 1


def test_seed_draws_the_splits(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.npz", {"a": 30, "b": 30})
    assert numbers(load_sequences(path, "test", 1)) == numbers(load_sequences(str(path), "test", 1))
    assert numbers(load_sequences(path, "test", 1)) != numbers(load_sequences(path, "test", 2))


@pytest.mark.parametrize(("train", "test"), [("Data_TRAIN.npz", "Data_TEST.npz"), ("a_train.npz", "a_test.npz")])
def test_split_by_the_files(train: str, test: str, tmp_path: Path) -> None:
    path = numbered(tmp_path / train, {"a": 10, "b": 20})
    numbered(tmp_path / test, {"b": 7, "a": 5}, first=100)
    splits = {split: load_sequences(path, split) for split in SPLITS}
    assert sorted(numbers(splits["test"])) == list(range(100, 112))
    assert numbers(splits["test"]) != sorted(numbers(splits["test"]))  # any episodes in a row are a sample of it
    assert Counter(splits["test"].classes.tolist()) == {0: 5, 1: 7}
    assert sorted(numbers(splits["train"]) + numbers(splits["validation"])) == list(range(30))
    assert Counter(splits["validation"].classes.tolist()) == {0: 2, 1: 4}


def test_labels_are_ordered_as_numbers_if_they_are(tmp_path: Path) -> None:
    assert load_sequences(numbered(tmp_path / "a.npz", {"10": 3, "9": 3, "-1": 3}), "train").labels == ("-1", "9", "10")
    assert load_sequences(numbered(tmp_path / "b.npz", {"10": 3, "9": 3, "x": 3}), "train").labels == ("10", "9", "x")
    assert load_sequences(numbered(tmp_path / "c.npz", {"--1": 3, "9": 3}), "train").labels == ("--1", "9")


def test_environments_share_what_was_read_until_the_file_changes(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.npz", {"a": 5, "b": 5})
    first = load_sequences(path, "train")
    assert load_sequences(str(path), "train") is first
    assert load_sequences(path, "test").steps is first.steps
    numbered(path, {"a": 15, "b": 5})
    assert len(load_sequences(path, "train").lengths) == 13


def test_a_file_more_in_a_folder_is_read(tmp_path: Path) -> None:
    for label in ("normal", "odd"):
        (tmp_path / label).mkdir()
        for index in range(5):
            (tmp_path / label / f"{index}.csv").write_text(f"{index}\n")
    assert len(load_sequences(tmp_path, "train").lengths) == 6
    for index in range(5, 10):
        (tmp_path / "odd" / f"{index}.csv").write_text(f"{index}\n")
    assert len(load_sequences(tmp_path, "train").lengths) == 9


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "source 3 does not fit: digits, the path"),
        ("mnist", "mnist' does not exist: digits, the path"),
        ("a.txt", "a.txt' is unknown: digits, the path"),
        ("a\x00b.npz", "does not fit: .*null (byte|character)"),
        ("x" * 5000, "does not fit: .*too long"),
        ("b_TEST.npz", "it holds what is tested: b_TRAIN.npz is needed"),
        ("b_TRAIN.npz", "b_TEST.npz' does not exist"),
        ("one.npz", "all its labels are 'a', at least two"),
        ("few.npz", "label 'b' has 2 of the 3 sequences that are needed"),
        ("unseen_TRAIN.npz", "label 'c' does not occur in unseen_TRAIN.npz"),
        ("other_TRAIN.npz", "its channels are not those of other_TRAIN.npz"),
        ("short_TRAIN.npz", "label 'b' has 1 of the 2 sequences that are needed"),
        ("damaged.npz", "damaged.npz' does not fit: it is no .npz archive"),
        ("damaged.ts", "damaged.ts' does not fit: its header has no @classLabel"),
    ],
)
def test_refusals(source: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "damaged.npz", "damaged.ts"):
        Path(name).touch()
    numbered(Path("b_TRAIN.npz"), {"a": 5, "b": 5})
    numbered(Path("one.npz"), {"a": 5})
    numbered(Path("few.npz"), {"a": 5, "b": 2})
    numbered(Path("short_TRAIN.npz"), {"a": 5, "b": 1})
    for name, labels in (("unseen", {"a": 1, "c": 1}), ("other", {"a": 5, "b": 5}), ("short", {"a": 1})):
        if name != "short":
            numbered(Path(f"{name}_TRAIN.npz"), {"a": 5, "b": 5})
        numbered(Path(f"{name}_TEST.npz"), labels)
    np.savez("other_TEST.npz", x=np.zeros((2, 3, 2)), y=["a", "b"])
    with pytest.raises(Refusal, match=message) as caught:
        load_sequences(source, "train")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000 or len(str(source)) > 1_000


def test_unknown_split() -> None:
    with pytest.raises(Refusal, match="split 'all' is unknown: one of train, validation, test is needed"):
        load_sequences("digits", "all")
