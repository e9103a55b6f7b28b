import csv
import json

import numpy as np
import pytest
import torch
from demonstration_data import record
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from stable_baselines3.common.callbacks import BaseCallback

from agents.building import load_agent
from agents.configuration import configure
from agents.errors import TrainingStopped
from agents.ppo.imitation import (
    Demonstrations,
    ImitationLoss,
    censored_negative_log_likelihood,
    default_learning_rate,
    fit,
)
from agents.ppo.sequence_ppo import ImitationTerm
from agents.resumption.options import configuration_to_resume
from agents.runs.normalization import FixedStatistics
from agents.training import build_algorithm, plan_training, train, training_environments
from policies.network.architectures import ARCHITECTURES
from policies.varied_sparsity_policy import VariedSparsityPolicy

finite = st.floats(-3.0, 3.0)


@given(mean=finite, action=st.floats(-1.0, 1.0), log_std=st.floats(-1.5, 1.0))
def test_the_loss_is_that_of_a_clipped_gaussian(mean, action, log_std):
    std = np.exp(log_std)
    loss = censored_negative_log_likelihood(
        *(torch.tensor([[value]], dtype=torch.float64) for value in (action, mean)),
        torch.tensor([log_std], dtype=torch.float64),
        torch.tensor([-1.0]),
        torch.tensor([1.0]),
    )
    if action == 1:
        expected = -stats.norm.logsf(1, mean, std)
    elif action == -1:
        expected = -stats.norm.logcdf(-1, mean, std)
    else:
        expected = -stats.norm.logpdf(action, mean, std)
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("action", [-1.0, -0.3, 1.0])
def test_its_gradients_are_right(action):
    arguments = (
        torch.tensor([[action]], dtype=torch.float64),
        torch.tensor([[0.4]], dtype=torch.float64, requires_grad=True),
        torch.tensor([-0.5], dtype=torch.float64, requires_grad=True),
        torch.tensor([-1.0], dtype=torch.float64),
        torch.tensor([1.0], dtype=torch.float64),
    )
    assert torch.autograd.gradcheck(censored_negative_log_likelihood, arguments)


def synthetic(generator: np.random.Generator, gain: float, noise: float, episodes: int = 60) -> Demonstrations:
    """Actions proportional to the last observation but one, with noise, clipped to [-1, 1]."""
    observations = generator.normal(size=(12, episodes, 2)).astype(np.float32)
    means = np.zeros((12, episodes, 1))
    means[1:, :, 0] = gain * observations[:-1, :, 0]
    actions = np.clip(means + noise * generator.normal(size=means.shape), -1, 1).astype(np.float32)
    return Demonstrations(observations, actions, np.full(episodes, 12), np.zeros(episodes))


def test_clipped_demonstrations_do_not_flatten_what_is_learned():
    """With a gain of 2, most actions are clipped: squared error would learn a lower gain."""
    generator = np.random.default_rng(0)
    space = spaces.Box(-1, 1, (1,), np.float32)
    policy = VariedSparsityPolicy(
        spaces.Box(-np.inf, np.inf, (2,), np.float32), space, lambda _: 1e-3, budget=200, network_seed=0
    )
    critic_before = [parameter.clone() for parameter in policy.critic_parameters()]
    demonstrations = synthetic(generator, gain=2.0, noise=0.2)
    assert (np.abs(demonstrations.actions) == 1).mean() > 0.4
    fitted = ImitationLoss(demonstrations, None, space, "cpu")
    held_out = ImitationLoss(synthetic(generator, 2.0, 0.2), None, space, "cpu", fitted.log_std)
    points = []
    fit(
        policy,
        fitted,
        held_out,
        epochs=60,
        learning_rate=1e-2,
        max_grad_norm=0.5,
        generator=generator,
        after_update=lambda: None,
        after_epoch=lambda point, _: points.append(point),
        progress=False,
    )
    assert [point.epoch for point in points] == list(range(1, 61))
    assert points[-1].held_out_loss < 0.5 * points[0].held_out_loss
    means = policy.run_actor(held_out.observations, torch.zeros(12, 60))[1:, :, 0].detach().numpy().ravel()
    gain = np.polyfit(held_out.observations[:-1, :, 0].numpy().ravel(), means, 1)[0]
    assert gain == pytest.approx(2.0, abs=0.3)
    assert fitted.log_std.exp().item() == pytest.approx(0.2, abs=0.08)
    assert not policy.log_std.detach().any(), "the exploration noise is none of the fit's business"
    for parameter, before in zip(policy.critic_parameters(), critic_before, strict=True):
        torch.testing.assert_close(parameter.detach(), before, rtol=0, atol=0)


