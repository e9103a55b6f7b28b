"""A Gaussian action distribution whose standard deviation is the same whatever was observed."""

import math
from typing import Self

import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution
from torch import Tensor
from torch.distributions import Normal


class StateIndependentGaussian(DiagGaussianDistribution):
    """Stable-Baselines3's diagonal Gaussian, where what depends on the standard deviation alone is computed once.

    Its own computes logarithms and variances for every row of a minibatch, and their gradients: half of PPO's loss.
    """

    mean: Tensor
    """(rows, n_a)"""
    log_std: Tensor
    """(n_a,)"""

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor) -> Self:
        """Set the means (rows, n_a) and the logarithms of the standard deviations (n_a,)."""
        self.mean, self.log_std = mean_actions, log_std
        return self

    @property
    def distribution(self) -> Normal:
        """The same as torch has it, for whoever asks; to build one takes as long as all that is asked of it here."""
        return Normal(self.mean, self.log_std.exp().expand_as(self.mean), validate_args=False)

    @distribution.setter
    def distribution(self, nothing: None) -> None:
        """Do what the parent's constructor asks for."""

    def sample(self) -> Tensor:
        """Draw actions (rows, n_a), that gradients pass through."""
        return self.mean + torch.empty_like(self.mean).normal_() * self.log_std.exp()

    def mode(self) -> Tensor:
        """Return the likeliest actions, (rows, n_a)."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the logarithm of the density of actions (rows, n_a), (rows,)."""
        scaled = (actions - self.mean) * (-self.log_std).exp()
        rows = self.log_std.sum() + 0.5 * math.log(2 * math.pi) * self.action_dim
        return -0.5 * (scaled * scaled).sum(dim=1) - rows

    def entropy(self) -> Tensor:
        """Return the entropy of every row, (rows,)."""
        entropy = self.log_std.sum() + 0.5 * (1 + math.log(2 * math.pi)) * self.action_dim
        return entropy.expand(len(self.mean))
