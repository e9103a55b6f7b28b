"""Whole commands in places unlike the one they were written in: names of folders, and what may be written."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from data_files import ROOT

from agents.command_line import run
from tests.same_runs import call

TINY = [
    *("--budget", "60", "--n-envs", "2", "--n-steps", "32", "--batch-size", "64", "--n-epochs", "1"),
    *("--total-timesteps", "64", "--eval-every", "64", "--eval-episodes", "2", "--no-progress"),
]
ODD = "a 'b' \"c\" [d] {e} f=g #h %i :j *?~$k\\ -é"
STUDY = """
name: odd
env: CartPole-v1
seeds: [0, 1]
options: {total_timesteps: 64, n_envs: 2, n_steps: 32, batch_size: 64, n_epochs: 1, eval_every: 64, eval_episodes: 2}
groups: {one: {sampler: grid, parameters: {budget: [60]}}}
"""


@pytest.mark.parametrize("names", [(ODD, ODD), ("-", "-r"), ("~", "[0]"), ("http:", "a\nb")], ids=range(4))
def test_a_run_goes_on_and_is_used_in_folders_of_any_name(
    names: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, name = names
    monkeypatch.chdir(tmp_path)
    new = ["--env", "CartPole-v1", *TINY, f"--log-dir={logs}", f"--run-name={name}"]
    assert call("train.py", *new, patch=monkeypatch) == 0
    path = Path(logs) / "CartPole-v1" / name
    assert call("train.py", f"--resume={path}", "--total-timesteps", "128", patch=monkeypatch) == 0
    assert json.loads((path / "result.json").read_text())["steps"] == 128
    assert len(list(path.glob("events*"))) == 2
    onnx = f"{ODD}.onnx"
    assert call("export.py", "--output", onnx, "--", str(path), patch=monkeypatch) == 0
    for policy in (str(path), onnx):
        assert call("evaluate.py", "--episodes", "2", "--", policy, patch=monkeypatch) == 0
    shutil.copy(path / "config.yaml", f"{ODD}.yaml")
    assert call("train.py", "--config", f"{ODD}.yaml", "--run-name", "again", patch=monkeypatch) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert {entry.name for entry in tmp_path.iterdir()} == {logs, onnx, f"{ODD}.yaml"}


@pytest.mark.slow
@pytest.mark.parametrize("storage", [[], ["--storage", f"sqlite:///{ODD.replace('?', '')}.db"]], ids=["folder", "file"])
def test_a_study_runs_on_one_core_in_folders_of_any_name(storage: list[str], tmp_path: Path) -> None:
    file = tmp_path / f"{ODD}.yaml"
    file.write_text(STUDY)

    def sweep(words: list[str]) -> str:
        command = [sys.executable, str(ROOT / "sweep.py"), *words]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, preexec_fn=one_core, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = sweep(["run", file.name, "--studies-dir", ODD, "--workers", "2", *storage])
    report = shlex.split(said.splitlines()[-1].partition("python sweep.py ")[2])
    assert [*report[:2], *report[-2:]] == ["report", file.name, "--studies-dir", ODD]
    sweep(report)
    assert (tmp_path / ODD / "odd" / "report" / "report.html").is_file()


def one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what may be written is told by Linux's rules")
def test_container_in_which_little_may_be_written(tmp_path: Path) -> None:
    """A checkout and a home that cannot be written, no rights, a notebook's backend, one core, no terminal."""
    checkout = tmp_path / "checkout"
    for package in ("agents", "envs", "policies"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
        for folder in (checkout / package, *(path for path in (checkout / package).rglob("*") if path.is_dir())):
            (folder / "__pycache__").touch()
    shutil.copy(ROOT / "train.py", checkout)
    (tmp_path / "w").mkdir()
    environment = {"HOME": "/dev/null/x", "MPLBACKEND": "module://nowhere.backend_inline", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, str(checkout / "train.py"), "--env", "CartPole-v1", *TINY, "--run-name", "run"],
        cwd=tmp_path / "w", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        preexec_fn=one_core, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w" / "logs" / "CartPole-v1" / "run" / "result.json").is_file()
    assert os.listdir(tmp_path / "w") == ["logs"]
    notes = [line.partition(":")[2].split()[0] for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert notes == ["MPLBACKEND=module://nowhere.backend_inline", "no"]
    assert "no folder for compiled code can be written" in done.stderr


@pytest.mark.parametrize("option", [[], ["--log-dir", "file"], ["--log-dir", "/dev/null/x"]])
def test_folder_of_runs_that_cannot_be_written(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("logs", "file"):
        Path(name).touch()
    assert call("train.py", "--env", "CartPole-v1", *TINY, *option, patch=monkeypatch) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: --log-dir {option[1] if option else 'logs'}")
    assert errors.count("\n") == 1


def test_no_folder_for_temporary_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main() -> None:
        with tempfile.TemporaryFile():
            raise OSError("of another kind")

    with pytest.raises(OSError, match="of another kind"):
        run(main)
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "file")])
    with pytest.raises(SystemExit, match="2"):
        run(main)
    assert capsys.readouterr().err == ("error: no folder for temporary files can be written: TMPDIR has to name one\n")
