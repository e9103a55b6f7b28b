"""Where compiled code is kept, and what happens where it cannot be."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import numba
import pytest

from policies.recurrent import kept_code
from policies.refusal import Refusal

MODULE = """
from numba import njit

from policies.recurrent.kept_code import keep


def double(x):
    return 2 * x


double = keep(njit(double), double)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module's source in it, where nothing has been said yet and nothing else is set."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "doubling.py").write_text(MODULE)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(kept_code, "_said", [])
    return tmp_path


def start(place: Path) -> Any:
    """Return the kernel as a process that starts has it."""
    specification = importlib.util.spec_from_file_location("doubling", place / "source" / "doubling.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.double


def loaded(kernel: Any) -> bool:
    assert kernel(21) == 42
    return bool(kernel.stats.cache_hits)


def closed(folder: Path) -> None:
    """Let a folder be none that can be written, whoever asks."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.touch()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".nbi", ".nbc")]


def test_kept_beside_the_source(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not loaded(start(place))
    assert files(place / "source")
    assert loaded(start(place))
    assert capsys.readouterr().err == ""


def test_kept_at_home_beside_a_source_that_is_read_only(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed(place / "source" / "__pycache__")
    assert not loaded(start(place))
    assert files(place / "home")
    assert loaded(start(place))
    assert capsys.readouterr().err == ""


def test_kept_where_the_user_says(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(place / "my own [1]"))
    assert not loaded(start(place))
    assert files(place / "my own [1]")
    assert not files(place / "source")
    assert loaded(start(place))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("home", ["closed", "no folder", "relative"])
def test_no_place_at_all(
    home: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed(place / "source" / "__pycache__")
    closed(place / "closed")
    # Without HOME a user whom the system does not know has the home "~", as containers do.
    monkeypatch.setenv("HOME", {"closed": str(place / "closed"), "no folder": "/dev/null/x", "relative": "~"}[home])
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(place / "closed"))
    for _ in range(2):
        assert not loaded(start(place))
    said = capsys.readouterr().err
    assert said.startswith("note: no folder for compiled code can be written")
    assert "NUMBA_CACHE_DIR" in said
    assert said.count("\n") == 1
    assert os.listdir() == []


def test_nothing_works_uncompiled(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(Refusal, match="NUMBA_DISABLE_JIT is set"):
        start(place)


def test_place_that_is_lost_before_anything_is_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = start(place)
    closed(place / "source" / "__pycache__")
    assert not loaded(kernel)
    assert capsys.readouterr().err.count("\n") == 1


def test_place_that_takes_nothing_more(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(place)(21)
    for path in files(place / "source"):
        path.unlink()
        if path.suffix == ".nbc":
            (path / "taken").mkdir(parents=True)
    assert not loaded(start(place))
    said = capsys.readouterr().err
    assert said.startswith("note: compiled code cannot be kept in")
    assert said.count("\n") == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files_are_written_anew(
    suffix: str, damage: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(place)(21)
    for path in files(place / "source"):
        if path.suffix == suffix:
            content = path.read_bytes()
            path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "other": b"not this\n"}[damage])
    assert not loaded(start(place))
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert said.count("\n") == 1
    kept_code._said.clear()
    assert loaded(start(place))
    assert capsys.readouterr().err == ""
