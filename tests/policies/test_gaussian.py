"""The Gaussian of actions against Stable-Baselines3's own."""

import pytest
import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution

from policies.gaussian import StateIndependentGaussian


@pytest.mark.parametrize("n_actions", [1, 5])
def test_probabilities_entropy_and_gradients_are_those_of_the_stock_distribution(n_actions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    means, actions = torch.randn(2, 7, n_actions, generator=generator, dtype=torch.float64)
    log_std = torch.linspace(-1, 0.5, n_actions, dtype=torch.float64)
    weights = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    found = []
    for distribution in (StateIndependentGaussian(n_actions), DiagGaussianDistribution(n_actions)):
        leaves = [means.clone().requires_grad_(), log_std.clone().requires_grad_()]
        distribution.proba_distribution(*leaves)
        log_prob, entropy = distribution.log_prob(actions), distribution.entropy()
        torch.manual_seed(1)
        drawn = distribution.sample()
        loss = (weights * torch.stack([log_prob, entropy])).sum()
        found.append([log_prob, entropy, drawn, distribution.mode(), *torch.autograd.grad(loss, leaves)])
    for own, stock in zip(*found, strict=True):
        torch.testing.assert_close(own, stock)
