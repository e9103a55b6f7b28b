"""A Gaussian action distribution whose standard deviation is the same whatever was observed."""

import math
from typing import Self

from stable_baselines3.common.distributions import DiagGaussianDistribution
from torch import Tensor
from torch.distributions import Normal


class StateIndependentGaussian(DiagGaussianDistribution):
    """Stable-Baselines3's diagonal Gaussian, where what depends on the standard deviation alone is computed once.

    Its own computes logarithms and variances for every row of a minibatch, and their gradients: half of PPO's loss.
    """

    log_std: Tensor

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor) -> Self:
        """Set the means (rows, n_a) and the logarithms of the standard deviations (n_a,)."""
        self.log_std = log_std
        # Without torch's validation, which costs more than what it checks.
        std = log_std.exp().expand_as(mean_actions)
        self.distribution = Normal(mean_actions, std, validate_args=False)
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the logarithm of the density of actions (rows, n_a), (rows,)."""
        scaled = (actions - self.distribution.loc) * (-self.log_std).exp()
        rows = self.log_std.sum() + 0.5 * math.log(2 * math.pi) * self.action_dim
        return -0.5 * (scaled * scaled).sum(dim=1) - rows

    def entropy(self) -> Tensor:
        """Return the entropy of every row, (rows,)."""
        entropy = self.log_std.sum() + 0.5 * (1 + math.log(2 * math.pi)) * self.action_dim
        return entropy.expand(len(self.distribution.loc))
