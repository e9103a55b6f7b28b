"""Callbacks that a configuration names: recorded, resumed with their states, and never imported by a file's word."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from data_files import ROOT

from agents.callbacks import make_callbacks
from agents.configuration import configure, from_yaml, to_yaml
from agents.resumption.callback_states import by_state_key, callback_states
from agents.resumption.checkpoint import checkpoint_files
from agents.studies.ledger import recorded
from agents.training import train
from envs import modules
from policies.refusal import Refusal
from tests.same_runs import call

COUNTING = "own_callbacks:Counting:file='counted.txt'"
TINY = [
    *("--env", "CartPole-v1", "--budget", "90", "--n-envs", "2", "--n-steps", "32", "--n-epochs", "1"),
    *("--total-timesteps", "128", "--eval-every", "512", "--eval-episodes", "2", "--no-progress", "--run-name", "run"),
]
RUN = "logs/CartPole-v1/run"


def forget() -> None:
    """Let the module be as in a process that never imported it."""
    modules._NAMED.discard("own_callbacks")
    sys.modules.pop("own_callbacks", None)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "tests")
    forget()
    yield
    forget()


def test_one_is_recorded_and_goes_on_from_its_state(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train.py", *TINY, "--callback", COUNTING, patch=monkeypatch) == 0
    assert Path("counted.txt").read_text() == "64"  # of two environments each
    assert yaml.safe_load(Path(RUN, "config.yaml").read_text())["callbacks"] == [COUNTING]
    forget()
    longer = ["--resume", RUN, "--no-progress", "--total-timesteps", "256"]
    for words in (longer, ["--config", f"{RUN}/config.yaml", "--run-name", "other"]):
        capsys.readouterr()
        assert call("train.py", *words, patch=monkeypatch) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert f"--callback {shlex.quote(COUNTING)} is needed" in errors
        assert "own_callbacks" not in sys.modules
    assert call("train.py", *longer, "--callback", COUNTING, patch=monkeypatch) == 0
    assert Path("counted.txt").read_text() == "128"
    # What is done with a trained policy needs none.
    forget()
    assert call("evaluate.py", RUN, "--episodes", "2", patch=monkeypatch) == 0
    assert "own_callbacks" not in sys.modules
    # A resumed run may have others, which is recorded.
    capsys.readouterr()
    longer[-1] = "320"
    assert call("train.py", *longer, "--callback", "none", patch=monkeypatch) == 0
    assert "state of 'Counting', it is dropped" in capsys.readouterr().err
    changed = json.loads(Path(RUN, "result.json").read_text())["resumptions"][-1]["changed"]
    assert changed == {"total_timesteps": 320, "callbacks": "none"}


@pytest.mark.parametrize(("rebalance", "given"), [("none", "text"), ("momentum", "text"), ("none", "object")])
def test_one_that_returns_false_ends_the_training_between_two_updates(
    rebalance: str, given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"n_steps": 32, "n_envs": 2, "n_epochs": 1, "eval_episodes": 2, "total_timesteps": 256, "budget": 300}
    if rebalance != "none":
        options |= {"rebalance": rebalance, "rebalance_every": 1}
    common = options | {"progress": False, "env_arguments": {"max_episode_steps": 9}}
    modules.import_named("own_callbacks", "this test")
    texts = [f"{COUNTING},stop_at=80"] if given == "text" else []
    objects = [] if texts else make_callbacks([f"{COUNTING},stop_at=80"])
    stopped = train(configure("Reacher-v5", **common, run_name="stopped", callbacks=texts), objects)
    assert stopped.steps == 128
    assert "a callback ended the training after 128 steps" in capsys.readouterr().err
    resume = ["--resume", str(stopped.path), "--no-progress", *(["--callback", "none"] if texts else [])]
    assert call("train.py", *resume, patch=monkeypatch) == 0
    whole = train(configure("Reacher-v5", **common, run_name="whole"))
    policies = [path / "final" / "policy.safetensors" for path in (stopped.path, whole.path)]
    assert policies[0].read_bytes() == policies[1].read_bytes()


def test_one_that_raises_stops_the_training_with_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train.py", *TINY, "--callback", f"{COUNTING},raise_at=100", patch=monkeypatch) == 3
    errors = capsys.readouterr().err
    assert "Traceback" in errors
    *_, last = errors.splitlines()
    assert "a callback failed: LookupError: nothing to count (" in last
    assert "own_callbacks.py, line " in last
    assert "goes on from its checkpoint after 64 steps" in last
    assert checkpoint_files(Path(RUN))[-1].stem == "64"


def test_a_state_that_cannot_be_had_or_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stateful = "own_callbacks:Remembering:memory="
    assert call("train.py", *TINY, "--callback", f"{stateful}None", patch=monkeypatch) == 3
    assert "a callback failed: LookupError: nothing to remember (" in capsys.readouterr().err.splitlines()[-1]
    for number, (memory, kind) in enumerate(((r"b'raw'", "bytes"), ("[{1}]", "set"))):
        words = [*TINY[:-1], f"run-{number}", "--callback", stateful + memory]
        assert call("train.py", *words, patch=monkeypatch) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert f"no checkpoint can hold the {kind} at callbacks/Remembering/memory" in errors
    modules.import_named("own_callbacks", "this test")
    (callback,) = make_callbacks([f"{stateful}[1]"])
    states = callback_states(by_state_key([callback]))
    callback.memory.append(2)  # type: ignore[attr-defined]
    assert states == {"Remembering": {"memory": [1]}}  # as it was then


UNFIT = {
    "own_callbacks": "module:Class",
    "own_callbacks:Countin": "own_callbacks has no Countin: did you mean Counting",
    "own_callbacks:Path": "Path is no stable_baselines3.BaseCallback",
    "own_callbacks:Counting:speed=1": "unexpected keyword argument 'speed'; it takes file, stop_at, raise_at",
    "own_callbacks:Unmade": "cannot be made: RuntimeError: no luck",
    "no_such_module:Counting": "module 'no_such_module' cannot be imported",
    "stable_baselines3.common.callbacks:StopTrainingOnMaxEpisodes": "missing a required argument: 'max_episodes'",
}


@pytest.mark.parametrize("text", UNFIT)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train.py", *TINY, "--callback", text, patch=monkeypatch) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: --callback ")
    assert UNFIT[text] in last
    assert not Path("logs").exists()


def test_a_study_finds_the_module_by_import(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("study.yaml").write_text(
        f'env: CartPole-v1\noptions: {{callbacks: ["{COUNTING}"], total_timesteps: 64, n_envs: 2, n_steps: 32, '
        "n_epochs: 1, eval_every: 64, eval_episodes: 2}\nsampler: grid\nparameters: {budget: [90]}\n"
    )
    assert call("sweep.py", "worker", "study.yaml", patch=monkeypatch) == 2
    assert "line 2, key 'options.callbacks'" in capsys.readouterr().err
    assert "own_callbacks" not in sys.modules
    common = ["study.yaml", "--import", "own_callbacks"]
    assert call("sweep.py", "worker", *common, patch=monkeypatch) == 0
    assert Path("counted.txt").read_text() == "32"
    capsys.readouterr()
    assert call("sweep.py", "show", *common, "--trial", "0", patch=monkeypatch) == 0
    shown = shlex.split(capsys.readouterr().out)
    assert shown[shown.index("--callback") + 1] == COUNTING
    assert "CartPole-v1" in shown  # which the module did not register


def test_two_with_states_of_one_key_are_refused() -> None:
    modules.import_named("own_callbacks", "this test")
    with pytest.raises(Refusal, match="states of one key, 'Counting'"):
        train(configure("CartPole-v1", callbacks=[COUNTING, COUNTING]))
    assert not Path("logs").exists()


def test_files_hold_them() -> None:
    configuration = configure("CartPole-v1", callbacks=[COUNTING])
    assert from_yaml(to_yaml(configuration)) == configuration
    assert "callbacks" not in recorded(configure("CartPole-v1"))  # as in studies that began before there were any
    with pytest.raises(Refusal, match="^callbacks 0 is 'a': module:Class"):
        configure("CartPole-v1", callbacks=["a"])
