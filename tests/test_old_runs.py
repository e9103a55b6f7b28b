"""Runs, checkpoints, studies and ONNX files of an earlier version load, evaluate, resume and export as before."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy

from agents.building import load_agent
from agents.configuration import configure, from_yaml
from agents.training import train
from tests.old_runs import DATA, EPISODES, ONNX, RUNS, evaluated, results, resumed
from tests.same_runs import ROOT, TOLERANCE, call, check, figures_of, machine

RECORDS = json.loads((DATA / "records.json").read_text())
EXACT = machine() == RECORDS["machine"]
ANOMALY = "runs/RandomAnomaly-v0/interrupted"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a copy of everything, which is the folder at hand."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("policy", [*RUNS, *ONNX])
def test_evaluates_as_before(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(evaluated(policy, monkeypatch), RECORDS["evaluations"][policy], RECORDS["machine"])


@pytest.mark.parametrize("run", RUNS)
def test_resumes_as_before(run: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (here / run / "progress.csv").read_text().splitlines()
    # Elsewhere a rounding may tip the balance between two actions of CartPole, which changes an episode's length.
    check(resumed(run, monkeypatch), RECORDS["resumed"][run], RECORDS["machine"], returns=0.1)
    after = (here / run / "progress.csv").read_text().splitlines()
    assert after[0].startswith(rows[0])
    assert len(after) > len(rows)
    assert [row.rstrip(",") for row in after[1 : len(rows)]] == [row.rstrip(",") for row in rows[1:]]


@pytest.mark.parametrize("run", [ANOMALY, "runs/AdroitHandHammer-v1/corrected"])
def test_resumed_run_equals_one_that_was_never_stopped(run: str, here: Path) -> None:
    recorded = dict(RECORDS["resumed"][run])
    assert recorded.pop("exact") == [True]
    options = dict(from_yaml((here / run / "config.yaml").read_text())) | {"run_name": "whole", "device": "cpu"}
    options["total_timesteps"] = recorded.pop("steps")
    check(figures_of(train(configure(**options)).path), recorded, RECORDS["machine"])


@pytest.mark.parametrize("run", RUNS)
def test_loads_every_weight_and_statistic(run: str, here: Path) -> None:
    for which in ("best", "final") if run != ANOMALY else ("best",):
        policy, normalization, configuration = load_agent(run, which)
        state = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
        recorded = safetensors.numpy.load((here / run / which / "policy.safetensors").read_bytes())
        assert state.keys() == recorded.keys()
        for name, array in recorded.items():
            assert np.array_equal(state[name], array), name
            assert state[name].dtype == array.dtype, name
        statistics = here / run / which / "normalization.json"
        assert (normalization is not None) == statistics.is_file()
        if normalization is not None:
            content = json.loads(statistics.read_text())
            assert np.array_equal(normalization.mean, content["mean"])
            assert np.array_equal(normalization.variance, content["variance"])
        assert configuration.env == Path(run).parts[1]
    if "corrected" in run:
        assert configuration.reward == "corrected"
        assert dict(configuration.env_arguments) == {"reward_type": "dense", "max_episode_steps": 20}
        assert dict(configuration.densities) == {"hy": 0.5}


@pytest.mark.parametrize("file", ONNX)
def test_exports_what_acts_as_the_old_file(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("export.py", ONNX[file], "--output", "new.onnx", patch=monkeypatch) == 0
    old, new = (onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"]) for name in (file, "new.onnx"))
    metadata = [session.get_modelmeta().custom_metadata_map for session in (old, new)]
    for entry in metadata:
        del entry["versions"]
    assert metadata[0] == metadata[1]
    shapes = [[(i.name, i.type, i.shape) for i in (*s.get_inputs(), *s.get_outputs())] for s in (old, new)]
    assert shapes[0] == shapes[1]
    names = [output.name for output in old.get_outputs()]
    observation, state, _ = old.get_inputs()
    generator = np.random.default_rng(0)
    feed = {
        "observation": generator.standard_normal((8, observation.shape[1])).astype(np.float32),
        "state": generator.uniform(0, 1, (8, state.shape[1])).astype(np.float32),
        "episode_start": (np.arange(8) % 2).astype(np.float32),
    }
    for name, before, after in zip(names, old.run(names, feed), new.run(names, feed), strict=True):
        if EXACT:
            assert np.array_equal(before, after), name
        else:
            assert after == pytest.approx(before, rel=TOLERANCE, abs=1e-5), name


def test_study_goes_on_and_reports_as_before(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = results(here / "results.csv")
    done = [cell for cell, row in recorded.items() if row["status"] == "complete"]
    assert len(done) == 2
    assert call("sweep.py", "run", "study.yaml", patch=monkeypatch) == 0
    trained = {path.parent.name for path in here.glob("studies/study/CartPole-v1/*/result.json")}
    assert trained == {"drawn-0000-seed1-attempt2", "baseline-0000-seed1"}

    assert call("sweep.py", "report", "study.yaml", "--out", "report", patch=monkeypatch) == 0
    assert "4 of 4 cells are done." in capsys.readouterr().out
    reported = results(here / "report" / "results.csv")
    assert {cell: reported[cell] for cell in done} == {cell: recorded[cell] for cell in done}
    # A row per cell in the old file's columns: two as they were, two that are new.
    assert list(next(iter(reported.values()))) == list(next(iter(recorded.values())))
    assert sorted(reported) == sorted({*done, "drawn-0000-seed1", "baseline-0000-seed1"})
    assert {row["status"] for row in reported.values()} == {"complete"}


@pytest.mark.slow
def test_new_processes_know_the_old_environments(here: Path) -> None:
    commands = [
        ["evaluate.py", ANOMALY, "--episodes", str(EPISODES), "--json"],
        ["train.py", "--resume", ANOMALY, "--no-progress"],
    ]
    for command in commands:
        ended = subprocess.run(
            [sys.executable, str(ROOT / command[0]), *command[1:]],
            cwd=here,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
