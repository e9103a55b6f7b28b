"""A training as a whole: reproducible to the bit, recorded completely, and loaded back without trust."""

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import worded  # noqa: F401, registers Worded-v0
import yaml
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.building import load_agent
from agents.command_line import run
from agents.configuration import TrainingConfiguration, configure
from agents.evaluation import FINAL_SEED, evaluate
from agents.runs.normalization import ObservationNormalization
from agents.training import TrainingResult, plan_training, train, training_environments
from envs.vectorized.make import make_vec_env
from policies.network.architectures import ARCHITECTURES
from policies.network.specification import BLOCKS
from policies.refusal import Refusal

SHORT = {
    "total_timesteps": 1024,
    "n_envs": 4,
    "n_steps": 64,
    "batch_size": 128,
    "n_epochs": 2,
    "eval_every": 512,
    "eval_episodes": 3,
    "progress": False,
}


def short(tmp_path: Path, env: str = "CartPole-v1", **options: object) -> TrainingConfiguration:
    return configure(env, **(SHORT | {"budget": 300, "log_dir": str(tmp_path), "run_name": "run"} | options))


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(short(tmp_path_factory.mktemp("logs")))


@pytest.mark.parametrize("env", ["CartPole-v1", "AdroitHandHammer-v1"])
@pytest.mark.parametrize("architecture", ["varied", "lstm", "gru"])
def test_same_seed_same_run(env: str, architecture: str, tmp_path: Path) -> None:
    runs = [
        train(short(tmp_path / name, env, budget=3000, architecture=architecture, seed=11)) for name in ("one", "two")
    ]
    weights = [safetensors.torch.load_file(run.path / "final" / "policy.safetensors") for run in runs]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    tables = [list(csv.DictReader((run.path / "progress.csv").open())) for run in runs]
    timing = {"time/fps", "time/time_elapsed"}
    assert len(tables[0]) == len(tables[1]) > 2
    for rows in zip(*tables, strict=True):
        assert {k: v for k, v in rows[0].items() if k not in timing} == {
            k: v for k, v in rows[1].items() if k not in timing
        }
    np.testing.assert_array_equal(runs[0].final.returns, runs[1].final.returns)


def test_other_seed_other_run(cartpole: TrainingResult, tmp_path: Path) -> None:
    other = train(short(tmp_path, seed=1))
    assert not np.array_equal(other.final.returns, cartpole.final.returns) or not np.array_equal(
        other.curve[-1].evaluation.returns, cartpole.curve[-1].evaluation.returns
    )


def test_final_evaluation_may_be_longer(cartpole: TrainingResult, tmp_path: Path) -> None:
    longer = train(short(tmp_path, final_episodes=5))
    assert [len(point.evaluation.returns) for point in longer.curve] == [3] * len(longer.curve)
    assert len(longer.final.returns) == 5
    np.testing.assert_array_equal(longer.final.returns[:3], cartpole.final.returns)


def test_training_episodes_are_cut_and_evaluated_ones_are_not(tmp_path: Path) -> None:
    result = train(short(tmp_path, "Pendulum-v1", training_episode_steps=16))
    rows = list(csv.DictReader((result.path / "progress.csv").open()))
    assert {row["rollout/ep_len_mean"] for row in rows if row["rollout/ep_len_mean"]} == {"16.0"}
    assert {row["eval/mean_ep_length"] for row in rows if row["eval/mean_ep_length"]} == {"200.0"}
    assert set(result.final.lengths) == {200}


@pytest.mark.parametrize(
    "options",
    [
        {"training_episode_steps": 16},
        {"training_episode_steps": 64, "wrappers": ("gymnasium.wrappers:MaxAndSkipObservation:skip=4",)},
    ],
)
def test_no_value_is_estimated_beyond_a_cut(options: dict[str, object], tmp_path: Path) -> None:
    class Last(BaseCallback):
        """Keeps what the critic is to learn of the steps in which episodes end, and what the environments paid."""

        def _on_rollout_start(self) -> None:
            self.paid: list[np.ndarray] = []

        def _on_step(self) -> bool:
            if self.locals["dones"].all():
                self.paid.append(self.locals["rewards"].copy())  # to which an estimated value would be added
            return True

        def _on_rollout_end(self) -> None:
            self.returns = self.model.rollout_buffer.returns[15::16].copy()

    last = Last()
    train(short(tmp_path, "Pendulum-v1", **options), callbacks=[last])
    assert np.shape(last.paid) == (4, 4)
    np.testing.assert_allclose(last.returns, last.paid, rtol=1e-4, atol=1e-5)