def test_padding_does_not_count():
    generator = np.random.default_rng(1)
    space = spaces.Discrete(3)
    policy = VariedSparsityPolicy(
        spaces.Box(-np.inf, np.inf, (2,), np.float32), space, lambda _: 1e-3, budget=200, network_seed=0
    )
    observations = generator.normal(size=(8, 3, 2)).astype(np.float32)
    actions = generator.integers(0, 3, (8, 3))
    lengths = np.array([8, 3, 5])
    losses = []
    for filling in (0, 1):
        padded = observations.copy(), actions.copy()
        padded[0][3:, 1], padded[1][3:, 1] = 9.0 * filling, filling
        padded[0][5:, 2], padded[1][5:, 2] = -9.0 * filling, filling
        loss = ImitationLoss(Demonstrations(*padded, lengths, np.zeros(3)), None, space, "cpu")
        losses.append(loss(policy, np.arange(3)).item())
    assert losses[0] == losses[1]
    alone = ImitationLoss(
        Demonstrations(observations[:, :1], actions[:, :1], lengths[:1], np.zeros(1)), None, space, "cpu"
    )
    short = loss(policy, np.array([1])).item()
    assert loss(policy, np.array([0])).item() == pytest.approx(alone(policy, np.array([0])).item())
    both = loss(policy, np.array([0, 1])).item()
    assert both == pytest.approx((8 * alone(policy, np.array([0])).item() + 3 * short) / 11, rel=1e-5)


def test_constant_observations_are_not_blown_up():
    statistics = FixedStatistics(np.stack([np.full(10, 3.0), np.arange(10.0)], axis=1).astype(np.float32))
    np.testing.assert_allclose(statistics.mean, [3.0, 4.5])
    assert statistics.var[0] == 1.0
    assert statistics.var[1] == pytest.approx(8.25)
    statistics.update(np.full((5, 2), 100.0))
    np.testing.assert_allclose(statistics.mean, [3.0, 4.5])


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return record(tmp_path_factory.mktemp("minari"), patch, "CartPole-v1", episodes=30, steps=100)


def configured(folder, demos, **options):
    fast = {"total_timesteps": 2048, "eval_every": 1024, "eval_episodes": 10, "progress": False, "run_name": "run"}
    return configure("CartPole-v1", demos=str(demos), log_dir=str(folder), **(fast | options))


def test_wide_networks_are_fitted_in_smaller_steps():
    assert [default_learning_rate(hidden_size) for hidden_size in (30, 500, 2_000)] == [1e-3, 1e-3, 5e-4]


def test_a_fit_that_explodes_names_the_option_of_the_fit(tmp_path, cartpole):
    options = {"budget": 50_000, "demo_learning_rate": 1e6, "demos_only": True}
    with pytest.raises(TrainingStopped, match="imitation_loss.*smaller demo_learning_rate"):
        train(configured(tmp_path, cartpole, **options))


class ExpandingAtFirst(BaseCallback):
    """Makes the actor's recurrence expand before anything is fitted, by so much that it is noise after a few steps."""

    def _init_callback(self):
        with torch.no_grad():
            self.model.policy.actor.weights["hh"].mul_(4)

    def _on_step(self):
        return True


def test_a_fitted_network_that_expands_is_scaled_back_before_it_acts(tmp_path, cartpole):
    options = {"budget": 2_000, "demo_learning_rate": 1e-9, "demo_epochs": 1, "total_timesteps": 1024}
    result = train(configured(tmp_path, cartpole, **options), callbacks=[ExpandingAtFirst()])  # and is learned from
    with (result.path / "progress.csv").open() as file:
        (fitted,) = (row for row in csv.DictReader(file) if row["demos/recurrence_scale/actor"])
    assert float(fitted["demos/recurrence_scale/actor"]) < 0.9
    assert float(fitted["demos/recurrence_scale/critic"]) == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_to_balance_from_demonstrations_alone(tmp_path, cartpole, architecture):
    arguments = {"max_episode_steps": 200}
    options = {"demo_epochs": 25, "demo_learning_rate": 5e-3, "demos_only": True}
    result = train(configured(tmp_path, cartpole, architecture=architecture, env_arguments=arguments, **options))
    assert result.final.mean_return > 100, "an untrained policy falls after about twenty steps"
    assert result.steps == 0
    assert [point.steps for point in result.curve] == [0]
    assert result.imitation[-1].held_out_loss < 0.5 * np.log(2), "half of what guessing costs"
    policy, normalization, _ = load_agent(result.path, "best")
    assert normalization is not None
    written = json.loads((result.path / "result.json").read_text())
    assert written["imitation"][-1]["epoch"] == len(result.imitation)


