"""Runs whose weights lie in groups of rows that share their columns: recorded, resumed, exported; what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.building import load_agent
from agents.configuration import configure
from agents.export.export import export_policy
from agents.resumption.options import configuration_to_resume
from agents.runs.folder import RunFolder
from agents.trained.policy import load_trained_policy
from agents.trained.report import evaluate_policy
from agents.training import plan_training, train
from policies.network.architectures import ActorCriticSpecification
from policies.network.grouped_patterns import draw_grouped_patterns
from policies.refusal import Refusal

OPTIONS = {
    "env": "RandomAnomaly-v0",
    "env_arguments": {"image_size": 8, "sequence_length": 4},
    "budget": 1_500,
    "hidden_proportion": 0.5,
    "pattern": "blocks",
    "n_envs": 8,
    "n_steps": 5,
    "batch_size": 20,
    "total_timesteps": 80,
    "eval_every": 80,
    "eval_episodes": 8,
    "checkpoint_every": 40,
    "progress": False,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(configure(**OPTIONS, log_dir=str(tmp_path_factory.mktemp("logs")), run_name="run")).path


def test_the_pattern_is_drawn_recorded_and_kept(run: Path) -> None:
    folder = RunFolder.open(run)
    assert folder.read_configuration().pattern == "blocks"
    recorded = json.loads((run / "network.json").read_text())
    assert recorded["pattern"] == "blocks"
    specification = plan_training(folder.read_configuration())
    assert ActorCriticSpecification.from_dict(recorded) == specification == folder.read_first_network()
    policy, _, _ = load_agent(run, "final")
    assert policy.specification == specification
    for number, layer in enumerate((policy.actor, policy.critic)):
        # Patterns are drawn before all else that comes from the seed.
        patterns = draw_grouped_patterns(layer.specification, number)
        assert all(np.array_equal(layer.positions(block), positions) for block, positions in patterns.items())
        assert layer.recurrence(5, 4).backends[0] == "groups"
        assert layer.specification.total_weights == 1_500


def test_a_run_goes_on_and_its_exported_policy_acts_alike(run: Path, tmp_path: Path) -> None:
    before = load_agent(run, "final")[0].actor.weights["hx"].detach().clone()
    folder, configuration = configuration_to_resume(run, {"total_timesteps": 160})
    train(configuration, resume=folder)
    assert not torch.equal(load_agent(run, "final")[0].actor.weights["hx"], before)
    exported = export_policy(run, tmp_path / "policy.onnx", "final")
    assert exported.metadata.specification.pattern == "blocks"
    reports = [
        evaluate_policy(load_trained_policy(path, which=which), episodes=20, first_seed=0)
        for path, which in ((run, "final"), (tmp_path / "policy.onnx", None))
    ]
    assert reports[0].evaluation.returns.tolist() == reports[1].evaluation.returns.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rebalance": "momentum"}, "rebalance momentum does not fit pattern blocks"),
        ({"rebalance": "random", "rebalance_scope": "block"}, "rebalance random does not fit pattern blocks"),
        ({"architecture": "dense", "hidden_proportion": None}, "pattern blocks does not fit architecture dense"),
        ({"architecture": "gru", "hidden_proportion": None}, "pattern blocks does not fit architecture gru"),
        ({"pattern": "tiles"}, "one of unstructured, blocks is needed"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(Refusal, match=message) as caught:
        plan_training(configure(**OPTIONS | options))
    assert "\n" not in str(caught.value)


def test_a_specification_of_another_pattern_is_refused(run: Path) -> None:
    recorded = json.loads((run / "network.json").read_text())
    for change in ({"pattern": "tiles"}, {"architecture": "dense"}, {"shape": "square"}):
        with pytest.raises(Refusal):
            ActorCriticSpecification.from_dict(recorded | change)
