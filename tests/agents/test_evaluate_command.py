"""evaluate.py as a user meets it: what it prints, and one line with exit code 2 for bad input."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from data_files import ROOT

import evaluate
from agents.command_line import run as run_command

MakeRun = Callable[..., Path]
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM")
"""Variables that choose where is drawn; MuJoCo leaves the last one behind in the process of the tests."""


@pytest.fixture(scope="module")
def cartpole(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("logs"), "CartPole-v1")


def call(*options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *map(str, options)],
        env={name: value for name, value in os.environ.items() if name not in DISPLAYS} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_json_is_all_there_is_on_stdout(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "RandomAnomaly-v0", env_arguments={"image_size": 12, "sequence_length": 3})
    strip = tmp_path / "strip.png"
    result = call(run, "--json", "--episodes", "30", "--video", strip, "--video-episodes", "2", "--seed", "5")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    entries = json.loads(result.stdout)
    assert (entries["episodes"], entries["seed"], entries["mean_length"]) == (30, 5, 4.0)
    assert entries["env_arguments"]["split"] == "test"
    assert entries["success_rate_interval"][0] < entries["success_rate"] < entries["success_rate_interval"][1]
    assert entries["video"] == str(strip)
    assert strip.read_bytes()[1:4] == b"PNG"


def test_watching_needs_a_display(cartpole: Path) -> None:
    result = call(cartpole, "--watch", "--episodes", "1")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "display" in result.stderr


def test_missing_library_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "InvertedPendulum-v5")
    # The library cannot be loaded, installed or not: empty files of all its names come before it.
    hidden = tmp_path / "empty"
    hidden.mkdir()
    for version in ("", *(f".{number}" for number in range(10))):
        (hidden / f"libOSMesa.so{version}").touch()
    result = call(run, "--video", tmp_path / "film.mp4", MUJOCO_GL="osmesa", LD_LIBRARY_PATH=str(hidden))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "libosmesa6" in result.stderr


def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str | Path
) -> tuple[int, str, str]:
    """Run the command line in this process, where the libraries are loaded already."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, options)])
    code = 0
    try:
        run_command(evaluate.main)
    except SystemExit as error:
        code = int(error.code or 0)
    return code, *capsys.readouterr()


def test_report(cartpole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for policy in (cartpole, cartpole.with_suffix(".onnx")):
        code, out, err = in_process(monkeypatch, capsys, policy, "--episodes", "12")
        assert (code, err) == (0, "")
        assert "12 episodes from seed 2000000000" in out
        reports.append(out.splitlines()[1:4])
    assert reports[0] == reports[1]


BAD_CALLS = {
    "nothing": ([], "RUN_OR_ONNX"),
    "no run": (["TMP"], "is no run folder"),
    "nothing there": (["TMP/nothing"], "is no run folder"),
    "no such file": (["TMP/nothing.onnx"], "cannot be read"),
    "another file": (["RUN/config.yaml"], "neither a run folder nor an .onnx file"),
    "damaged file": (["TMP/damaged.onnx"], "damaged.onnx"),
    "unknown policy of the run": (["RUN", "--which", "last"], "--which"),
    "which of a file": (["ONNX", "--which", "best"], "--which"),
    "unknown environment": (["RUN", "--env", "CartPole-v9"], "CartPole-v1"),
    "module that is not there": (["RUN", "--env", "nowhere:CartPole-v1"], "nowhere"),
    "other shapes": (["RUN", "--env", "Acrobot-v1"], "Acrobot-v1"),
    "other shapes than the file's": (["ONNX", "--env", "Acrobot-v1"], "Acrobot-v1"),
    "unknown argument": (["RUN", "--env-arg", "colour=red"], "--env-arg"),
    "malformed argument": (["RUN", "--env-arg", "colour"], "--env-arg"),
    "other split": (["RUN", "--env-arg", "split=train"], "--env-arg split"),
    "no episodes": (["RUN", "--episodes", "0"], "--episodes"),
    "episodes are no number": (["RUN", "--episodes", "many"], "--episodes"),
    "negative seed": (["RUN", "--seed", "-1"], "--seed"),
    "noise of a file": (["ONNX", "--stochastic"], "--stochastic"),
    "unknown kind of video": (["RUN", "--video", "TMP/film.avi"], ".mp4 or .gif"),
    "still picture of a film": (["RUN", "--video", "TMP/film.png"], ".mp4 or .gif"),
    "video nowhere": (["RUN", "--video", "TMP/nowhere/film.mp4"], "cannot be written"),
    "episodes of no video": (["RUN", "--video-episodes", "2"], "--video FILE"),
    "video of no episodes": (["RUN", "--video", "TMP/film.mp4", "--video-episodes", "0"], "--video-episodes"),
    "abbreviated option": (["RUN", "--episode", "2"], "--episode"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_one_line(
    name: str, cartpole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options, named = BAD_CALLS[name]
    (tmp_path / "damaged.onnx").write_bytes(cartpole.with_suffix(".onnx").read_bytes()[:500])
    before = sorted(tmp_path.rglob("*"))
    places = {"RUN": str(cartpole), "ONNX": str(cartpole.with_suffix(".onnx")), "TMP": str(tmp_path)}
    for word, place in places.items():
        options = [option.replace(word, place) for option in options]
    code, out, err = in_process(monkeypatch, capsys, *options)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert named in err
    assert sorted(tmp_path.rglob("*")) == before
