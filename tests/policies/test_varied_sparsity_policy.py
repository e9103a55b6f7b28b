"""The policy in a stock sb3_contrib.RecurrentPPO: parameters, states, saving, and what it refuses."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from policies.gru_policy import GruPolicy
from policies.lstm_policy import LstmPolicy
from policies.sequence_policy import SequencePolicy
from policies.varied_sparsity_policy import VariedSparsityPolicy

BOX = spaces.Box(-np.inf, np.inf, (5,), np.float32)
ACTIONS = {"box": spaces.Box(-1, 1, (3,), np.float32), "discrete": spaces.Discrete(4)}


def policy(action: str = "box", **options: object) -> VariedSparsityPolicy:
    return VariedSparsityPolicy(BOX, ACTIONS[action], lambda _: 1e-3, **({"budget": 400} | options))


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
def test_stock_recurrent_ppo_learns_saves_and_loads(env: str, tmp_path: Path) -> None:
    options = {"budget": 500, "hidden_proportion": 0.5}
    model = RecurrentPPO(VariedSparsityPolicy, env, n_steps=64, batch_size=32, policy_kwargs=options, seed=0)
    before = {name: parameter.clone() for name, parameter in model.policy.named_parameters()}
    model.learn(256)
    changed = [name for name, parameter in model.policy.named_parameters() if not torch.equal(parameter, before[name])]
    assert len(changed) > len(before) / 2
    model.save(tmp_path / "model.zip")
    loaded = RecurrentPPO.load(tmp_path / "model.zip")
    environment = gymnasium.make(env)
    observation, _ = environment.reset(seed=1)
    state = other_state = None
    start = np.ones(1, dtype=bool)
    for _ in range(30):
        action, state = model.predict(observation, state, start, deterministic=True)
        other, other_state = loaded.predict(observation, other_state, start, deterministic=True)
        np.testing.assert_array_equal(action, other)
        np.testing.assert_array_equal(state[0], other_state[0])
        start = np.zeros(1, dtype=bool)
        observation = environment.step(action)[0]
    model.policy.save(tmp_path / "policy.pth")
    alone = VariedSparsityPolicy.load(tmp_path / "policy.pth")
    np.testing.assert_array_equal(
        alone.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )


@pytest.mark.parametrize("action", ACTIONS)
def test_trainable_parameters_are_weights_biases_and_log_std(action: str) -> None:
    built = policy(action)
    actor, critic = built.specification.actor, built.specification.critic
    expected = actor.total_weights + actor.n_biases + critic.total_weights + critic.n_biases
    expected += 3 if action == "box" else 0
    assert sum(parameter.numel() for parameter in built.parameters() if parameter.requires_grad) == expected
    optimized = {id(p) for group in built.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(parameter) for parameter in built.parameters()}


def lstm_policy(action: str = "box", **options: object) -> LstmPolicy:
    return LstmPolicy(BOX, ACTIONS[action], lambda _: 1e-3, lstm_hidden_size=7, **options)


def gru_policy(action: str = "box", **options: object) -> GruPolicy:
    return GruPolicy(BOX, ACTIONS[action], lambda _: 1e-3, lstm_hidden_size=7, **options)


@pytest.mark.parametrize("make", [partial(policy, initialization="normal:0.3"), lstm_policy, gru_policy])
@pytest.mark.parametrize(("action", "correlation"), [("box", 0.0), ("box", 0.8), ("discrete", 0.0), ("discrete", 0.8)])
def test_stepping_equals_evaluating_the_sequence(
    make: Callable[..., SequencePolicy], action: str, correlation: float
) -> None:
    torch.manual_seed(0)
    T, B = 9, 3
    built = make(action, noise_correlation=correlation)
    observations = torch.randn(T, B, 5)
    starts = (torch.rand(T, B) < 0.3).float()
    zeros = torch.zeros(1, B, built.state_width)
    states = first = RNNStates((zeros, zeros), (zeros, zeros))
    actions, values, log_probs = [], [], []
    with torch.no_grad():
        for t in range(T):
            chosen, value, log_prob, states = built(observations[t], states, starts[t])
            actions.append(chosen)
            values.append(value[:, 0])
            log_probs.append(log_prob)
    sequence = built.evaluate_sequences(observations, torch.stack(actions), first, starts)
    torch.testing.assert_close(sequence[0], torch.stack(values))
    torch.testing.assert_close(sequence[1], torch.stack(log_probs))
    flat_actions = torch.stack(actions).transpose(0, 1).flatten(0, 1)
    flat = built.evaluate_actions(observations.transpose(0, 1).flatten(0, 1), flat_actions, first, starts.t().flatten())
    torch.testing.assert_close(flat[0].view(B, T).t(), sequence[0])
    torch.testing.assert_close(flat[1].view(B, T).t(), sequence[1])


@pytest.mark.parametrize("make", [policy, lstm_policy, gru_policy])
def test_correlated_noise_has_the_stated_correlation_and_deviation(make: Callable[..., SequencePolicy]) -> None:
    torch.manual_seed(1)
    built = make("box", noise_correlation=0.9, log_std_init=-0.5)
    B, T = 400, 60
    zeros = torch.zeros(1, B, built.state_width)
    states = RNNStates((zeros, zeros), (zeros, zeros))
    noise = []
    with torch.no_grad():
        for t in range(T):
            start = torch.full((B,), float(t == 0))
            means, _ = built.step_actor(torch.zeros(B, 5), states.pi, start)
            actions, _, _, states = built(torch.zeros(B, 5), states, start)
            noise.append(actions - means)
            torch.testing.assert_close(built.noise_of(states.pi), noise[-1])
        still, _, _, _ = built(torch.zeros(B, 5), RNNStates((zeros, zeros), (zeros, zeros)), start, deterministic=True)
        calm, _, _, _ = built(torch.zeros(B, 5), states, start, deterministic=True)
        torch.testing.assert_close(calm, built.step_actor(torch.zeros(B, 5), states.pi, start)[0])
    late, before = noise[-1].flatten(), noise[-2].flatten()
    assert float(late.std()) == pytest.approx(np.exp(-0.5), rel=0.06)
    assert float(torch.corrcoef(torch.stack([late, before]))[0, 1]) == pytest.approx(0.9, abs=0.03)
    assert float(still.std(0).max()) < 1e-6


def test_actor_outputs_are_the_distribution_parameters() -> None:
    built = policy("discrete", initialization="normal:0.3")
    zeros = torch.zeros(1, 2, built.state_width)
    observation = torch.randn(2, 5)
    with torch.no_grad():
        distribution, (h, c) = built.get_distribution(observation, (zeros, zeros), torch.ones(2))
    n_hidden = built.specification.actor.n_hidden
    logits = h[0, :, n_hidden : n_hidden + 4]
    torch.testing.assert_close(distribution.distribution.probs, torch.softmax(logits, -1))
    assert not c.any()


def test_same_seed_same_network() -> None:
    one, two, other = (policy(network_seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["actor.weights.hx"], other["actor.weights.hx"])


@pytest.mark.parametrize(
    ("observation_space", "action_space", "options", "named"),
    [
        (spaces.Dict({"a": BOX}), ACTIONS["box"], {}, "one-dimensional Box"),
        (spaces.Box(0, 255, (3, 8, 8), np.uint8), ACTIONS["box"], {}, "one-dimensional Box"),
        (spaces.Discrete(3), ACTIONS["box"], {}, "one-dimensional Box"),
        (BOX, spaces.MultiDiscrete([[2, 2]]), {}, "MultiBinary of one axis"),
        (BOX, spaces.MultiBinary((3, 1)), {}, "MultiBinary of one axis"),
        (BOX, ACTIONS["box"], {"use_sde": True}, "use_sde"),
        (BOX, ACTIONS["box"], {"architecture": "lstm"}, "varied, uniform or dense"),
        (BOX, ACTIONS["box"], {"budget": 3}, "budget"),
        (BOX, ACTIONS["box"], {"activation": "gelu"}, "relu or tanh"),
    ],
)
def test_unsupported_is_refused_in_one_line(
    observation_space: spaces.Space, action_space: spaces.Space, options: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        VariedSparsityPolicy(observation_space, action_space, lambda _: 1e-3, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("action", ACTIONS)
def test_predict_does_what_sb3_contrib_does(action: str, correlation: float) -> None:
    built = policy(action, noise_correlation=correlation)
    state = stock_state = None
    generator = np.random.default_rng(0)
    for step, deterministic in enumerate([True, False, True, False]):
        observations, starts = generator.normal(size=(3, 5)).astype(np.float32), np.array([False, step == 2, False])
        torch.manual_seed(step)
        stock_actions, stock_state = RecurrentActorCriticPolicy.predict(
            built, observations, stock_state, starts, deterministic
        )
        torch.manual_seed(step)
        before = None if state is None else [part.copy() for part in state]
        actions, new_state = built.predict(observations, state, starts, deterministic)
        np.testing.assert_array_equal(actions, stock_actions)
        for part, stock_part in zip(new_state, stock_state, strict=True):
            np.testing.assert_array_equal(part, stock_part)
        if state is not None:
            for part, old, new in zip(state, before, new_state, strict=True):
                np.testing.assert_array_equal(part, old)
                assert not np.shares_memory(part, new)
        state = new_state


def test_predict_takes_one_observation_or_several_and_refuses_others() -> None:
    built = policy()
    observation = np.linspace(-1, 1, 5, dtype=np.float32)
    observation.setflags(write=False)
    alone, _ = built.predict(observation, deterministic=True)
    several, _ = built.predict(np.stack([observation, observation]), deterministic=True)
    assert alone.shape == (3,)
    np.testing.assert_allclose(several, [alone, alone], rtol=1e-5)
    listed, _ = built.predict([float(number) for number in observation], deterministic=True)
    np.testing.assert_allclose(listed, alone, rtol=1e-5)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        built.predict(np.zeros(4, np.float32))