def test_the_same_seed_gives_the_same_run_and_statistics_stay_fixed(tmp_path, cartpole):
    results = [train(configured(tmp_path / name, cartpole, seed=1, demo_epochs=2)) for name in ("a", "b")]
    weights = [(result.path / "final" / "policy.safetensors").read_bytes() for result in results]
    assert weights[0] == weights[1]
    assert [point.steps for point in results[0].curve] == [0, 1024, 2048]
    statistics = [(results[0].path / which / "normalization.json").read_text() for which in ("best", "final")]
    assert statistics[0] == statistics[1]


def test_the_critic_alone_learns_first_and_then_the_imitation_term_fades(tmp_path, cartpole):
    configuration = configured(tmp_path, cartpole, critic_rollouts=2, demo_weight=0.5, demo_decay=0.5)
    algorithm = build_algorithm(configuration, plan_training(configuration), training_environments(configuration))
    generator = np.random.default_rng(0)
    demonstrations = Demonstrations(
        generator.normal(size=(6, 4, 4)).astype(np.float32), np.ones((6, 4), np.int64), np.full(4, 6), np.zeros(4)
    )
    term = ImitationTerm(ImitationLoss(demonstrations, None, spaces.Discrete(2), algorithm.device), 0.5, 0.5)
    weights = []

    class Recording(ImitationLoss):
        def __call__(self, policy, episodes):
            loss = super().__call__(policy, episodes)
            loss.register_hook(lambda gradient: weights.append(gradient.item()))
            return loss

    recording = Recording(demonstrations, None, spaces.Discrete(2), algorithm.device)
    algorithm.imitation = ImitationTerm(recording, term.weight, term.decay)
    rollout = configuration.n_steps * configuration.n_envs
    actor = [parameter for name, parameter in algorithm.policy.named_parameters() if name.startswith("actor")]
    critic = algorithm.policy.critic_parameters()
    before = [[parameter.detach().clone() for parameter in part] for part in (actor, critic)]
    algorithm.learn(2 * rollout)
    assert all(torch.equal(now, then) for now, then in zip(actor, before[0], strict=True))
    assert not any(torch.equal(now, then) for now, then in zip(critic, before[1], strict=True) if then.numel() > 1)
    assert not any(parameter in algorithm.policy.optimizer.state for parameter in actor)
    assert not weights
    algorithm.learn(2 * rollout, reset_num_timesteps=False)
    assert not all(torch.equal(now, then) for now, then in zip(actor, before[0], strict=True))
    assert sorted(set(weights), reverse=True) == [0.5, 0.25]


@pytest.mark.parametrize(
    "option", [{"demo_epochs": 3}, {"demo_episodes": 2}, {"demo_learning_rate": 0.1}, {"demos_only": True}]
)
def test_options_of_demonstrations_need_demonstrations(option):
    with pytest.raises(ValueError, match=r"demo.* needs demos"):
        configure("CartPole-v1", **option)


def test_a_training_resumed_after_its_fit_equals_the_uninterrupted_one(tmp_path, cartpole):
    """CartPole's episodes are not restored exactly: what is compared is what the fit leaves, and that it stays."""
    whole = train(configured(tmp_path / "whole", cartpole, demo_epochs=3, demos_only=True))
    configuration = configured(tmp_path / "parts", cartpole, demo_epochs=3, total_timesteps=1024)
    parts = train(configuration)
    folder, longer = configuration_to_resume(parts.path, {"total_timesteps": 2048})
    resumed = train(longer, resume=folder)
    assert resumed.imitation == parts.imitation == whole.imitation
    assert [point.steps for point in resumed.curve] == [0, 1024, 2048]
    with pytest.raises(ValueError, match="is finished: it learns from demonstrations alone"):
        configuration_to_resume(whole.path, {})
