"""A training that was interrupted and resumed against one that never was."""

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from demonstration_data import write
from minari.data_collector import EpisodeBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.configuration import TrainingConfiguration, configure
from agents.demonstrations.phase import DemonstrationCallback
from agents.errors import Interrupted
from agents.monitoring.network import NetworkCallback
from agents.resumption.callback_states import state_key
from agents.resumption.checkpoint import Checkpoint, checkpoint_files
from agents.resumption.options import configuration_to_resume
from agents.runs.folder import package_versions
from agents.runs.lock import run_lock
from agents.training import TrainingResult, train
from envs.lookup import make_environment
from policies.refusal import Refusal

HAMMER = {
    "env": "AdroitHandHammer-v1",
    "n_envs": 3,
    "n_steps": 70,  # episodes go on over the ends of rollouts
    "training_episode_steps": 120,
    "batch_size": 70,
    "n_epochs": 2,
    "total_timesteps": 210 * 7,
    "eval_every": 400,
    "checkpoint_every": 420,
    "eval_episodes": 2,
    "budget": 2_000,
    "self_imitation": 1.0,
    "log_std_final": -2.0,
}
ANOMALY = {
    "env": "RandomAnomaly-v0",
    "n_envs": 8,
    "n_steps": 7,  # of eleven
    "batch_size": 28,
    "total_timesteps": 56 * 10,
    "eval_every": 280,
    "checkpoint_every": 112,
    "eval_episodes": 16,
    "budget": 4_000,
    "env_arguments": {"image_size": 16},
}
MOVING = ANOMALY | {"rebalance": "momentum", "rebalance_every": 2, "rebalance_until": 1.0, "hidden_proportion": 0.2}
CARTPOLE = {
    "env": "CartPole-v1",
    "n_envs": 2,
    "n_steps": 64,
    "batch_size": 64,
    "n_epochs": 2,
    "total_timesteps": 1024,
    "eval_every": 256,
    "checkpoint_every": 128,
    "eval_episodes": 2,
    "budget": 300,
}
TIMING = {"time/fps", "time/time_elapsed"}


