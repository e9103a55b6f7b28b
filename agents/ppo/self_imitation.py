"""Self-imitation: the best episodes of a training stay part of its loss (Oh et al. 2018, arXiv 1806.05635).

Where success is rare, an update sees it in one sequence of a hundred and the next hundred draw the policy elsewhere.
What is kept and learned from again until the policy expects as much itself, is not lost.
"""

import bisect
from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from policies.sequence_policy import SequencePolicy

MARGIN = 3.0
"""What a return must exceed the critic's value by to count. Rewards are normalized, so that it is about three standard
deviations of returns: an ordinary episode that went well is no reason to explore less."""

LASTING = 400
"""Minibatches for which an episode is learned from; it is let go where the next one ends. Twenty rollouts of the hammer
task have so many, of two minibatches and ten epochs each."""

RECENT = 100
"""Episodes by which is judged what the policy reaches."""

ORDINARY = 5
"""Of these so many must come at least halfway from the worst of them to an episode for it to be an ordinary one."""


class Episode(NamedTuple):
    """A whole episode of T steps."""

    observations: np.ndarray
    """(T, n_x) float32, as the environment gives them"""
    actions: np.ndarray
    """(T, n_a) float32 as they were drawn, not clipped to the bounds, or whole numbers, for Discrete (T,)"""
    rewards: np.ndarray
    """(T,) float32, trained on, not normalized"""


class KeptEpisode(NamedTuple):
    """One of the best episodes."""

    value: float
    """discounted return"""
    since: int
    """how many lessons there had been before it"""
    episode: Episode


