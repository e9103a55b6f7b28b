"""Runs of wrapped environments: recorded, evaluated, filmed, exported, resumed and studied with the same wrappers.

A module of a user's own is named again on the command line, and never imported because a file names it.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from data_files import ROOT

from agents.configuration import configure, from_yaml, to_yaml
from agents.studies.ledger import configuration_of, recorded
from agents.trained.policy import load_trained_policy
from agents.trained.recording import record
from agents.trained.report import evaluate_policy
from agents.training import train
from envs import modules
from envs.task import TASKS, Task
from policies.refusal import Refusal
from tests.same_runs import call

OWN = ["own_wrappers:Wider:by=(0.5, 1.0)", "own_wrappers:Paid:amount=2.0", "own_wrappers:Short"]
THEIRS = "gymnasium.wrappers:TimeAwareObservation:normalize_time=True"
WORDS = [word for text in (THEIRS, *OWN) for word in ("--wrapper", text)]
TINY = [
    *("--budget", "90", "--total-timesteps", "64", "--n-envs", "2", "--n-steps", "32", "--n-epochs", "1"),
    *("--eval-every", "64", "--eval-episodes", "2", "--no-progress", "--log-dir", "logs", "--run-name", "run"),
]
RUN = "logs/CartPole-v1/run"


def forget() -> None:
    """Let the module be as in a process that never imported it."""
    modules._NAMED.discard("own_wrappers")
    sys.modules.pop("own_wrappers", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and its exported policy."""
    folder = tmp_path_factory.mktemp("wrapped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(ROOT / "tests")
        assert call("train.py", "--env", "CartPole-v1", *WORDS, *TINY, patch=patch) == 0
        forget()
        assert call("export.py", RUN, *WORDS, patch=patch) == 0
    forget()
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(trained)
    yield trained
    forget()


def test_wrappers_are_recorded_and_used_by_the_training(here: Path) -> None:
    assert yaml.safe_load((here / RUN / "config.yaml").read_text())["wrappers"] == [THEIRS, *OWN]
    final = json.loads((here / RUN / "result.json").read_text())["final"]
    assert (final["mean_return"], final["mean_length"], final["success_rate"]) == (4, 2, 1)


@pytest.mark.parametrize("policy", [RUN, f"{RUN}/policy.onnx"])
def test_evaluation_has_them(
    policy: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("evaluate.py", policy, *WORDS, "--episodes", "3", "--json", patch=monkeypatch) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["wrappers"] == [THEIRS, *OWN]
    assert (report["mean_return"], report["success_rate"]) == (4, 1)
    # Others of the same shapes are in place of all of them.
    others = [word for text in (THEIRS, *OWN[:1]) for word in ("--wrapper", text)]
    assert call("evaluate.py", policy, *others, "--episodes", "3", "--json", patch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["mean_length"] > 2
    assert call("evaluate.py", policy, "--wrapper", "none", patch=monkeypatch) == 2
    assert "does not fit" in capsys.readouterr().err


COMMANDS = {
    "evaluate.py": [RUN],
    "evaluate.py ": [f"{RUN}/policy.onnx"],
    "export.py": [RUN],
    "train.py": ["--resume", RUN, "--total-timesteps", "999"],
    "train.py ": ["--config", f"{RUN}/config.yaml"],
    "specify.py": ["--config", f"{RUN}/config.yaml"],
}


@pytest.mark.parametrize("script", COMMANDS)
def test_every_command_says_what_to_pass_and_imports_nothing(
    script: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(script.strip(), *COMMANDS[script], patch=monkeypatch) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert f"{shlex.join(WORDS)} is needed" in errors
    assert "own_wrappers" not in sys.modules


def test_a_resumed_run_keeps_its_wrappers(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--resume", RUN, "--no-progress", "--total-timesteps", "128"]
    assert call("train.py", *words, *WORDS[2:], patch=monkeypatch) == 2
    assert "--wrapper" in capsys.readouterr().err
    assert call("train.py", *words, "--wrapper", "none", patch=monkeypatch) == 2
    assert f"--wrapper none does not fit the resumed run, which has {THEIRS} {OWN[0]} " in capsys.readouterr().err
    assert call("train.py", *words, *WORDS, patch=monkeypatch) == 0
    assert json.loads((here / RUN / "result.json").read_text())["final"]["mean_return"] == 4


def test_a_run_is_exported_with_its_own_wrappers(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("export.py", RUN, *WORDS[2:], patch=monkeypatch) == 2
    assert "--wrapper own_wrappers:Wider" in capsys.readouterr().err


def test_the_example_says_that_the_policy_sees_a_wrapped_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_policy.py", f"{RUN}/policy.onnx"])
    with pytest.raises(SystemExit, match="own_wrappers:Short"):
        exec(compile((ROOT / "examples/run_policy.py").read_text(), "run_policy.py", "exec"), {})


def test_a_study_finds_the_module_by_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study.yaml").write_text(
        f"env: CartPole-v1\noptions: {{wrappers: {json.dumps(OWN)}, total_timesteps: 64, n_envs: 2, n_steps: 32, "
        "n_epochs: 1, eval_every: 64, eval_episodes: 2}\nsampler: grid\nparameters: {budget: [90]}\n"
    )
    monkeypatch.chdir(tmp_path)
    forget()
    assert call("sweep.py", "worker", "study.yaml", patch=monkeypatch) == 2
    errors = capsys.readouterr().err
    assert "line 2, key 'options.wrappers'" in errors
    assert "--import MODULE is needed" in errors
    assert "own_wrappers" not in sys.modules
    try:
        common = ["study.yaml", "--import", "own_wrappers"]
        assert call("sweep.py", "worker", *common, patch=monkeypatch) == 0
        (run,) = (tmp_path / "studies" / "study" / "CartPole-v1").iterdir()
        assert json.loads((run / "result.json").read_text())["final"]["mean_return"] == 4
        capsys.readouterr()
        assert call("sweep.py", "show", *common, "--trial", "0", patch=monkeypatch) == 0
        shown = shlex.split(capsys.readouterr().out)
        assert [shown[index + 1] for index, word in enumerate(shown) if word == "--wrapper"] == OWN
        assert "CartPole-v1" in shown  # which the module did not register
    finally:
        forget()


def test_a_video_is_of_the_wrapped_environment(tmp_path: Path) -> None:
    """And a task draws nothing, whose observations may be others."""
    options = {"total_timesteps": 64, "n_envs": 2, "n_steps": 32, "n_epochs": 1, "eval_every": 64, "eval_episodes": 2}
    common = {**options, "log_dir": str(tmp_path), "progress": False, "batch_size": 64}
    flattened = ["gymnasium.wrappers:RescaleObservation:min_obs=0.0,max_obs=1.0"]
    run = train(configure("CartPole-v1", budget=90, wrappers=["gymnasium.wrappers:TimeAwareObservation"], **common))
    record(load_trained_policy(run.path), tmp_path / "film.gif", episodes=1, first_seed=0)
    assert (tmp_path / "film.gif").stat().st_size > 1000
    arguments = {"image_size": 8, "sequence_length": 3}
    run = train(configure("RandomAnomaly-v0", budget=900, wrappers=flattened, env_arguments=arguments, **common))
    policy = load_trained_policy(run.path)
    assert policy.env_arguments["split"] == "test"
    evaluation = evaluate_policy(policy, episodes=5, first_seed=0).evaluation
    np.testing.assert_array_equal(evaluation.lengths, 4)
    assert evaluation.successes is not None
    with pytest.raises(Refusal, match=r"video .*still\.png does not fit"):
        record(policy, tmp_path / "still.png", episodes=1, first_seed=0)
    record(policy, tmp_path / "rendered.gif", episodes=1, first_seed=0)


def test_wrappers_of_a_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "Guess-v0", Task(ids=("Guess-v0",), preset={"wrappers": (THEIRS,)}))
    for given, expected in (({}, (THEIRS,)), ({"wrappers": ()}, ()), ({"wrappers": OWN}, tuple(OWN))):
        configuration = configure("Guess-v0", **given)
        assert configuration.wrappers == expected
        assert from_yaml(to_yaml(configuration)) == configuration
        assert configuration_of(json.loads(json.dumps(recorded(configuration)))).wrappers == expected
    assert "wrappers" not in recorded(configure("CartPole-v1"))  # as in studies that began before there were any


@pytest.mark.parametrize("wrappers", ["a:B", [3], ["a"], ["a:B:"], [":B"], ["a:B\n"], {"a": "B"}, None, ["a b:C"]])
def test_what_can_be_no_wrappers_is_refused(wrappers: object, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="^wrappers ") as caught:
        configure("CartPole-v1", wrappers=wrappers)
    assert "\n" not in str(caught.value)
    table = yaml.safe_load((trained / RUN / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(table | {"wrappers": wrappers}))
    with pytest.raises(Refusal, match="wrappers"):
        load_trained_policy(tmp_path)
