"""Sources of digits: what they hold, how they are split and resized, and what is refused."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import DIGITS
from sklearn.datasets import load_digits

from envs.random_anomaly.digits import SPLITS, load_digit_images


def numbered_images(path: Path, counts: dict[int, int], dtype: Any = np.uint8) -> Path:
    """Write images of two constant values, by which each can be told from all others."""
    y = np.repeat(np.array(list(counts)), list(counts.values()))
    y = y[np.random.default_rng(0).permutation(len(y))]
    x = np.zeros((len(y), 4, 4), dtype=dtype)
    number = np.arange(len(y))
    x[:, :, :2], x[:, :, 2:] = (number // 200)[:, None, None], (number % 200)[:, None, None]
    np.savez(path, x=x, y=y)
    return path


def test_embedded_digits() -> None:
    images = {split: load_digit_images("digits", split, 8) for split in SPLITS}
    assert images["train"].digits == tuple(range(10))
    bunch = load_digits()
    for digit in range(10):
        groups = [images[split].images[digit] for split in SPLITS]
        together = np.concatenate(groups).reshape(-1, 64)
        original = (bunch.data[bunch.target == digit] / 16).astype(np.float32)
        np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(original, axis=0))
        assert len(together) == len(original)
    assert images["train"].fewest == (17, 8, "validation")


@pytest.mark.parametrize("seed_of_order", [0, 1])
def test_splits_are_disjoint_and_complete(tmp_path: Path, seed_of_order: int) -> None:
    counts = {0: 1000, 3: 333, 7: 17}
    path = numbered_images(tmp_path / "numbered.npz", counts)
    splits = [load_digit_images(path, split, 8) for split in SPLITS]
    numbers = [
        [np.rint(group[:, 0, 0] * 255) * 200 + np.rint(group[:, 0, -1] * 255) for group in split.images]
        for split in splits
    ]
    labels = np.load(path)["y"]
    for index, (digit, count) in enumerate(counts.items()):
        parts = [numbers[split][index].astype(int) for split in range(3)]
        for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
            assert abs(len(part) - share * count) <= 1
            assert (labels[part] == digit).all()
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.flatnonzero(labels == digit))
        # Not the first 70 %, but drawn.
        assert count < 100 or np.abs(np.mean(parts[0]) / np.mean(np.concatenate(parts)) - 1) < 0.1


def test_splits_are_fixed() -> None:
    """Frozen: with other splits, results would no longer compare, and test examples would have been trained on."""
    train = load_digit_images("digits", "train", 8)
    test = load_digit_images("digits", "test", 8)
    digest = hashlib.sha256(b"".join((group * 16).astype(np.uint8).tobytes() for group in train.images + test.images))
    assert digest.hexdigest()[:16] == "d01cc1c80e390872"


def test_images_are_resized_bilinearly(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 1, 4), (4, 1))
    np.savez(tmp_path / "ramp.npz", x=np.stack([ramp] * 10), y=np.zeros(10, dtype=int))
    (group,) = load_digit_images(tmp_path / "ramp.npz", "train", 8).images
    # Pixel centres: at (i + 0.5) / 2 − 0.5, the outermost held.
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3) / 3
    np.testing.assert_allclose(group[0], np.tile(expected, (8, 1)), atol=1e-6)


def test_ranges() -> None:
    for split in SPLITS:
        for source in ("digits", DIGITS):
            images = load_digit_images(source, split, 50)
            for group, lowest, highest in zip(images.images, images.lowest, images.highest, strict=True):
                assert group.dtype == np.float32
                assert group.shape[1:] == (50, 50)
                assert not group.flags.writeable
                np.testing.assert_array_equal(lowest[:, 0, 0], group.reshape(len(group), -1).min(axis=1))
                np.testing.assert_array_equal(highest[:, 0, 0], group.reshape(len(group), -1).max(axis=1))
                assert lowest.min() >= 0
                assert highest.max() <= 1
                assert highest.min() > 0.5


def test_file_of_mnist() -> None:
    images = load_digit_images(str(DIGITS), "train", 28)
    x, y = (np.load(DIGITS)[name] for name in "xy")
    assert images.digits == tuple(range(10))
    for digit, group in enumerate(images.images):
        known = {image.tobytes() for image in x[y == digit]}
        seen = {np.rint(image * 255).astype(np.uint8).tobytes() for image in group}
        assert seen <= known
        assert len(seen) == len(group) == pytest.approx(0.7 * len(known), abs=0.5)


def test_environments_share_the_images(tmp_path: Path) -> None:
    path = numbered_images(tmp_path / "a.npz", {0: 20, 1: 20})
    first = load_digit_images(path, "train", 10)
    assert load_digit_images(str(path), "train", 10) is first
    numbered_images(path, {0: 30, 1: 20})
    changed = load_digit_images(path, "train", 10)
    assert [len(group) for group in changed.images] == [21, 14]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": np.zeros((20, 4, 4), np.uint8)}, "holds no y"),
        ({"a": np.zeros(3)}, "holds no x and no y"),
        ({"x": np.zeros((20, 16), np.uint8), "y": np.zeros(20, int)}, r"x has shape \(20, 16\)"),
        ({"x": np.zeros((0, 4, 4), np.uint8), "y": np.zeros(0, int)}, r"x has shape \(0, 4, 4\)"),
        ({"x": np.zeros((20, 4, 4), np.uint8), "y": np.zeros(19, int)}, r"y has shape \(19,\)"),
        ({"x": np.zeros((20, 4, 4), np.uint8), "y": np.zeros(20)}, "y is of type float64"),
        ({"x": np.zeros((20, 4, 4), np.int64), "y": np.zeros(20, int)}, "x is of type int64"),
        ({"x": np.full((20, 4, 4), 1.5), "y": np.zeros(20, int)}, r"outside of \[0, 1\]"),
        ({"x": np.full((20, 4, 4), np.nan), "y": np.zeros(20, int)}, "NaN"),
        ({"x": np.array([object()] * 20), "y": np.zeros(20, int)}, "allow_pickle"),
    ],
)
def test_unfit_file(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "unfit.npz"
    np.savez(path, **content)
    with pytest.raises(ValueError, match=message) as error:
        load_digit_images(path, "train", 10)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"text, no archive", b"PK\x03\x04 cut off", "single"])
def test_broken_file(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "broken.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"broken\.npz.* does not fit") as error:
        load_digit_images(path, "train", 10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "split", "message"),
    [
        ("letters", "train", "source 'letters' is unknown: digits, mnist or the path"),
        ("nothing.npz", "train", "source 'nothing.npz' does not exist"),
        (3, "train", "source 3 does not fit"),
        ("digits", "all", "split 'all' is unknown: one of train, validation, test"),
        ("digits", ["train"], "split .* is unknown"),
    ],
)
def test_unfit_arguments(source: Any, split: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load_digit_images(source, split, 10)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("error::UserWarning")  # the refusal is all that is said
def test_no_network_for_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(
        ValueError, match="source 'mnist' cannot be downloaded from OpenML .*a network connection"
    ) as error:
        load_digit_images("mnist", "train", 10)
    assert "\n" not in str(error.value)


def test_no_folder_for_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(ValueError, match="Not a directory.*SCIKIT_LEARN_DATA has to name one"):
        load_digit_images("mnist", "train", 10)


def test_mnist_from_openml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small data set of the same format, lying where scikit-learn keeps its downloads."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 784))
    labels = np.arange(40) % 2
    names = [f"pixel{i}" for i in range(1, 785)]
    arff = "@RELATION mnist_784\n" + "".join(f"@ATTRIBUTE {name} real\n" for name in names)
    arff += "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}\n@DATA\n"
    arff += "".join(",".join(map(str, [*row, label])) + "\n" for row, label in zip(pixels, labels, strict=True))
    common = {"is_ignore": "false", "is_row_identifier": "false", "is_target": "false"}
    common |= {"data_type": "numeric", "number_of_missing_values": "0"}
    features = [{"index": str(i), "name": name} | common for i, name in enumerate(names)]
    features.append({"index": "784", "name": "class"} | common | {"is_target": "true", "data_type": "nominal"})
    description = {
        "id": "554", "name": "mnist_784", "version": "1", "description": "digits", "format": "ARFF", "status": "active",
        "url": "https://openml.org/data/v1/download/52667/mnist_784.arff", "file_id": "52667",
        "md5_checksum": hashlib.md5(arff.encode()).hexdigest(),
    }  # fmt: skip
    quality = [{"name": "NumberOfInstances", "value": "40.0"}]
    home = tmp_path / "openml" / "openml.org"
    for path, content in {
        "api/v1/json/data/554": json.dumps({"data_set_description": description}),
        "api/v1/json/data/features/554": json.dumps({"data_features": {"feature": features}}),
        "api/v1/json/data/qualities/554": json.dumps({"data_qualities": {"quality": quality}}),
        "data/v1/download/52667/mnist_784.arff": arff,
    }.items():
        file = home / f"{path}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content.encode()))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    # 29 pixels per side: nobody else's, so that neither this result nor theirs comes from the other's memory.
    images = load_digit_images("mnist", "train", 29)
    assert images.digits == (0, 1)
    assert [len(group) for group in images.images] == [14, 14]
    with np.load(tmp_path / "mnist_784_uint8.npz") as copy:
        np.testing.assert_array_equal(copy["x"].reshape(40, 784), pixels)
        np.testing.assert_array_equal(copy["y"], labels)
    for file in home.rglob("*.gz"):
        file.unlink()
    assert load_digit_images("mnist", "validation", 29).fewest == (2, 0, "validation")  # from the copy