def returns_to_go(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """Return the discounted sums of rewards to come, (T, …) float64, of rewards (T, …)."""
    returns = np.zeros((len(rewards) + 1, *rewards.shape[1:]))
    for step in range(len(rewards) - 1, -1, -1):
        returns[step] = rewards[step] + gamma * returns[step + 1]
    return returns[:-1]


class BestEpisodes:
    """The episodes with the highest discounted returns, the best first.

    One that is still better than what the policy reaches after `LASTING` lessons was a chance that cannot be repeated,
    and would hold the policy up for ever. One that the policy comes near to in every twentieth episode is nothing that
    PPO forgets: to go on imitating the luckiest ones then keeps the policy from what can be repeated.

    :param capacity: how many are kept, at least 1
    :param gamma: discount factor, by which an early success is better than a late one
    """

    def __init__(self, capacity: int, gamma: float) -> None:
        self.capacity = capacity
        self.gamma = gamma
        self.lessons = 0
        """minibatches so far that were learned from episodes"""
        self.kept: list[KeptEpisode] = []
        self.recent: deque[float] = deque(maxlen=RECENT)
        """discounted returns of the last episodes"""

    def __len__(self) -> int:
        return len(self.kept)

    def add(self, episode: Episode) -> None:
        """Keep an episode if it is among the best; of equals, the older ones."""
        value = float(returns_to_go(episode.rewards, self.gamma)[0])
        self.recent.append(value)
        self.kept = [one for one in self.kept if self.lessons - one.since < LASTING]
        bisect.insort_right(self.kept, KeptEpisode(value, self.lessons, episode), key=lambda one: -one.value)
        del self.kept[self.capacity :]

    def rare(self) -> list[Episode]:
        """Return the episodes to be learned from, the best first: those that are out of the ordinary."""
        if not self.recent:
            return []
        worst = min(self.recent)
        return [
            one.episode
            for one in self.kept
            if sum(value - worst >= (one.value - worst) / 2 for value in self.recent) < ORDINARY
        ]


class _Prepared(NamedTuple):
    """K episodes, padded behind their ends to the T steps of the longest."""

    observations: Tensor
    """(T, K, n_x), normalized"""
    actions: Tensor
    """(T, K, …)"""
    returns: Tensor
    """(T, K), discounted sums of the rewards to come, normalized"""
    counted: Tensor
    """(T, K) bool, the steps that may count in the loss"""


class SelfImitation:
    """A loss that raises the probability of what turned out better than the critic expected.

    −log π(action | what was seen) · (return − value), the mean over those steps of the best episodes that brought more
    than the critic's value by the margin. It ends by itself once the critic expects what has been reached, which it
    learns from PPO's rollouts (the paper's loss has a part for the critic too, of a hundredth of the weight).

    The probability is that of white noise around the policy's output, whatever noise explores: correlated noise would
    be blamed for what all of an episode's actions have in common, and that is what is to be learned. Actions count as
    they were drawn: clipped to their bounds they would let outputs grow to where noise changes nothing any more. How
    much the policy explores is left to PPO; a few episodes that fit well would end it.

    Its gradients are larger than PPO's by far, as the same few actions are learned again and again. So they are
    clipped by themselves, and what is left to the weight is how the two compare.

    :param weight: of this loss's clipped gradient beside PPO's
    :param episodes: to learn from
    """

    def __init__(self, weight: float, episodes: BestEpisodes) -> None:
        self.weight = weight
        self.episodes = episodes
        self._prepared: _Prepared | None = None

    @property
    def n_episodes(self) -> int:
        """How many episodes the updates to come learn from: those that are kept, without the ordinary ones."""
        return 0 if self._prepared is None else self._prepared.returns.shape[1]

    def prepare(self, environments: VecNormalize | None, device: torch.device | str, *, last_only: bool) -> None:
        """Lay out the episodes for the updates to come, normalized as the environments are now.

        :param environments: whose statistics normalize observations and rewards; None for neither
        :param last_only: only the step that ends an episode counts
        """
        self._prepared = None
        kept = self.episodes.rare()
        if not kept:
            return
        lengths = np.array([len(episode.rewards) for episode in kept])
        steps = np.arange(lengths.max())[:, None]

        def padded(arrays: list[np.ndarray]) -> np.ndarray:
            whole = np.zeros((len(steps), len(arrays), *arrays[0].shape[1:]), arrays[0].dtype)
            for column, array in enumerate(arrays):
                whole[: len(array), column] = array
            return whole

        observations = padded([episode.observations for episode in kept])
        rewards = padded([episode.rewards for episode in kept])
        if environments is not None:
            observations = np.asarray(environments.normalize_obs(observations), np.float32)
            rewards = environments.normalize_reward(rewards)
        returns = returns_to_go(rewards, self.episodes.gamma)
        actions = padded([episode.actions for episode in kept])
        self._prepared = _Prepared(
            torch.as_tensor(observations, device=device),
            torch.as_tensor(actions if actions.dtype.kind == "f" else actions.astype(np.int64), device=device),
            torch.as_tensor(returns, dtype=torch.float32, device=device),
            torch.as_tensor(steps == lengths - 1 if last_only else steps < lengths, device=device),
        )

    def __call__(
        self, policy: SequencePolicy, count: int, states: RNNStates, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """Return the loss on some of the episodes, and the mean of return − value over the steps that count.

        None if there is nothing to imitate.

        :param count: episodes to learn from, or all if there are fewer
        :param states: of which the zero states get their shape
        :param generator: draws the episodes
        """
        if self._prepared is None:
            return None
        prepared = self._prepared
        kept = prepared.returns.shape[1]
        chosen = np.arange(kept) if kept <= count else generator.choice(kept, count, replace=False)
        observations, actions = prepared.observations[:, chosen], prepared.actions[:, chosen]
        returns, counted = prepared.returns[:, chosen], prepared.counted[:, chosen]
        starts = torch.zeros_like(returns)
        starts[0] = 1

        def zeros(pair: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            h, c = (part.new_zeros(part.shape[0], len(chosen), part.shape[2]) for part in pair)
            return h, c

        outputs, values = policy.run_sequences(observations, RNNStates(zeros(states.pi), zeros(states.vf)), starts)
        chosen_actions = policy.counted_from_zero(actions).flatten(0, 1)
        log_prob = policy.distribution(outputs.flatten(0, 1)).log_prob(chosen_actions).view(counted.shape)
        gains = returns - values.detach()
        better = counted & (gains > MARGIN)
        if not better.any():
            return None
        self.episodes.lessons += 1
        gains = gains[better]
        return -(log_prob[better] * gains).mean(), gains.mean()
