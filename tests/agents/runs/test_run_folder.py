"""New run folders: many at the same time, and names that the file system or its encoding does not take."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from data_files import ROOT

from agents.configuration import TrainingConfiguration, configure
from agents.runs.folder import RunFolder
from policies.refusal import Refusal

RUNS = 12


def at_once(make: Callable[[int], str], n: int = RUNS) -> list[str]:
    """Call in so many threads, none of which goes ahead."""
    ready = threading.Barrier(n)

    def wait_and_make(index: int) -> str:
        ready.wait()
        return make(index)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(wait_and_make, range(n)))


def configuration(folder: Path, run_name: str | None = None) -> TrainingConfiguration:
    return configure("CartPole-v1", log_dir=str(folder / "lo gs [1]"), run_name=run_name)


@pytest.mark.parametrize("_", range(5))
def test_runs_of_the_same_second_get_folders_of_their_own(_: int, tmp_path: Path) -> None:
    names = at_once(lambda index: RunFolder.create(configuration(tmp_path), "now").path.name)
    assert sorted(names) == sorted(["now", *(f"now-{number}" for number in range(2, RUNS + 1))])
    folders = tmp_path / "lo gs [1]" / "CartPole-v1"
    assert sorted(os.listdir(folders)) == sorted(names)  # nothing unfinished
    assert all((folders / name / "config.yaml").is_file() for name in names)


@pytest.mark.parametrize("_", range(5))
def test_one_of_several_gets_the_name_that_all_were_given(_: int, tmp_path: Path) -> None:
    def make(index: int) -> str:
        try:
            return RunFolder.create(configuration(tmp_path, "mine"), "now").path.name
        except Refusal as error:
            return str(error)

    made = at_once(make)
    assert made.count("mine") == 1
    assert sum("exists already, another name is needed" in said for said in made) == RUNS - 1
    assert os.listdir(tmp_path / "lo gs [1]" / "CartPole-v1") == ["mine"]


@pytest.mark.parametrize("kind", ["file", "empty folder", "dangling link"])
def test_what_is_no_run_is_not_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "lo gs [1]" / "CartPole-v1" / "now"
    path.parent.mkdir(parents=True)
    {"file": path.touch, "empty folder": path.mkdir, "dangling link": lambda: path.symlink_to("nowhere")}[kind]()
    before = path.lstat().st_ino
    with pytest.raises(Refusal, match="exists already"):
        RunFolder.create(configuration(tmp_path, "now"), "")
    assert RunFolder.create(configuration(tmp_path), "now").path.name == "now-2"
    assert path.lstat().st_ino == before


@pytest.mark.skipif(sys.platform == "win32", reason="names are in UTF-16 there")
def test_name_that_is_no_text(tmp_path: Path) -> None:
    for run_name, folder in ((os.fsdecode(b"bad\xff"), tmp_path), ("good", tmp_path / os.fsdecode(b"bad\xff"))):
        with pytest.raises(Refusal, match="names of files are in utf-8 here"):
            RunFolder.create(configuration(folder, run_name), "now")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="names have one encoding there, whatever the locale")
@pytest.mark.parametrize(("name", "fits"), [("plain [1]", True), ("größe", False)])
def test_locale_of_another_encoding(name: str, fits: bool, tmp_path: Path) -> None:
    program = "import sys; from agents.runs.folder import RunFolder; print(RunFolder.open(sys.argv[1]).read_module())"
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.yaml").write_text("# größe\nenv: CartPole-v1\nenv_module: mine\n", encoding="utf-8")
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode == 0) == fits, done.stderr
    expected = "mine" if fits else "ASCII, or UTF-8 with PYTHONUTF8=1, is needed"
    assert expected in (done.stdout if fits else done.stderr)
