"""One training at a time in a run folder, and none that outlives its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_files import ROOT

from agents.runs.lock import LOCK, run_lock
from policies.refusal import Refusal

HOLD = """
import sys
from pathlib import Path
from agents.runs.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_holder_is_named_and_its_death_frees_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(Refusal, match=f"is being trained by process {holder.pid} on ") as caught,
            run_lock(tmp_path),
        ):
            raise AssertionError
        assert "\n" not in str(caught.value)
        holder.kill()
    with run_lock(tmp_path), pytest.raises(Refusal, match=f"by process {os.getpid()} on "), run_lock(tmp_path):
        raise AssertionError


def test_what_is_released_can_be_held_again(tmp_path: Path) -> None:
    for _ in range(2):
        with run_lock(tmp_path):
            assert len(list(tmp_path.iterdir())) == 2
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_training_of_an_older_version_and_one_of_this_exclude_each_other(tmp_path: Path) -> None:
    """The older ones call flock themselves, and write their names into the locked file."""
    fcntl = pytest.importorskip("fcntl", reason="older versions run where there is flock")
    with (tmp_path / LOCK).open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write("process 1 on elsewhere")
        file.flush()
        with pytest.raises(Refusal, match="is being trained by another process"), run_lock(tmp_path):
            raise AssertionError
        assert (tmp_path / LOCK).read_text() == "process 1 on elsewhere"
    with run_lock(tmp_path), (tmp_path / LOCK).open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(Refusal, match="the run folder .* cannot be written: ") as caught, run_lock(tmp_path / "run"):
        raise AssertionError
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run").read_text() == "a file"
