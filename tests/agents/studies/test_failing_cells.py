"""A cell that fails, whatever it does to its process: it fails alone, with a line, and the study goes on to its end."""

import io
import shutil
import sys
from pathlib import Path

import faulty  # noqa: F401 registers Faulty-v0
import pytest
from demonstration_data import record
from rich.console import Console

from agents.studies.definition import read_study
from agents.studies.ledger import MOST_DEATHS, CellState
from agents.studies.planning import check_demonstrations, plan_study
from agents.studies.running import run_study
from agents.studies.storage import Address
from agents.studies.worker import CannotWork, StudyAccess, Worker
from policies.refusal import Refusal

TINY = """
env: Faulty-v0
heartbeat: 1
options: {budget: 300, total_timesteps: 512, n_envs: 4, n_steps: 32, batch_size: 128, n_epochs: 1, eval_every: 256,
          eval_episodes: 1}
sampler: grid
"""
TROUBLES = {
    "quiet exit": "SystemExit: 0",
    "keyboard": "KeyboardInterrupt",
    "missing file": "No such file or directory: 'no/such/file'",
    "goes elsewhere": "",
    "": "",
}
"""What happens in a cell -> what is said of it; nothing where it is complete."""
MORE_TROUBLES = {
    "exception": "ZeroDivisionError: the wheel came off",
    "exit": "SystemExit: the licence has expired",
    "memory": "Unable to allocate 8.00 PiB",
    "recursion": "RecursionError",
    "module": "No module named 'no_such_module'",
    "a full disk of its own": "No space left on device",
    "observation": "the observation of environment 2 is not finite",
    "stream": "the stream is closed",
    "tidies up": "No such file or directory",
    "": "",
}


def access(folder: Path, parameters: str, address: Address | None = None, studies: str = "studies") -> StudyAccess:
    """Open a study in the current folder, by a path relative to it as on the command line."""
    (folder / "tiny.yaml").write_text(f"{TINY}parameters: {parameters}\n")
    return StudyAccess(plan_study(read_study(Path("tiny.yaml"))), Path(studies) / "tiny", address)


def of_faults(*faults: str) -> str:
    return f"{{env_arguments.fault: [{', '.join(map(repr, faults))}]}}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("troubles", [TROUBLES, pytest.param(MORE_TROUBLES, marks=pytest.mark.slow)])
def test_each_cell_fails_alone_and_once(troubles: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # one of them closes it
    opened = access(here, of_faults(*troubles))
    states = Worker(opened).run()
    said = {str(state.cell.parameters["env_arguments.fault"]): state for state in states}
    for fault, trouble in troubles.items():
        assert said[fault].status == ("failed" if trouble else "complete"), (fault, said[fault].trouble)
        assert trouble in said[fault].trouble
        assert len(said[fault].trouble.splitlines()) == bool(trouble)
    assert Path.cwd() == here
    # At a new start nothing is left to do.
    assert [state.attempts for state in Worker(access(here, of_faults(*troubles))).run()] == [1] * len(troubles)


def test_refusals_of_a_cell_are_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that are damaged, for one of two cells."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(here / "data"))
    good = record(here / "data", monkeypatch, "CartPole-v1", dataset="test/good-v0")
    bad = record(here / "data", monkeypatch, "CartPole-v1", dataset="test/bad-v0")
    text = TINY.replace("Faulty-v0", "CartPole-v1").replace("{budget", "{demos: test/good-v0, demo_epochs: 1, budget")
    (here / "tiny.yaml").write_text(text + "parameters: {demos: [test/bad-v0, test/good-v0]}\n")
    plan = plan_study(read_study(Path("tiny.yaml")))
    assert check_demonstrations(plan) == []
    (bad / "data" / "main_data.hdf5").write_bytes(b"no data")
    (trouble,) = check_demonstrations(plan)
    assert "test/bad-v0" in trouble
    states = Worker(StudyAccess(plan, here / "studies" / "tiny")).run()
    assert [state.status for state in states] == ["failed", "complete"]
    assert states[0].trouble == trouble
    # Where none fits, nothing begins.
    (good / "data" / "main_data.hdf5").write_bytes(b"no data")
    with pytest.raises(Refusal, match="test/bad-v0"):
        check_demonstrations(plan)


def test_full_disk_is_of_the_machine(here: Path, small_disk: Path) -> None:
    opened = access(here, of_faults(""), Address.of_file(here / "study.db"), str(small_disk))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(CannotWork, match="No space left on device"):
        Worker(opened).run()
    assert [state.status for state in opened.enqueue()] == ["waiting"]
    filler.unlink()
    assert [state.status for state in Worker(opened).run()] == ["complete"]


def test_how_a_worker_died_is_kept_with_the_cell(here: Path) -> None:
    opened = access(here, of_faults(""))
    states: list[CellState] = []
    for _ in range(MOST_DEATHS):
        opened.enqueue()
        Worker(opened, "host-1-token")._claim()
        assert opened.left_by("other", "was stopped") == []
        assert opened.left_by("token", "was killed by SIGSEGV") == ["all-0000-seed0"]
        states = opened.enqueue(gone=("token",))
        assert opened.left_by("token", "was killed by SIGSEGV") == []
    assert states[0].status == "failed"
    assert states[0].trouble == f"its worker died {MOST_DEATHS} times, the last one was killed by SIGSEGV"


@pytest.mark.slow
def test_worker_that_dies_in_a_cell_is_replaced_whatever_its_exit_code(here: Path) -> None:
    faults = ("once: _exit", "once: segfault", "")
    opened = access(here, of_faults(*faults))
    written = io.StringIO()
    states = run_study(opened, 1, modules=["faulty"], console=Console(file=written, width=200))
    assert [(state.status, state.attempts) for state in states] == [("complete", 2), ("complete", 2), ("complete", 1)]
    text = written.getvalue()
    assert text.count("ended with exit code 0 in all-0000-seed0; another takes its place") == 1
    assert text.count("was killed by SIGSEGV in all-0001-seed0; another takes its place") == 1
