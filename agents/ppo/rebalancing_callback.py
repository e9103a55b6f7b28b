"""Moving weights beside PPO, in this project's and in sb3-contrib's own."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from agents.ppo.rebalancing import Rebalancing
from agents.ppo.rebalancing_figures import record_move
from agents.ppo.sequence_ppo import SequencePPO
from envs.vectorized.state_tree import StateTree, generator_state, set_generator_state
from policies.network.rebalancing import Candidates
from policies.refusal import Refusal


class _Prepared(NamedTuple):
    """What was measured before an update, for the move after it."""

    fraction: float
    candidates: Mapping[str, Mapping[str, Candidates]]
    stretches: Tensor | None
    """of the rollout, to limit the growth along them; None in a stock RecurrentPPO, which does not"""


class RebalancingCallback(BaseCallback):
    """Moves weights of a policy's sparse networks after every so many updates of PPO.

    Works in `SequencePPO` and in a stock RecurrentPPO. What needs the rollout is measured when it is complete: then the
    gradient is that of the policy which it was collected with. The weights move after the update, before the next
    rollout.

    :param rebalancing: the rule
    :param every: updates between moves; an update is all that is learned from one rollout
    :param keep: called before the first rollout and after each move, to keep the patterns of then
    :raises Refusal: if `every` is below 1; and where the training starts, if weights of the policy cannot move
    """

    def __init__(self, rebalancing: Rebalancing, *, every: int = 10, keep: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        if every < 1:
            raise Refusal(f"`every` {every} is too small: at least 1 is needed")
        self.rebalancing = rebalancing
        self.every = every
        self.keep = keep
        self._prepared: _Prepared | None = None

    def get_state(self) -> dict[str, Any]:
        return {"generator": generator_state(self.rebalancing.generator)}

    def set_state(self, state: dict[str, Any]) -> None:
        set_generator_state(self.rebalancing.generator, StateTree(state).table("generator"))

    def _on_training_start(self) -> None:
        self.rebalancing.check(self.model.policy, self.model.policy.optimizer)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        algorithm = self.model
        # Counted in steps, so that a resumed training needs no counter.
        updates = self.num_timesteps // (algorithm.n_steps * algorithm.n_envs)
        fraction = self.rebalancing.fraction_at(self.num_timesteps / algorithm._total_timesteps)
        if fraction <= 0 or updates % self.every:
            return
        ours = isinstance(algorithm, SequencePPO)
        loss = _loss(algorithm, self.rebalancing.generator) if ours else partial(_stock_loss, algorithm)
        if loss is None:
            return
        found = self.rebalancing.measure(algorithm.policy, algorithm.policy.optimizer, fraction, loss)
        self._prepared = _Prepared(fraction, found, algorithm.stretches() if ours else None)

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == 0:
            self.keep()
        self._move()

    def _on_training_end(self) -> None:
        self._move()  # what was due before a rollout that never came, where a callback ended the training

    def _move(self) -> None:
        if self._prepared is None:
            return
        (fraction, candidates, stretches), self._prepared = self._prepared, None
        policy = self.model.policy
        moved = self.rebalancing.move(policy, policy.optimizer, fraction, candidates)
        if stretches is not None:
            self.model.limit_growth(stretches)
        for name, figures in moved.items():
            record_move(self.logger, "network", name, getattr(policy, name).specification, figures)
        self.keep()


def _loss(algorithm: SequencePPO, generator: np.random.Generator) -> Callable[[], Tensor] | None:
    """Return PPO's loss on a random minibatch of the rollout; None if no step of it counts."""
    clip_range = algorithm.clip_range(algorithm._current_progress_remaining)
    for batch in algorithm.rollout_buffer.sequences(algorithm.batch_size // algorithm.n_steps, generator):
        if algorithm.loss_steps == "all" or batch.episode_ends.any():
            return lambda: algorithm.loss(batch, clip_range)[0]
    return None


def _stock_loss(algorithm: RecurrentPPO) -> Tensor:
    """Return the loss of sb3-contrib's RecurrentPPO on a minibatch before anything was learned: nothing is clipped."""
    # A copy: `get` lays the arrays out in another way, and other callbacks may read them after this one.
    batch = next(copy.copy(algorithm.rollout_buffer).get(algorithm.batch_size))
    choices = isinstance(algorithm.action_space, spaces.Discrete)
    values, log_prob, entropy = algorithm.policy.evaluate_actions(
        batch.observations,
        batch.actions.long().flatten() if choices else batch.actions,
        batch.lstm_states,
        batch.episode_starts,
    )
    counted = batch.mask > 0
    advantages = batch.advantages[counted]
    if algorithm.normalize_advantage and advantages.numel() > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    policy_loss = -(advantages * torch.exp(log_prob - batch.old_log_prob)[counted]).mean()
    value_loss = (batch.returns - values.flatten())[counted].square().mean()
    return policy_loss + algorithm.vf_coef * value_loss - algorithm.ent_coef * entropy[counted].mean()