class SignalAt(BaseCallback):
    """Sends this process a signal after so many steps, in the middle of a rollout."""

    def __init__(self, steps: int, number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__()
        self.steps, self.number = steps, number

    def _on_step(self) -> bool:
        if self.num_timesteps == self.steps:
            os.kill(os.getpid(), self.number)
        return True


class CopyAt(BaseCallback):
    """Copies the run folder after so many steps: what a process that is killed there leaves behind."""

    def __init__(self, steps: int, source: Path, target: Path) -> None:
        super().__init__()
        self.steps, self.source, self.target = steps, source, target

    def _on_step(self) -> bool:
        if self.num_timesteps == self.steps:
            shutil.copytree(self.source, self.target)
        return True


@pytest.fixture(scope="module")
def anomaly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training that was never interrupted."""
    return train(configured(ANOMALY, tmp_path_factory.mktemp("logs"), "whole")).path


def configured(task: dict[str, Any], tmp_path: Path, name: str, **options: Any) -> TrainingConfiguration:
    return configure(**(task | {"log_dir": str(tmp_path), "run_name": name, "progress": False} | options))


def resume(run: Path, **options: Any) -> TrainingResult:
    folder, configuration = configuration_to_resume(run, options)
    return train(configuration, resume=folder)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "progress.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(file)]


def scalars(run: Path) -> dict[str, list[tuple[int, str]]]:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    # Of the files that one process began within a second, TensorBoard reads the tenth before the ninth.
    return {
        tag: [(event.step, repr(event.value)) for event in sorted(events.Scalars(tag), key=lambda e: e.wall_time)]
        for tag in events.Tags()["scalars"]
        if tag not in TIMING
    }


def figures(run: Path) -> dict[str, Any]:
    content = json.loads((run / "result.json").read_text())
    return {key: value for key, value in content.items() if key not in ("seconds", "resumptions")}


def assert_same_run(run: Path, other: Path) -> None:
    for which in ("best", "final"):
        one, two = (safetensors.torch.load_file(path / which / "policy.safetensors") for path in (run, other))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
        statistics = [path / which / "normalization.json" for path in (run, other)]
        assert statistics[0].is_file() == statistics[1].is_file()
        if statistics[0].is_file():
            assert statistics[0].read_text() == statistics[1].read_text()
    assert (run / "network.json").read_text() == (other / "network.json").read_text()
    assert rows(run) == rows(other)
    assert scalars(run) == scalars(other)
    assert figures(run) == figures(other)


@pytest.mark.parametrize("task", [HAMMER, ANOMALY, MOVING], ids=["hammer", "anomaly", "weights that move"])
def test_interrupted_equals_uninterrupted(task: dict[str, Any], anomaly: Path, tmp_path: Path) -> None:
    whole = anomaly if task is ANOMALY else train(configured(task, tmp_path, "whole")).path

    if task is MOVING:
        networks = [json.loads((whole / "network.json").read_text())]
        networks.append(networks[0]["first"])
        assert networks[0]["actor"]["weights"] != networks[1]["actor"]["weights"]
    if task is HAMMER:
        assert any(row["train/self_imitation_gain"] for row in rows(whole))

    run = tmp_path / task["env"] / "stopped"
    killed = run.with_name("killed")
    step, rollout = task["n_envs"], task["n_envs"] * task["n_steps"]
    late = 5 * rollout + 3 * step
    with pytest.raises(Interrupted, match="--resume") as caught:
        train(
            configured(task, tmp_path, "stopped"),
            [CopyAt(4 * rollout + step, run, killed), SignalAt(late)],
        )
    assert caught.value.exit_code == 143
    assert "\n" not in str(caught.value)
    assert f"{5 * rollout:,} steps" in str(caught.value)  # the partial rollout was dropped, nothing else
    assert not (run / "final").exists()

    resume(run)
    assert_same_run(run, whole)
    assert [r["steps"] for r in json.loads((run / "result.json").read_text())["resumptions"]] == [5 * rollout]
    resume(killed)
    assert_same_run(killed, whole)
    assert [r["exact"] for r in json.loads((killed / "result.json").read_text())["resumptions"]] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["lstm", "gru"])
def test_gated_cells_and_several_interruptions(architecture: str, tmp_path: Path) -> None:
    task = ANOMALY | {"architecture": architecture}
    whole = train(configured(task, tmp_path, "whole"))
    run = whole.path.with_name("stopped")
    with pytest.raises(Interrupted):
        train(configured(task, tmp_path, "stopped"), [SignalAt(8)])  # in the first rollout
    for steps in (8 * 20, 8 * 37, 8 * 50):
        folder, configuration = configuration_to_resume(run, {})
        with pytest.raises(Interrupted):
            train(configuration, [SignalAt(steps, signal.SIGINT)], resume=folder)
    resume(run)
    assert_same_run(run, whole.path)


@pytest.mark.slow
def test_finished_run_goes_on_to_a_larger_goal(anomaly: Path, tmp_path: Path) -> None:
    half = train(configured(ANOMALY, tmp_path, "half", total_timesteps=280)).path
    with pytest.raises(ValueError, match="is finished"):
        configuration_to_resume(half, {})
    resume(half, total_timesteps=560)
    assert_same_run(half, anomaly)
    assert yaml.safe_load((half / "config.yaml").read_text())["total_timesteps"] == 560
    (resumption,) = json.loads((half / "result.json").read_text())["resumptions"]
    assert resumption["changed"] == {"total_timesteps": 560}


def test_killed_before_the_first_checkpoint_starts_again(anomaly: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    shutil.copytree(anomaly, run)  # logs of a lost attempt, no checkpoint
    for name in ("checkpoints", "final", "best"):
        shutil.rmtree(run / name)
    (run / "result.json").unlink()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / ".112.safetensors.tmp").write_bytes(b"half")
    resume(run)
    assert_same_run(run, anomaly)
    assert not list((run / "checkpoints").glob(".*"))


def test_damaged_checkpoints_are_passed_over(anomaly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "damaged"
    shutil.copytree(anomaly, run)
    for name in ("result.json", "final/policy.safetensors", "final/normalization.json"):
        (run / name).unlink(missing_ok=True)
    files = checkpoint_files(run)
    assert [file.stem for file in files] == ["336", "448", "560"]
    files[2].write_bytes(files[2].read_bytes()[:-100])
    content = bytearray(files[1].read_bytes())
    content[-50] ^= 1
    files[1].write_bytes(content)
    resume(run)
    assert capsys.readouterr().err.count("is damaged") == 2
    assert_same_run(run, anomaly)

    for file in checkpoint_files(run):
        file.write_bytes(b"")
    with pytest.raises(Refusal, match="cannot be used"):
        resume(run, total_timesteps=10_000)


@pytest.mark.slow
def test_interrupted_with_demonstrations_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of the fit, it fits again from the start; stopped after it, it goes on with PPO."""
    environment = make_environment("AdroitHandHammer-v1")
    buffers = []
    for episode in range(5):
        observation, _ = environment.reset(seed=episode)
        buffer = EpisodeBuffer(
            id=episode, observations=[observation], actions=[], rewards=[], terminations=[], truncations=[]
        )
        for step in range(40):
            action = np.sin(np.arange(26) + step / 5).astype(np.float32)
            observation, reward, *_ = environment.step(action)
            buffer.observations.append(observation)
            buffer.actions.append(action)
            buffer.rewards.append(float(reward))
            buffer.terminations.append(False)
            buffer.truncations.append(step == 39)
        buffers.append(buffer)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    write("test/hammer-v0", buffers, environment.observation_space, environment.action_space)
    environment.close()
    task = HAMMER | {"demos": str(tmp_path / "minari" / "test" / "hammer-v0"), "demo_epochs": 8, "demo_weight": 0.1}

    whole = train(configured(task, tmp_path, "whole")).path
    run = tmp_path / task["env"] / "stopped"

    dump = Logger.dump

    def dump_and_stop(self: Logger, step: int = 0) -> None:
        dump(self, step)
        if len(lines := _lines(run / "progress.csv")) == 4:
            assert "demos" in lines[0]
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Logger, "dump", dump_and_stop)
    with pytest.raises(Interrupted, match="from the start"):
        train(configured(task, tmp_path, "stopped"))
    monkeypatch.setattr(Logger, "dump", dump)
    assert not checkpoint_files(run)
    folder, configuration = configuration_to_resume(run, {})
    with pytest.raises(Interrupted, match="steps"):
        train(configuration, [SignalAt(210 * 3 + 30)], resume=folder)
    damaged = run.with_name("damaged")
    shutil.copytree(run, damaged)
    checkpoint = Checkpoint.from_bytes(checkpoint_files(damaged)[-1].read_bytes())
    del checkpoint.state["callbacks"]["DemonstrationCallback"]
    checkpoint_files(damaged)[-1].write_bytes(checkpoint.to_bytes())
    with pytest.raises(Refusal, match="demonstrations"):  # instead of another fit in the middle
        resume(damaged)
    resume(run)
    assert_same_run(run, whole)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def test_environments_that_cannot_be_restored_begin_new_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Interrupted):
        train(configured(CARTPOLE, tmp_path, "run"), [SignalAt(500)])
    run = tmp_path / "CartPole-v1" / "run"
    result = resume(run)
    assert "new episodes" in capsys.readouterr().err
    assert result.steps == 1024
    assert [point.steps for point in result.curve] == [256, 512, 768, 1024]
    assert json.loads((run / "result.json").read_text())["resumptions"] == [
        {"steps": 384, "exact": False, "changed": {}}
    ]
    steps = [int(row["time/total_timesteps"]) for row in rows(run) if row["time/iterations"]]
    assert steps == list(range(128, 1025, 128))
    assert [row["time/iterations"] for row in rows(run) if row["time/iterations"]] == [str(i) for i in range(1, 9)]


