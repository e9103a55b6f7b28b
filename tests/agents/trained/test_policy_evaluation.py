"""What an evaluation reports, and over which episodes."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.evaluation import FRESH_SEED, Evaluation, evaluate
from agents.trained.intervals import bootstrap_interval, wilson_interval
from agents.trained.policy import TrainedPolicy, load_trained_policy
from agents.trained.report import PolicyReport, evaluate_policy
from agents.training import EVALUATION_ENVIRONMENTS
from envs.vectorized.make import make_vec_env
from policies.refusal import Refusal

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def cartpole(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> TrainedPolicy:
    return load_trained_policy(make_run(tmp_path_factory.mktemp("logs"), "CartPole-v1"))


@pytest.fixture(scope="module")
def anomaly(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"image_size": 12, "sequence_length": 3, "split": "train"}
    # With so large weights the answers differ from episode to episode.
    return make_run(tmp_path_factory.mktemp("logs"), "RandomAnomaly-v0", noise=0.6, env_arguments=arguments)


def test_plays_the_test_split_from_the_seed(anomaly: Path) -> None:
    policy = load_trained_policy(anomaly)
    report = evaluate_policy(policy, episodes=EVALUATION_ENVIRONMENTS + 30, first_seed=77)
    by_split = {}
    for split in ("train", "test"):
        environments = make_vec_env(
            "RandomAnomaly-v0",
            arguments={"image_size": 12, "sequence_length": 3, "split": split},
            n_envs=7,
            seed=0,
            vectorization="batched",
            training=False,
        )
        by_split[split] = evaluate(policy.policy, environments, episodes=94, first_seed=77).returns
    np.testing.assert_array_equal(report.evaluation.returns, by_split["test"])
    assert not np.array_equal(by_split["train"], by_split["test"])
    exported = evaluate_policy(load_trained_policy(anomaly.with_suffix(".onnx")), episodes=94, first_seed=77)
    np.testing.assert_array_equal(exported.evaluation.returns, by_split["test"])


def test_the_registered_reward_whatever_was_trained_on(make_run: MakeRun, tmp_path: Path) -> None:
    returns = [
        evaluate_policy(
            load_trained_policy(make_run(tmp_path / reward, "AdroitHandHammer-v1", reward=reward, budget=3000)),
            episodes=2,
            first_seed=FRESH_SEED,
        ).evaluation.returns
        for reward in ("registered", "corrected")
    ]
    np.testing.assert_array_equal(*returns)


def test_same_seed_same_episodes(cartpole: TrainedPolicy) -> None:
    first, again, other = (evaluate_policy(cartpole, episodes=9, first_seed=seed).evaluation for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.returns[1:], other.returns[:-1])


def test_stochastic_actions_come_from_the_seed(cartpole: TrainedPolicy) -> None:
    before = torch.get_rng_state()
    drawn, again, likeliest = (
        evaluate_policy(cartpole, episodes=20, first_seed=4, deterministic=deterministic).evaluation.returns
        for deterministic in (False, False, True)
    )
    np.testing.assert_array_equal(drawn, again)
    assert not np.array_equal(drawn, likeliest)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"episodes": 0}, "episodes 0"),
        ({"first_seed": -1}, "seed -1"),
        ({"first_seed": 2**31}, "seed 2147483648"),
    ],
)
def test_numbers_that_do_not_fit(options: dict[str, int], named: str, cartpole: TrainedPolicy) -> None:
    with pytest.raises(Refusal, match=named):
        evaluate_policy(cartpole, **({"episodes": 1, "first_seed": 0} | options))


def test_no_noise_in_an_onnx_file(anomaly: Path) -> None:
    policy = load_trained_policy(anomaly.with_suffix(".onnx"))
    with pytest.raises(Refusal, match="stochastic"):
        evaluate_policy(policy, episodes=1, first_seed=0, deterministic=False)


def test_nothing_to_watch(anomaly: Path) -> None:
    with pytest.raises(Refusal, match="watch does not fit RandomAnomaly-v0"):
        evaluate_policy(load_trained_policy(anomaly), episodes=1, first_seed=0, watch=True)


def test_report_says_what_was_measured(cartpole: TrainedPolicy) -> None:
    returns = np.array([10.0, 30.0, 20.0, 1000.0])
    evaluation = Evaluation(returns, np.array([100, 200, 300, 400]), np.array([True, False, True, True]), 2.0)
    report = PolicyReport(cartpole, evaluation, first_seed=12, deterministic=True)
    low, high = bootstrap_interval(returns)
    entries = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert entries == {
        "policy": str(cartpole.source),
        "env": "CartPole-v1",
        "env_arguments": {},
        "wrappers": [],
        "seed": 12,
        "deterministic": True,
        "episodes": 4,
        "mean_return": 265.0,
        "std_return": pytest.approx(returns.std()),
        "success_rate": 0.75,
        "mean_length": 250.0,
        "mean_return_interval": [low, high],
        "success_rate_interval": list(wilson_interval(3, 4)),
        "steps_per_second": 500.0,
    }
    lines = [line.split() for line in str(report).splitlines()]
    assert str(cartpole.source) in lines[0]
    assert lines[1][:3] == ["mean", "return", "265.00"]
    assert lines[1][-3:] == [f"{low:,.2f}", "to", f"{high:,.2f}"]
    assert lines[2][-1] == "424.41"
    assert lines[3] == ["success", "rate", "75.0%", "95", "%", "interval", "30.1%", "to", "95.4%"]
    assert lines[4] == ["mean", "length", "250.0", "steps"]
    assert lines[5] == ["speed", "500", "steps/s"]


def test_report_of_random_anomaly_speaks_of_accuracy(anomaly: Path) -> None:
    report = evaluate_policy(load_trained_policy(anomaly), episodes=3, first_seed=0)
    assert "accuracy" in str(report)
    assert "success" not in str(report)


def test_report_without_success_and_of_one_episode(cartpole: TrainedPolicy) -> None:
    report = evaluate_policy(cartpole, episodes=1, first_seed=0)
    assert "success" not in str(report)
    assert "interval" not in str(report)
    assert report.to_dict()["mean_return_interval"] is report.to_dict()["success_rate_interval"] is None


def test_numbers_that_are_none_in_json(cartpole: TrainedPolicy) -> None:
    evaluation = Evaluation(np.array([np.nan, 1.0]), np.array([1, 1]), None, 1.0)
    policy = dataclasses.replace(cartpole, env_arguments={"x": (1, np.inf), "y": {"path": Path("a")}})
    entries = json.loads(json.dumps(PolicyReport(policy, evaluation, 0, True).to_dict(), allow_nan=False))
    assert entries["mean_return"] is None
    assert entries["env_arguments"] == {"x": [1, None], "y": {"path": "a"}}
