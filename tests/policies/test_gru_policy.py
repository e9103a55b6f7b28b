"""The GRU policy: its parameters, how they begin, and that a stock sb3_contrib.RecurrentPPO trains it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.torch_layers import FlattenExtractor

from policies.gated_policy import GatedPolicy
from policies.gru_policy import GruPolicy
from policies.lstm_policy import LstmPolicy
from policies.network.architectures import specify_architecture
from policies.refusal import Refusal

BOX = spaces.Box(-np.inf, np.inf, (5,), np.float32)
ACTIONS = spaces.Box(-1, 1, (3,), np.float32)


def test_parameters_are_those_of_the_specification() -> None:
    specification = specify_architecture("gru", 5, 3, 400)
    policy = GruPolicy(BOX, ACTIONS, lambda _: 1e-3, **GruPolicy.options_of(specification, {}))
    networks = (specification.actor, specification.critic)
    expected = sum(network.total_weights + network.n_biases for network in networks) + 3  # log_std
    assert sum(parameter.numel() for parameter in policy.parameters()) == expected
    optimized = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(parameter) for parameter in policy.parameters()}
    assert policy.actor.weight_ih_l0.shape == specification.actor.shape("input")
    assert policy.actor.weight_hh_l0.shape == specification.actor.shape("recurrent")


def test_begins_as_the_lstm_policy_does() -> None:
    torch.manual_seed(0)
    gru, lstm = (kind(BOX, ACTIONS, lambda _: 1e-3, lstm_hidden_size=7) for kind in (GruPolicy, LstmPolicy))
    for policy in (gru, lstm):
        for head, gain in ((policy.action_net, 0.01), (policy.value_net, 1.0)):
            torch.testing.assert_close(head.weight @ head.weight.t(), gain**2 * torch.eye(len(head.weight)))
            assert not head.bias.any()
        for cell in (policy.actor, policy.critic):
            largest = max(parameter.abs().max().item() for parameter in cell.parameters())
            assert 0.9 * 7**-0.5 < largest <= 7**-0.5
    assert gru.optimizer.defaults == lstm.optimizer.defaults


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
def test_stock_recurrent_ppo_learns_saves_and_loads(env: str, tmp_path: Path) -> None:
    model = RecurrentPPO(GruPolicy, env, n_steps=64, batch_size=32, policy_kwargs={"lstm_hidden_size": 8}, seed=0)
    before = {name: parameter.clone() for name, parameter in model.policy.named_parameters()}
    model.learn(128)
    assert not any(torch.equal(parameter, before[name]) for name, parameter in model.policy.named_parameters())
    model.save(tmp_path / "model.zip")
    loaded = RecurrentPPO.load(tmp_path / "model.zip")
    observation = np.ones((1, *model.observation_space.shape), np.float32)
    state = other_state = None
    for _ in range(5):
        action, state = model.predict(observation, state, deterministic=True)
        other, other_state = loaded.predict(observation, other_state, deterministic=True)
        np.testing.assert_array_equal(action, other)
        np.testing.assert_array_equal(state[0], other_state[0])


@pytest.mark.parametrize("kind", [GruPolicy, LstmPolicy])
def test_a_policy_saved_by_itself_is_the_same_when_loaded(kind: type[GatedPolicy], tmp_path: Path) -> None:
    policy = kind(BOX, ACTIONS, lambda _: 1e-3, lstm_hidden_size=7, noise_correlation=0.9)
    policy.save(str(tmp_path / "policy.pt"))
    loaded = kind.load(str(tmp_path / "policy.pt"), device="cpu")
    assert loaded.noise_correlation == 0.9
    observation = np.ones(5, np.float32)
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], policy.predict(observation, deterministic=True)[0]
    )


class Doubled(FlattenExtractor):
    """Another extractor."""


UNFIT = {
    "use_sde": True,
    "n_lstm_layers": 2,
    "shared_lstm": True,
    "enable_critic_lstm": False,
    "lstm_kwargs": {"dropout": 0.5},
    "features_extractor_class": Doubled,
}


@pytest.mark.parametrize("option", UNFIT)
def test_another_kind_of_network_is_refused_in_one_line(option: str) -> None:
    with pytest.raises(Refusal, match=f"{option} .* does not fit LstmPolicy") as refused:
        LstmPolicy(BOX, ACTIONS, lambda _: 1e-3, **{option: UNFIT[option]})
    assert "\n" not in str(refused.value)
