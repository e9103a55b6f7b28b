"""An exported policy and the policy itself, each driving environments of its own over the same 100 seeds."""

from pathlib import Path

import pytest
from data_files import HAMMER_DEMONSTRATIONS

from agents.building import load_agent
from agents.configuration import configure
from agents.evaluation import Evaluation, evaluate
from agents.export.export import export_policy
from agents.export.onnx_policy import load_onnx
from agents.training import torch_threads, train
from envs.vectorized.make import make_vec_env

HAMMER = "AdroitHandHammer-v1"
TRAININGS = {
    HAMMER: {"total_timesteps": 3_200, "eval_every": 3_200},
    "RandomAnomaly-v0": {"total_timesteps": 56_320, "eval_every": 56_320},
    "CartPole-v1": {"total_timesteps": 20_480, "eval_every": 20_480},
}
SEEDS = 100


def evaluate_both(run: Path) -> tuple[Evaluation, Evaluation]:
    policy, normalization, configuration = load_agent(run, "final")
    exported = load_onnx(export_policy(run, which="final").path)
    environments = make_vec_env(
        configuration.env, n_envs=20, seed=0, vectorization=configuration.vectorization, training=False
    )
    with torch_threads("cpu"):
        own = evaluate(policy, environments, episodes=SEEDS, first_seed=0, normalization=normalization)
    others = evaluate(exported, environments, episodes=SEEDS, first_seed=0)
    environments.close()
    print(f"\n{run}: {own.mean_return:.2f}, exported {others.mean_return:.2f}", end="")
    return own, others


def assert_alike(own: Evaluation, exported: Evaluation) -> None:
    if own.successes is not None:
        assert (own.successes == exported.successes).sum() >= 98
    assert exported.mean_return == pytest.approx(own.mean_return, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("env", TRAININGS)
def test_trained_policies_get_the_same(env: str, tmp_path: Path) -> None:
    options = TRAININGS[env] | {"eval_episodes": 4, "progress": False, "log_dir": str(tmp_path)}
    assert_alike(*evaluate_both(train(configure(env, **options)).path))


@pytest.mark.slow
def test_a_policy_that_hammers_gets_the_same(tmp_path: Path) -> None:
    configuration = configure(
        HAMMER,
        budget=10_000,
        demos=str(HAMMER_DEMONSTRATIONS),
        demos_only=True,
        eval_episodes=4,
        progress=False,
        log_dir=str(tmp_path),
    )
    own, exported = evaluate_both(train(configuration).path)
    assert own.success_rate is not None
    assert own.success_rate > 0.3
    assert_alike(own, exported)
