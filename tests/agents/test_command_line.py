"""The command lines as a user meets them: what they print, and one line with exit code 2 for bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_files import ROOT

SHORT = ["--total-timesteps", "512", "--n-envs", "2", "--n-steps", "128", "--batch-size", "128", "--eval-episodes", "3"]


def call(script: str, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / script), *options],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


BAD_CALLS = {
    "no environment": ([], "--env"),
    "unknown environment": (["--env", "AdroitHandHamer-v1"], "AdroitHandHammer-v1"),
    "unsupported observation": (["--env", "worded:Worded-v0"], "at 'mission', Box, Discrete, MultiDiscrete, "),
    "unknown environment argument": (["--env", "CartPole-v1", "--env-arg", "colour=red"], "--env-arg"),
    "malformed environment argument": (["--env", "CartPole-v1", "--env-arg", "colour"], "--env-arg"),
    "proportion of one": (["--env", "CartPole-v1", "--hidden-proportion", "1"], "--hidden-proportion"),
    "proportion is not a number": (["--env", "CartPole-v1", "--hidden-proportion", "nan"], "--hidden-proportion"),
    "budget too small": (["--env", "AdroitHandHammer-v1", "--budget", "20"], "budget"),
    "budget is no number": (["--env", "CartPole-v1", "--budget", "many"], "--budget"),
    "contradiction": (
        ["--env", "CartPole-v1", "--architecture", "dense", "--hidden-proportion", "0.3"],
        "--hidden-proportion",
    ),
    "unknown block": (["--env", "CartPole-v1", "--density", "zz=0.5"], "--density"),
    "malformed block": (["--env", "CartPole-v1", "--density", "hh:0.5"], "--density"),
    "block pinned twice": (["--env", "CartPole-v1", "--density", "hh=0.5", "--density", "hh=0.6"], "--density"),
    "batch size": (["--env", "CartPole-v1", "--n-steps", "128", "--batch-size", "100"], "--batch-size"),
    "unknown option": (["--env", "CartPole-v1", "--bugdet", "3"], "--bugdet"),
    "abbreviated option": (["--env", "CartPole-v1", "--bud", "300"], "--bud"),
    "log folder is a file": (["--env", "CartPole-v1", "--log-dir", "taken"], "--log-dir"),
    "run exists": (["--env", "CartPole-v1", "--run-name", "old"], "--run-name"),
    "run name with a path": (["--env", "CartPole-v1", "--run-name", "../old"], "--run-name"),
    "initialization": (["--env", "CartPole-v1", "--init", "uniform"], "init"),
    "device": (["--env", "CartPole-v1", "--device", "abacus"], "--device"),
    "argument the batch does not take": (
        ["--env", "RandomAnomaly-v0", "--env-arg", "max_episode_steps=5"],
        "--env-arg",
    ),
    "cut of a batch": (
        ["--env", "RandomAnomaly-v0", "--training-episode-steps", "5"],
        "--training-episode-steps",
    ),
    "cut of no step": (["--env", "CartPole-v1", "--training-episode-steps", "0"], "--training-episode-steps"),
    "clipping of another kind": (["--env", "CartPole-v1", "--grad-clipping", "each"], "--grad-clipping"),
    "device without data": (["--env", "CartPole-v1", "--device", "meta"], "--device"),
    "minibatch of one step": (["--env", "CartPole-v1", "--n-steps", "1", "--batch-size", "1"], "--batch-size"),
    "endless run name": (["--env", "CartPole-v1", "--run-name", "x" * 300], "--run-name"),
    "corrected reward elsewhere": (["--env", "CartPole-v1", "--reward", "corrected"], "--reward"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_one_line_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    options, named = BAD_CALLS[name]
    (tmp_path / "taken").write_text("a file")
    old = tmp_path / "logs" / "CartPole-v1" / "old"
    old.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    result = call("train.py", *options, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert named in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_train_writes_a_run_folder(tmp_path: Path) -> None:
    options = ["--env", "CartPole-v1", "--hidden-proportion", "0.4", "--no-progress", "--run-name", "first", *SHORT]
    result = call("train.py", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "return" in result.stdout
    run = tmp_path / "logs" / "CartPole-v1" / "first"
    assert str(run.relative_to(tmp_path)) in result.stdout
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    expected = {
        "config.yaml",
        "network.json",
        "result.json",
        "progress.csv",
        "best/policy.safetensors",
        "best/normalization.json",
        "final/policy.safetensors",
        "final/normalization.json",
        "checkpoints/0.safetensors",
        "checkpoints/512.safetensors",
        ".lock",
    }
    assert expected <= names
    others = {name for name in names - expected if not name.startswith("events.")}
    assert all(name.startswith("checkpoints/") for name in others - {".lock"})
    figures = json.loads((run / "result.json").read_text())
    assert figures["steps"] == 512
    assert figures["final"]["episodes"] == 3
    assert len(figures["curve"]) == 1


def test_specify_table_and_json(tmp_path: Path) -> None:
    size = ["--inputs", "46", "--outputs", "26"]
    table = call("specify.py", *size, "--budget", "50000", "--hidden-proportion", "0.5", cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert "236" in table.stdout
    assert "0.4489" in table.stdout
    for_machines = call("specify.py", "--env", "AdroitHandHammer-v1", "--budget", "50000", "--json", cwd=tmp_path)
    network = json.loads(for_machines.stdout)
    assert network["actor"]["n_hidden"] == 236
    assert sum(network["actor"]["weights"].values()) == 50_000


@pytest.mark.parametrize(
    "options", [[], ["--inputs", "3"], ["--env", "CartPole-v1", "--inputs", "3"], ["--inputs", "0", "--outputs", "2"]]
)
def test_specify_refuses_in_one_line(options: list[str], tmp_path: Path) -> None:
    result = call("specify.py", *options, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr


def test_file_of_options(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "env: CartPole-v1\nbudget: 300\nfinal_episodes: 5\nprogress: false\n"
        "presets: {CartPole-v1: {run_name: own, normalize_observation: false}}\n"
    )
    table = call("specify.py", "--config", "own.yaml", "--json", cwd=tmp_path)
    assert sum(json.loads(table.stdout)["actor"]["weights"].values()) == 300
    result = call("train.py", "--config", "own.yaml", *SHORT, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = tmp_path / "logs" / "CartPole-v1" / "own"
    figures = json.loads((run / "result.json").read_text())
    assert (figures["final"]["episodes"], figures["best"]["episodes"]) == (5, 3)
    assert not (run / "best" / "normalization.json").exists()
    resumed = call("train.py", "--config", "own.yaml", "--resume", str(run), cwd=tmp_path)
    assert (resumed.returncode, resumed.stderr.count("\n")) == (2, 1)
    assert "--config" in resumed.stderr
    unlocated = call("train.py", "--config", "own.yaml", "--budget", "20", cwd=tmp_path)
    assert "--budget 20" in unlocated.stderr
    located = call("specify.py", "--config", "own.yaml", "--hidden-proportion", "0.999", cwd=tmp_path)
    assert (located.returncode, located.stderr.count("\n")) == (2, 1)
    assert "own.yaml, line 2, key 'budget'" in located.stderr


def test_what_may_surprise_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    (tmp_path / "taken").touch()
    options = ["--env", "picky:Picky-v0", "--budget", "300", "--log-dir", "taken"]
    bounds, limit, refusal = call("train.py", *options, cwd=tmp_path).stderr.splitlines()
    assert "gymnasium.wrappers:RescaleAction" in bounds
    assert "--env-arg max_episode_steps=N" in limit
    assert refusal.startswith("error: --log-dir")