def test_record_is_complete(cartpole: TrainingResult) -> None:
    recorded = yaml.safe_load((cartpole.path / "config.yaml").read_text())
    assert recorded["env"] == "CartPole-v1"
    assert recorded["versions"]["torch"] == torch.__version__
    network = json.loads((cartpole.path / "network.json").read_text())
    assert sum(network["actor"]["weights"].values()) == 300
    figures = json.loads((cartpole.path / "result.json").read_text())
    assert [point["steps"] for point in figures["curve"]] == [512, 1024]
    assert figures["best"]["mean_return"] == max(point["mean_return"] for point in figures["curve"])
    assert figures["final"]["mean_return"] == pytest.approx(cartpole.final.mean_return)


def test_tensorboard_tags(cartpole: TrainingResult) -> None:
    events = EventAccumulator(str(cartpole.path))
    events.Reload()
    tags = events.Tags()
    scalars = {
        "network/hidden_proportion/actor",
        "network/spectral_radius",
        "network/silent_units",
        *(f"network/{figure}/critic/{block}" for figure in ("weights", "density") for block in BLOCKS),
        "eval/mean_reward",
        "rollout/ep_rew_mean",
        "train/explained_variance",
        "train/approx_kl",
        "time/fps",
    }
    assert scalars <= set(tags["scalars"])
    assert {"network/pattern/actor", "network/pattern/critic"} <= set(tags["images"])
    assert any(tag.startswith("configuration") for tag in tags["tensors"])
    assert [event.step for event in events.Scalars("eval/mean_reward")] == [512, 1024]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loaded_agent_repeats_the_final_evaluation(architecture: str, tmp_path: Path) -> None:
    result = train(short(tmp_path, architecture=architecture))
    policy, normalization, configuration = load_agent(result.path, "final")
    environments = make_vec_env(
        configuration.env, arguments={}, n_envs=3, seed=0, vectorization=configuration.vectorization, training=False
    )
    again = evaluate(policy, environments, episodes=3, first_seed=FINAL_SEED, normalization=normalization)
    np.testing.assert_array_equal(again.returns, result.final.returns)


class Explosion:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("victim", ["best/policy.safetensors", "best/normalization.json", "config.yaml"])
@pytest.mark.parametrize("content", [pickle.dumps(Explosion()), b"", b"{}", b"\x00" * 64, b"env: CartPole-v1"])
def test_foreign_files_are_refused_and_not_run(
    victim: str, content: bytes, cartpole: TrainingResult, tmp_path: Path
) -> None:
    for file in cartpole.path.rglob("*"):
        if file.is_file() and "events" not in file.name:
            target = tmp_path / file.relative_to(cartpole.path)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    (tmp_path / victim).write_bytes(content)
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_agent(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_may_not_name_a_module(cartpole: TrainingResult, tmp_path: Path) -> None:
    text = (cartpole.path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("env: CartPole-v1", "env: this:CartPole-v1"))
    with pytest.raises(ValueError, match="module:id is for the command line"):
        load_agent(tmp_path)


def test_plan_names_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="batch_size"):
        plan_training(short(tmp_path, batch_size=100))
    with pytest.raises(Refusal, match="its observations are Text at 'mission', Box, Discrete, "):
        plan_training(short(tmp_path, env="Worded-v0"))
    assert not list(tmp_path.iterdir())


def test_values_are_clipped_where_that_is_asked_for(tmp_path: Path) -> None:
    result = train(short(tmp_path, total_timesteps=256, clip_range_vf=0.25))
    rows = list(csv.DictReader((result.path / "progress.csv").open()))
    assert {row["train/clip_range_vf"] for row in rows if row["train/n_updates"]} == {"0.25"}


@pytest.mark.parametrize("place", ["VecNormalize", "run_lock", "continued_logger", "EvaluationCallback"])
def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    def faulty(*arguments: object, **options: object) -> None:
        raise ValueError("operands could not be broadcast together with shapes (4,) (3,)")

    monkeypatch.setattr(f"agents.training.{place}", faulty)
    with pytest.raises(ValueError, match="could not be broadcast") as caught:
        run(lambda: train(short(tmp_path)))
    assert not isinstance(caught.value, Refusal)


def test_evaluation_depends_on_seeds_alone(cartpole: TrainingResult) -> None:
    policy, normalization, configuration = load_agent(cartpole.path, "final")
    results = []
    for n_envs in (1, 4, 7):
        environments = make_vec_env(
            configuration.env, arguments={}, n_envs=n_envs, seed=n_envs, vectorization="serial", training=False
        )
        results.append(evaluate(policy, environments, episodes=7, first_seed=50, normalization=normalization).returns)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_normalization_is_vec_normalize(tmp_path: Path) -> None:
    environments = training_environments(short(tmp_path))
    assert isinstance(environments, VecNormalize)
    environments.reset()
    for _ in range(20):
        environments.step(np.array([environments.action_space.sample() for _ in range(4)]))
    raw = environments.get_original_obs()
    normalization = ObservationNormalization.of(environments)
    np.testing.assert_array_equal(normalization(raw), environments.normalize_obs(raw))
    again = ObservationNormalization.from_json(normalization.to_json(), 4)
    np.testing.assert_array_equal(again(raw), normalization(raw))
