"""Terminals, pipes and encodings that fail while a command works: words are lost, files and exit codes are not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_files import ROOT

from agents.configuration import configure
from agents.training import train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="file descriptors as POSIX has them")

MakeRun = Callable[..., Path]
TINY = ["--env", "CartPole-v1", "--budget", "300", "--n-envs", "2", "--n-steps", "64", "--batch-size", "128"]
TINY += ["--n-epochs", "1", "--total-timesteps", "256", "--eval-every", "256", "--eval-episodes", "2"]
TINY += ["--run-name", "run"]
FILES = {"final/policy.safetensors", "best/policy.safetensors", "result.json", "checkpoints/256.safetensors"}


def command(name: str, *options: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / f"{name}.py"), *map(str, options)]


def call(words: list[str], cwd: Path, **settings: Any) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), **settings.pop("environment", {})}
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.run(words, cwd=cwd, text=True, timeout=300, check=False, env=environment, **settings)


def in_shell(words: list[str], redirection: str, cwd: Path, **settings: Any) -> "subprocess.CompletedProcess[str]":
    return call(["bash", "-c", f'"$@" {redirection}', "bash", *words], cwd, **settings)


def assert_whole(run: Path) -> None:
    assert {str(file.relative_to(run)) for file in run.rglob("*")} >= FILES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        (">&-", ""),
        (">&- 2>&- <&-", ""),
        ("> >(true)", ""),
        (">/dev/full", "warning: standard output could not be written: No space left on device\n"),
        (">/dev/full 2>&1", ""),
    ],
)
def test_a_training_leaves_all_its_files(redirection: str, said: str, tmp_path: Path) -> None:
    result = in_shell(command("train", *TINY), redirection, tmp_path)
    assert (result.returncode, result.stderr) == (0, said)
    assert_whole(tmp_path / "logs" / "CartPole-v1" / "run")


@pytest.mark.parametrize(
    "encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_an_encoding_without_all_characters(encoding: dict[str, str], tmp_path: Path) -> None:
    result = call(command("train", *TINY), tmp_path, environment=encoding)
    assert (result.returncode, result.stderr) == (0, "")
    assert r" \xb1 " in result.stdout
    assert_whole(tmp_path / "logs" / "CartPole-v1" / "run")


@pytest.mark.slow
@pytest.mark.parametrize("vectorization", ["serial", "processes"])
def test_environments_that_print(vectorization: str, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(f"vectorization: {vectorization}\n")
    options = [*TINY, "--env", "strange_environments:Strange-v0", "--env-arg", "habit=prints", "--no-progress"]
    result = in_shell(command("train", *options, "--config", file), "> >(true)", tmp_path)
    assert result.returncode == 0, result.stderr
    assert_whole(tmp_path / "logs" / "Strange-v0" / "run")


def with_closed_terminal(words: list[str], cwd: Path, *, hangup: Any) -> int:
    """Start a command on a terminal, close it after the first line, and return the exit code.

    :param hangup: what the command does at SIGHUP before it decides itself
    """
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        signal.signal(signal.SIGHUP, hangup)
        os.execv(words[0], words)
    while os.read(terminal, 1) != b"\n":
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_terminal_that_is_closed_under_a_training_that_goes_on(tmp_path: Path) -> None:
    assert with_closed_terminal(command("train", *TINY), tmp_path, hangup=signal.SIG_IGN) == 0
    assert_whole(tmp_path / "logs" / "CartPole-v1" / "run")


PROGRAM = """
import signal, sys
from agents.configuration import configure
from agents.training import train
print("started", flush=True)
train(configure("CartPole-v1", budget=300, n_envs=2, n_steps=64, batch_size=128, n_epochs=1, total_timesteps=256,
                eval_every=256, eval_episodes=2, run_name="run"))
"""


def test_the_progress_bar_of_a_program_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = [sys.executable, "-c", PROGRAM]
    assert with_closed_terminal(words, tmp_path, hangup=signal.SIG_IGN) == 0
    assert_whole(tmp_path / "logs" / "CartPole-v1" / "run")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_progress_bar_on_a_stream_that_is_closed(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"budget": 300, "n_envs": 2, "n_steps": 64, "batch_size": 128, "n_epochs": 1, "total_timesteps": 256}
    with (tmp_path / "words").open("w", encoding=encoding) as closed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        closed.close()
        result = train(
            configure("CartPole-v1", **options, eval_every=256, eval_episodes=2, log_dir=str(tmp_path), run_name="run")
        )
    assert_whole(result.path)
    said = [line for line in capsys.readouterr().err.splitlines() if "progress bar" in line]
    assert len(said) == 1
    assert "closed file" in said[0]


@pytest.fixture(scope="module")
def cartpole(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("logs"), "CartPole-v1")


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("> >(true)", 141, ""),
        (">/dev/full", 2, "error: standard output could not be written: No space left on device\n"),
        (">&-", 0, ""),
    ],
)
@pytest.mark.parametrize("name", ["specify", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_commands_whose_result_is_what_they_print(
    name: str, redirection: str, code: int, said: str, cartpole: Path, tmp_path: Path
) -> None:
    options: list[str | Path] = ["--env", "CartPole-v1", "--budget", "300"]
    if name == "evaluate":
        options = [cartpole, "--episodes", "2", "--json"]
    # `true` has ended before anything is printed.
    result = in_shell(command(name, *options), redirection, tmp_path)
    assert (result.returncode, result.stderr) == (code, said)


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"PYTHONIOENCODING": "ascii"}])
@pytest.mark.parametrize("redirection", ["> >(true)", "> words"])
def test_exports(redirection: str, environment: dict[str, str], cartpole: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    words = command("export", cartpole, "--output", "policy.onnx")
    result = in_shell(words, redirection, tmp_path, environment=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "policy.onnx").is_file()


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_a_refusal_that_nobody_hears(redirection: str, tmp_path: Path) -> None:
    result = in_shell(command("train", *TINY, "--budget", "many"), redirection, tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
