"""The sequence PPO: the stock class's losses and gradients on the full batch, and what it refuses."""

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.ppo.sequence_ppo import SequencePPO
from policies.gated_policy import run_cell
from policies.gru_policy import GruPolicy, PairedGru
from policies.lstm_policy import LstmPolicy
from policies.refusal import Refusal
from policies.varied_sparsity_policy import VariedSparsityPolicy

N_STEPS, N_ENVS, TIME_LIMIT = 40, 4, 17
POLICIES = {
    "lstm": (LstmPolicy, {"net_arch": [], "lstm_hidden_size": 8}),
    "gru": (GruPolicy, {"lstm_hidden_size": 8}),
    "varied": (VariedSparsityPolicy, {"budget": 300, "hidden_proportion": 0.4, "initialization": "normal:0.3"}),
}


def environments() -> DummyVecEnv:
    def make() -> gymnasium.Env:
        return gymnasium.make("CartPole-v1", max_episode_steps=TIME_LIMIT)

    venv = DummyVecEnv([make] * N_ENVS)
    venv.seed(3)
    return venv


def after_one_update(
    algorithm_class: type, name: str, max_grad_norm: float = 1e9, **arguments: str
) -> tuple[RecurrentPPO, dict[str, float]]:
    """Two rollouts, each followed by one full-batch update without a step, so that gradients can be compared."""
    policy_class, options = POLICIES[name]
    algorithm = algorithm_class(
        policy_class,
        environments(),
        n_steps=N_STEPS,
        batch_size=N_STEPS * N_ENVS,
        n_epochs=1,
        learning_rate=0.0,
        ent_coef=0.01,
        max_grad_norm=max_grad_norm,
        clip_range_vf=0.5,
        policy_kwargs=options,
        seed=5,
        device="cpu",
        **arguments,
    )
    algorithm.set_logger(configure(None, []))
    algorithm.learn(2 * N_STEPS * N_ENVS)
    return algorithm, dict(algorithm.logger.name_to_value)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("boundary", [0, 1, 3])
def test_full_batch_matches_stock(name: str, boundary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stock rotates the batch by a random split; on a boundary between environments it cuts no sequence.
    monkeypatch.setattr(np.random, "randint", lambda *_args, **_kwargs: boundary * N_STEPS)
    stock, stock_log = after_one_update(RecurrentPPO, name)
    ours, our_log = after_one_update(SequencePPO, name)

    np.testing.assert_array_equal(
        ours.rollout_buffer.actions.swapaxes(0, 1).reshape(-1), stock.rollout_buffer.actions.reshape(-1)
    )
    starts = ours.rollout_buffer.episode_starts
    assert starts[1:].any(), "no episode started inside the rollout"
    assert np.diff(np.flatnonzero(starts[:, 0])).max() == TIME_LIMIT, "no episode reached the time limit"
    for key in ("policy_gradient_loss", "value_loss", "entropy_loss", "loss", "explained_variance"):
        assert our_log[f"train/{key}"] == pytest.approx(stock_log[f"train/{key}"], rel=1e-4, abs=1e-6), key
    gradients = dict(stock.policy.named_parameters())
    for key, parameter in ours.policy.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradients[key].grad, rtol=1e-3, atol=1e-6, msg=key)
        # In a small network the output's own blocks may lie behind a silent unit; these may not.
        must_learn = name != "varied" or key.endswith(("weights.hx", "weights.hh", "weights.yh"))
        assert not must_learn or parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_of_actor_and_critic_are_clipped_each_by_itself(name: str) -> None:
    limit = 1e-4
    whole, _ = after_one_update(SequencePPO, name)
    clipped, log = after_one_update(SequencePPO, name, limit, grad_clipping="separate")
    pairs = list(zip(whole.policy.parameters(), clipped.policy.parameters(), strict=True))
    critic = set(clipped.policy.critic_parameters())
    for network, of_network in (
        ("critic", [pair for pair in pairs if pair[1] in critic]),
        ("actor", [pair for pair in pairs if pair[1] not in critic]),
    ):
        before, after = (torch.cat([one.grad.flatten() for one in side]) for side in zip(*of_network, strict=True))
        assert before.norm() > limit
        assert log[f"train/gradient_norm/{network}"] == pytest.approx(before.norm().item(), rel=1e-3)
        torch.testing.assert_close(after, before * limit / before.norm(), rtol=1e-3, atol=1e-8)


def test_unknown_clipping_of_gradients_is_refused() -> None:
    with pytest.raises(Refusal, match="joint or separate is needed"):
        SequencePPO(LstmPolicy, environments(), grad_clipping="each")


@pytest.mark.parametrize("n_steps", [4, 16])
def test_minibatches_with_few_or_no_counted_steps_keep_the_weights_finite(n_steps: int) -> None:
    policy_class, options = POLICIES["varied"]
    algorithm = SequencePPO(
        policy_class,
        environments(),
        loss_steps="last",
        n_steps=n_steps,
        batch_size=n_steps,
        n_epochs=2,
        policy_kwargs=options,
        seed=1,
        device="cpu",
    )
    algorithm.set_logger(configure(None, []))
    ends = []
    train = algorithm.train

    def count_then_train() -> None:
        ends.extend(algorithm.rollout_buffer.episode_ends.sum(axis=0).tolist())
        train()

    algorithm.train = count_then_train
    algorithm.learn(6 * n_steps * N_ENVS)
    assert {0, 1} <= set(ends)
    assert all(torch.isfinite(parameter).all() for parameter in algorithm.policy.parameters())


@pytest.mark.parametrize("batch_size", [39, 60, 200])
def test_batch_size_must_hold_whole_sequences(batch_size: int) -> None:
    with pytest.raises(ValueError, match=r"batch_size .* multiple of n_steps 40 from 2 up to 160"):
        SequencePPO(LstmPolicy, environments(), n_steps=N_STEPS, batch_size=batch_size)


def test_every_environment_is_in_one_minibatch() -> None:
    algorithm, _ = after_one_update(SequencePPO, "lstm")
    batches = list(algorithm.rollout_buffer.sequences(3, np.random.default_rng(0)))
    assert [batch.returns.shape[1] for batch in batches] == [3, 1]
    seen = torch.cat([batch.returns for batch in batches], dim=1)
    expected = torch.as_tensor(algorithm.rollout_buffer.returns)
    assert sorted(seen[0].tolist()) == sorted(expected[0].tolist())


@pytest.mark.parametrize("module", [torch.nn.LSTM, PairedGru])
def test_cell_with_resets_equals_stepping(module: type[torch.nn.RNNBase]) -> None:
    torch.manual_seed(0)
    cell = module(3, 5).double()
    inputs = torch.randn(12, 4, 3, dtype=torch.float64)
    state = (torch.randn(1, 4, 5, dtype=torch.float64), torch.randn(1, 4, 5, dtype=torch.float64))
    episode_starts = (torch.rand(12, 4) < 0.25).double()
    first = state
    expected, (h, c) = [], state
    for x, start in zip(inputs, episode_starts, strict=True):
        keep = (1 - start).view(1, 4, 1)
        out, (h, c) = cell(x[None], (h * keep, c * keep))
        expected.append(out)
    torch.testing.assert_close(run_cell(cell, inputs, first, episode_starts), torch.cat(expected))
