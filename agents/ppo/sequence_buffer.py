"""The rollout buffer of whole sequences: minibatches are groups of environments over all steps."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from agents.ppo.stretches import long_stretches


class SequenceBatch(NamedTuple):
    """A minibatch of whole sequences, time-major; T = n_steps, B environments."""

    observations: Tensor
    """(T, B, n_x)"""
    actions: Tensor
    """(T, B, n_a), for Discrete (T, B); choices are int64"""
    old_values: Tensor
    """(T, B)"""
    old_log_prob: Tensor
    """(T, B)"""
    advantages: Tensor
    """(T, B)"""
    returns: Tensor
    """(T, B)"""
    episode_starts: Tensor
    """(T, B)"""
    episode_ends: Tensor
    """(T, B) bool, the steps that end an episode"""
    states: RNNStates
    """actor and critic state before the first step, pairs of (layers, B, state size)"""


class SequenceRolloutBuffer(RecurrentRolloutBuffer):
    """A rollout buffer that keeps sequences whole.

    Nothing is cut or padded, and the recurrent state is stored once, before the rollout's first step: the policy
    resets it at episode starts inside its own loop (what stable-baselines3-contrib issue 113 asks for).
    """

    actions: np.ndarray
    initial_states: RNNStates
    last_dones: np.ndarray

    def reset(self) -> None:
        """Empty the buffer.

        Actions of a Box are kept as they were drawn, in float32, whatever the type of the space: float16 would change
        their probabilities.
        """
        RolloutBuffer.reset(self)
        if self.actions.dtype.kind == "f":
            self.actions = self.actions.astype(np.float32, copy=False)

    def add(self, *args: np.ndarray, lstm_states: RNNStates, **kwargs: np.ndarray) -> None:
        """Add one step of all environments; arguments as in sb3-contrib's buffer."""
        if self.pos == 0:
            self.initial_states = lstm_states
        RolloutBuffer.add(self, *args, **kwargs)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: np.ndarray) -> None:
        """Compute returns and advantages from the values after the last step, and note which episodes it ended."""
        self.last_dones = np.asarray(dones, dtype=bool)
        super().compute_returns_and_advantage(last_values, dones)

    @property
    def episode_ends(self) -> np.ndarray:
        """(T, B) bool, the steps that end an episode."""
        return np.concatenate([self.episode_starts[1:] > 0, self.last_dones[None]])

    def sequences(self, n_environments: int, generator: np.random.Generator) -> Iterator[SequenceBatch]:
        """Yield every environment once, in random groups.

        :param n_environments: sequences per minibatch; the last minibatch holds what is left
        :param generator: draws the grouping
        """
        order = generator.permutation(self.n_envs)
        episode_ends = self.episode_ends
        for start in range(0, self.n_envs, n_environments):
            yield self._batch(order[start : start + n_environments], episode_ends)

    def stretches(self, over_resets: int = 0) -> Tensor:
        """Return the observations of a few long stretches without a reset, (L, k, n_x); see `long_stretches`."""
        found = long_stretches(self.observations, self.episode_starts, over_resets)
        return torch.as_tensor(found, device=self.device)

    def _batch(self, environments: np.ndarray, episode_ends: np.ndarray) -> SequenceBatch:
        def part(array: np.ndarray) -> Tensor:
            return torch.as_tensor(np.take(array, environments, axis=1), device=self.device)

        columns = torch.as_tensor(environments, device=self.device)

        def pair(states: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            return states[0][:, columns], states[1][:, columns]

        actions = part(self.actions)
        if not isinstance(self.action_space, spaces.Box):
            actions = (actions[..., 0] if isinstance(self.action_space, spaces.Discrete) else actions).long()
        return SequenceBatch(
            observations=part(self.observations),
            actions=actions,
            old_values=part(self.values),
            old_log_prob=part(self.log_probs),
            advantages=part(self.advantages),
            returns=part(self.returns),
            episode_starts=part(self.episode_starts),
            episode_ends=part(episode_ends),
            states=RNNStates(pair(self.initial_states.pi), pair(self.initial_states.vf)),
        )
