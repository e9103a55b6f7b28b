"""The command line of studies: one line with exit code 2 for bad input, before anything is written or run."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from data_files import ROOT

import sweep
from agents.command_line import run

STUDY = """
env: CartPole-v1
options: {budget: 300, total_timesteps: 512, n_envs: 4, n_steps: 32, batch_size: 128, eval_every: 256, eval_episodes: 1}
sampler: grid
parameters:
  hidden_proportion: [0.3, 0.99]
"""


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Run the command line here and return its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["sweep.py", *words])
    code = 0
    try:
        run(sweep.main)
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


BAD_CALLS = {
    "no command": ([], "run|worker|report|show"),
    "unknown command": (["walk"], "walk"),
    "no study": (["run"], "STUDY.yaml"),
    "no such file": (["run", "other.yaml"], "other.yaml"),
    "unknown option": (["run", "study.yaml", "--wrokers", "2"], "--wrokers"),
    "no worker": (["run", "study.yaml", "--workers", "0"], "--workers"),
    "address": (["run", "study.yaml", "--storage", "postgres//me:hunter2@host"], "--storage"),
    "unreachable database": (
        ["worker", "study.yaml", "--storage", "postgresql+psycopg://me:hunter2@127.0.0.1:1/db"],
        "127.0.0.1:1",
    ),
    "module": (["run", "study.yaml", "--import", "no.such.module"], "--import no.such.module"),
    "nothing to report": (["report", "study.yaml"], "run it first"),
    "nothing to show": (["show", "study.yaml", "--trial", "0"], "run it first"),
    "no trial": (["show", "study.yaml"], "--trial"),
    "folder is a file": (["run", "study.yaml", "--studies-dir", "study.yaml"], "study.yaml"),
    "unknown key": (["run", "bad.yaml"], "bad.yaml, line 7, key 'pruner'"),
    "object tag": (["run", "tag.yaml"], "tag.yaml, line 7, key 'name'"),
    "nothing feasible": (["run", "infeasible.yaml"], "no cell is feasible"),
    "no demonstrations": (["run", "demos.yaml"], "not/../a/data set"),
    "no success": (["run", "success.yaml"], "success.yaml, line 7, key 'score': success_rate does not fit CartPole-v1"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_one_line_and_leaves_nothing(
    name: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, named = BAD_CALLS[name]
    (here / "bad.yaml").write_text(STUDY + "pruner: median\n")
    (here / "tag.yaml").write_text(STUDY + "name: !!python/object/apply:os.mkdir [made]\n")
    (here / "infeasible.yaml").write_text(STUDY.replace("0.3, ", ""))
    (here / "success.yaml").write_text(STUDY + "score: success_rate\n")
    (here / "demos.yaml").write_text(STUDY.replace("{budget", '{demos: "not/../a/data set", budget'))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(here / "none"))
    before = sorted(here.rglob("*"))
    code, _, errors = call(capsys, monkeypatch, *words)
    assert code == 2
    assert errors.count("\n") == 1, errors
    assert named in errors
    assert "hunter2" not in errors
    # A database that cannot be reached leaves the empty folder of the study at most.
    assert [path for path in sorted(here.rglob("*")) if path not in before and path.is_file()] == []


def test_run_report_and_show(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed, errors = call(capsys, monkeypatch, "worker", "study.yaml")
    assert (code, errors) == (0, "")
    assert "1 cells, in studies/study, storage sqlite:///studies/study/study.db" in printed
    assert "all-0001: hidden_proportion 0.99" in printed
    assert (here / "studies" / "study" / "CartPole-v1" / "all-0000-seed0" / "result.json").is_file()

    code, printed, _ = call(capsys, monkeypatch, "report", "study.yaml", "--out", "figures/of/it")
    assert code == 0
    assert "1 of 1 cells are done." in printed
    assert (here / "figures" / "of" / "it" / "report.html").is_file()

    code, printed, _ = call(capsys, monkeypatch, "show", "study.yaml", "--trial", "0")
    words = shlex.split(printed)
    assert words[:4] == ["python", "train.py", "--env", "CartPole-v1"]
    assert words[words.index("--hidden-proportion") + 1] == "0.3"
    code, _, errors = call(capsys, monkeypatch, "show", "study.yaml", "--trial", "1")
    assert (code, errors.count("\n")) == (2, 1)
    with open("/dev/full", "w") as full:  # Linux; what it shows is its result, which must not be lost silently
        shown = [sys.executable, str(ROOT / "sweep.py"), "show", "study.yaml", "--trial", "0"]
        done = subprocess.run(shown, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: standard output could not be written: ")

    # A study of another definition under the same name.
    (here / "study.yaml").write_text(STUDY.replace("[0.3, 0.99]", "[0.3, 0.4]"))
    code, _, errors = call(capsys, monkeypatch, "worker", "study.yaml")
    assert code == 2
    assert "study.yaml, line 6, key 'parameters.hidden_proportion'" in errors
    assert "was planned with [0.3, 0.99] here" in errors
    # How it is run may change.
    (here / "study.yaml").write_text(STUDY + "workers: 3\nheartbeat: 7\n")
    assert call(capsys, monkeypatch, "worker", "study.yaml")[0] == 0


def test_failed_cell_is_said_by_run_report_and_show(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = "{env_arguments.fault: [exception, '']}"
    text = STUDY.replace("CartPole-v1", "Faulty-v0").replace("\n  hidden_proportion: [0.3, 0.99]", f" {parameters}")
    (here / "study.yaml").write_text(text)
    code, printed, errors = call(capsys, monkeypatch, "worker", "study.yaml", "--import", "faulty")
    assert code == 1
    assert errors.endswith("1 of 2 cells failed; --retry-failed runs them again\n")
    (line,) = [line for line in printed.splitlines() if "all-0000-seed0 failed: environment 2 failed (seed 2" in line]
    assert "ZeroDivisionError: the wheel came off" in line

    code, printed, _ = call(capsys, monkeypatch, "report", "study.yaml", "--import", "faulty")
    assert code == 0
    assert line in printed
    assert "the wheel came off" in (here / "studies" / "study" / "report" / "report.html").read_text()

    code, printed, errors = call(capsys, monkeypatch, "show", "study.yaml", "--import", "faulty", "--trial", "0")
    assert code == 0
    assert "fault=exception" in printed
    assert errors == f"{line}\n"
    assert call(capsys, monkeypatch, "show", "study.yaml", "--import", "faulty", "--trial", "1")[2] == ""


def test_missing_driver_is_said_with_what_installs_it(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # what Python itself keeps for a module that cannot be imported
    for prefix in ("postgresql", "postgresql+psycopg"):
        code, _, errors = call(capsys, monkeypatch, "run", "study.yaml", "--storage", f"{prefix}://me:hunter2@host/db")
        assert code == 2
        assert errors == (
            'error: --storage postgresql needs the extra postgresql: pip install --editable ".[postgresql]"\n'
        )


def test_what_may_surprise_is_said_before_the_cells_run(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.studies.actions.run_study", lambda *_, **__: [])
    (here / "study.yaml").write_text(
        STUDY.replace("total_timesteps", "env_arguments: {max_episode_steps: -1}, total_timesteps")
    )
    code, _, errors = call(capsys, monkeypatch, "run", "study.yaml")
    assert code == 0
    assert errors.count("\n") == 1
    assert "no time limit" in errors
    assert "env_arguments max_episode_steps=N" in errors