def test_stopped_in_an_evaluation(anomaly: Path, tmp_path: Path) -> None:
    class SignalInEvaluation(BaseCallback):
        """Sends the signal when the rollout has ended that the first evaluation follows."""

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            if self.num_timesteps == 280:
                os.kill(os.getpid(), signal.SIGTERM)

    run = tmp_path / "RandomAnomaly-v0" / "stopped"
    with pytest.raises(Interrupted, match="280 steps"):
        train(configured(ANOMALY, tmp_path, "stopped"), [SignalInEvaluation()])
    assert not (run / "best").exists()  # nothing was evaluated
    resume(run)
    assert_same_run(run, anomaly)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"env": "Pendulum-v1"}, "env"),
        ({"seed": 3}, "seed"),
        ({"run_name": "other"}, "run_name"),
        ({"eval_every": 0}, "eval_every"),
        ({"total_timesteps": 112}, "total_timesteps"),
    ],
)
def test_what_cannot_change_is_refused(options: dict[str, Any], named: str, anomaly: Path) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        configuration_to_resume(anomaly, options)
    assert "\n" not in str(caught.value)


def test_what_can_change_changes(anomaly: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(anomaly, run)
    result = resume(run, total_timesteps=672, eval_every=56, eval_episodes=4, keep=1, checkpoint_every=56, device="cpu")
    assert [point.steps for point in result.curve] == [280, 560, 616, 672]
    assert [file.stem for file in checkpoint_files(run)] == ["672"]


def test_a_run_in_use_is_refused(anomaly: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(anomaly, run)
    before = sorted(run.rglob("*"))
    with run_lock(run), pytest.raises(Refusal, match=f"is being trained by process {os.getpid()}"):
        resume(run, total_timesteps=616)
    assert sorted(run.rglob("*")) == before
    resume(run, total_timesteps=616)


def test_foreign_checkpoint_is_refused(anomaly: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(anomaly, run)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("budget: 4000", "budget: 5000"))
    with pytest.raises(Refusal, match="does not fit this run") as caught:
        resume(run, total_timesteps=616)
    assert "\n" not in str(caught.value)
    assert len(checkpoint_files(run)) == 3


def test_other_versions_of_packages_are_said(
    anomaly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(anomaly, run)
    here = package_versions()
    monkeypatch.setattr("agents.resumption.state.package_versions", lambda: {**here, "torch": "0.1"})
    resume(run, total_timesteps=616)
    assert f"note: the checkpoint was written with torch {here['torch']}: bits may differ" in capsys.readouterr().err
    monkeypatch.undo()
    resume(run, total_timesteps=672)
    assert "torch 0.1" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError])
def test_an_error_of_our_own_keeps_its_traceback(
    error: type[Exception], anomaly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error("a bug")

    run = tmp_path / "run"
    shutil.copytree(anomaly, run)
    monkeypatch.setattr(NetworkCallback, "set_state", broken)
    with pytest.raises(error, match="a bug") as caught:
        resume(run, total_timesteps=616)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("training optimizer actor.weights.hh exp_avg", np.zeros(3, np.float32), "(3,) of float32"),
        ("training policy actor.bias", None, "training.policy.actor.bias is None"),
        ("training policy actor.positions_hh", "reversed", "training.policy.actor: positions of block hh"),
        ("training policy actor.other", np.zeros(3), "training.policy holds actor.other"),
        ("training counters episodes", -1, "training.counters.episodes is -1"),
        ("training random numpy position", 625, "training.random.numpy.position is 625"),
        ("training random torch", np.zeros(5056, np.uint8), "training.random.torch is"),
        ("training environments environments generators", "x", "training.environments.environments.generators is 'x'"),
        ("training log", [], "training.log is a list"),
        ("callbacks EvaluationCallback best steps", 1, "callbacks.EvaluationCallback.best.steps is 1"),
        ("callbacks AnomalyPicturesCallback", {}, "callbacks.AnomalyPicturesCallback.acted_at is missing"),
        ("resumptions", [{"steps": 1, "exact": 2, "changed": {}}], "resumptions.0.exact is 2"),
        ("logs rows", True, "logs.rows is True"),
    ],
)
def test_what_does_not_fit_is_named(path: str, value: Any, said: str, anomaly: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(anomaly, run)
    checkpoint = Checkpoint.from_bytes(checkpoint_files(run)[-1].read_bytes())
    *tables, name = path.split()
    table: Any = checkpoint.state
    for each in tables:
        table = table[each]
    table[name] = table[name][::-1] if isinstance(value, str) and value == "reversed" else value
    checkpoint_files(run)[-1].write_bytes(checkpoint.to_bytes())
    with pytest.raises(ValueError, match=f"the checkpoint does not fit this run: .*{re.escape(said)}") as caught:
        resume(run, total_timesteps=616)
    assert "\n" not in str(caught.value)


def test_keys_of_a_state_may_hold_anything() -> None:
    state = {"a/b": np.ones(1), "a": {"b": np.zeros(1), "~1": np.ones(2)}, "a~1b": np.zeros(2)}
    read = Checkpoint.from_bytes(Checkpoint(3, state).to_bytes()).state
    assert {key: read[key].tolist() for key in ("a/b", "a~1b")} == {"a/b": [1], "a~1b": [0, 0]}
    assert {key: value.tolist() for key, value in read["a"].items()} == {"b": [0], "~1": [1, 1]}


class Counter(BaseCallback):
    """Counts steps, over interruptions too."""

    def __init__(self, state_key: str | None = None) -> None:
        super().__init__()
        self.steps, self.from_checkpoint = 0, False
        if state_key is not None:
            self.state_key = state_key

    def get_state(self) -> dict[str, Any]:
        return {"steps": self.steps, "beside": {"array": np.arange(3)}, "more": {"array": "text"}}

    def set_state(self, state: dict[str, Any]) -> None:
        self.steps, self.from_checkpoint = state["steps"], True
        assert state["beside"]["array"].tolist() == [0, 1, 2]
        assert state["more"] == {"array": "text"}

    def _on_step(self) -> bool:
        self.steps += 1
        return True


def test_callbacks_of_one_class_with_keys_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, first, second = Counter(), Counter("first"), Counter("second")
    first.steps = 1_000
    with pytest.raises(Interrupted):
        train(configured(ANOMALY, tmp_path, "run"), [plain, first, second, SignalAt(8 * 16)])
    folder, configuration = configuration_to_resume(tmp_path / "RandomAnomaly-v0" / "run", {"total_timesteps": 168})
    capsys.readouterr()

    plain, first, new = Counter(), Counter("first"), Counter("new")
    train(configuration, [first, plain, new], resume=folder)
    assert (plain.steps, first.steps, new.steps) == (21, 1_021, 7)
    assert [callback.from_checkpoint for callback in (plain, first, new)] == [True, True, False]
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 3
    assert "nothing was learned from 2 of 3 rollouts" in notes[2]  # in which no episode ended
    assert "Counter ('new')" in notes[0]
    assert "starts fresh" in notes[0]
    assert "'second'" in notes[1]
    assert "dropped" in notes[1]


@pytest.mark.parametrize(
    "callbacks",
    [[Counter(), Counter()], [Counter("one"), Counter("one")], [Counter("NetworkCallback")]],
    ids=["class", "key", "own"],
)
def test_callbacks_with_one_key_are_refused(callbacks: list[BaseCallback], tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"Counter and .*|NetworkCallback and .*Counter") as caught:
        train(configured(ANOMALY, tmp_path, "run"), callbacks)
    assert "state_key" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_keys_of_the_own_callbacks_stay(anomaly: Path) -> None:
    """Checkpoints of earlier versions hold these."""
    callbacks = Checkpoint.from_bytes(checkpoint_files(anomaly)[-1].read_bytes()).state["callbacks"]
    assert callbacks.keys() == {
        "NetworkCallback",
        "EpisodeFiguresCallback",
        "EvaluationCallback",
        "AnomalyPicturesCallback",
    }
    assert state_key(DemonstrationCallback) == "DemonstrationCallback"
