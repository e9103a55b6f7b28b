"""An exported policy and the policy itself, each driving environments of its own over the same 100 seeds."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn.functional import mse_loss

from agents.agent_building import load_agent, policy_recipe, specification_of
from agents.configuration import TrainingConfiguration, configure
from agents.evaluation import Evaluation, evaluate
from agents.normalization import ObservationNormalization
from agents.onnx_policy import load_onnx
from agents.policy_export import export_policy
from agents.run_folder import RunFolder
from agents.training import torch_threads, train
from envs.lookup import environment_spaces
from envs.vectorization import make_vec_env
from policies.varied_sparsity_policy import VariedSparsityPolicy

RECORDED = Path(__file__).resolve().parents[2].parent / "shared/data/minari/hammer/dapg-expert-v0/data/main_data.hdf5"
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
    if not RECORDED.exists():
        pytest.skip("needs the shared recordings")
    own, exported = evaluate_both(clone_experts(configure(HAMMER, budget=10_000, log_dir=str(tmp_path))))
    assert own.success_rate is not None
    assert own.success_rate > 0.3
    assert_alike(own, exported)


def clone_experts(configuration: TrainingConfiguration) -> Path:
    """Write the run folder of a policy that imitates recorded experts, whole episodes at a time."""
    with h5py.File(RECORDED) as file:
        episodes = [file[f"episode_{index}"] for index in range(240)]
        observations = np.stack([episode["observations"][:200] for episode in episodes], axis=1)
        actions = torch.from_numpy(np.stack([episode["actions"][:] for episode in episodes], axis=1))
    normalization = ObservationNormalization(
        observations.mean((0, 1), np.float64), observations.var((0, 1), np.float64), 10.0, 1e-8
    )
    inputs = torch.from_numpy(normalization(observations))
    found = environment_spaces(configuration.env)
    assert isinstance(found[1], spaces.Box)
    _, options = policy_recipe(configuration, specification_of(configuration, *found))
    policy = VariedSparsityPolicy(*found, lambda _: 1e-3, **options)
    optimizer = torch.optim.Adam(policy.actor.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    with torch_threads("cpu"):
        for _ in range(40):
            for chosen in torch.randperm(len(episodes), generator=generator).split(24):
                states = policy.actor(inputs[:, chosen], torch.zeros(len(chosen), policy.actor.state_size))
                optimizer.zero_grad()
                mse_loss(policy.actor.outputs(states), actions[:, chosen]).backward()
                optimizer.step()
    folder = RunFolder.create(configuration, "cloned")
    folder.write_configuration(configuration)
    folder.save_policy("final", policy, normalization)
    return folder.path
