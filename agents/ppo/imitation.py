"""Imitation: fitting a policy to demonstrations, and the loss that PPO may keep as a term of its own.

Sources: behaviour cloning of an expert data set is the protocol of Hershey and Paffenroth (arXiv 2509.15057) on the
Adroit tasks; the decaying term during reinforcement learning is DAPG's (Rajeswaran et al. 2018, arXiv 1709.10087).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import Parameter
from torch.special import log_ndtr
from tqdm import tqdm

from agents.ppo.finite import check_gradient
from agents.ppo.rebalancing import Moved, Rebalancing
from agents.runs.normalization import ObservationNormalization
from policies.fused_adam import FusedAdam, clip_gradients
from policies.sequence_policy import SequencePolicy

UPDATES = 300
"""What a fit takes unless told how many epochs: enough for 5 episodes of the hammer task as for 450."""
UPDATES_PER_EPOCH, LARGEST_BATCH = 15, 32
"""A minibatch holds a fifteenth of the episodes, but no more than this many."""
_MEASURED = 8
"""Of a minibatch the eighth part is enough to see where weights are to be grown: four episodes of 32."""
LEARNING_RATE, WIDE = 1e-3, 500
"""Step size unless told, and the hidden units from which on it is less."""


@dataclass(frozen=True)
class Demonstrations:
    """E episodes, time-major, padded with zeros behind their ends to the T steps of the longest."""

    observations: np.ndarray
    """(T, E, n_x) float32, as the environment gives them"""
    actions: np.ndarray
    """(T, E, n_a) float32, choices int64, for Discrete (T, E)"""
    lengths: np.ndarray
    """(E,) int64, steps of each episode"""
    returns: np.ndarray
    """(E,) float64, sum of the recorded rewards"""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def counted(self) -> np.ndarray:
        """(T, E) bool, the steps that lie within their episode."""
        return np.arange(len(self.observations))[:, None] < self.lengths

    def select(self, episodes: np.ndarray) -> "Demonstrations":
        """Return some of the episodes, in the order given."""
        longest = int(self.lengths[episodes].max())
        return Demonstrations(
            self.observations[:longest, episodes],
            self.actions[:longest, episodes],
            self.lengths[episodes],
            self.returns[episodes],
        )


@dataclass(frozen=True)
class FitPoint:
    """Losses after so many epochs, each the mean over steps and entries of actions of the negative log-likelihood."""

    epoch: int
    training_loss: float
    """mean over the epoch's minibatches"""
    held_out_loss: float


class ImitationLoss:
    """The negative log-likelihood of demonstrated actions under a policy that has seen the episode so far.

    Per step and entry of the action. Box actions are taken for the policy's mean action plus Gaussian noise of the
    demonstrator's, clipped to the bounds. So an action recorded at a bound says only that the unclipped one lay at or
    beyond it, and its likelihood is that of the tail (a censored regression; Tobin 1958): a mean beyond the bound,
    which acts the same, is not pulled back. Where both bounds are one number, it says nothing. The demonstrator's noise
    is estimated along with the policy and has nothing to do with the noise that the policy explores with. Choices have
    the policy's own probabilities.

    :param demonstrations: episodes as the environment gives them
    :param normalization: applied to the observations, None for none
    :param action_space: of the environment
    :param device: where the tensors lie
    :param log_std: (n_a,) logarithm of the demonstrator's noise, for two losses that share it; default: one of its own
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        normalization: ObservationNormalization | None,
        action_space: spaces.Space,
        device: torch.device | str,
        log_std: Parameter | None = None,
    ) -> None:
        observations = demonstrations.observations
        if normalization is not None:
            observations = normalization(observations)
        self.observations = torch.as_tensor(observations, device=device)
        self.actions = torch.as_tensor(demonstrations.actions, device=device)
        self.counted = torch.as_tensor(demonstrations.counted, device=device)
        self.bounds: tuple[Tensor, Tensor] | None = None
        self.log_std = Parameter(torch.zeros(0, device=device)) if log_std is None else log_std
        self.entries = math.prod(action_space.shape or ())
        """of an action"""
        if isinstance(action_space, spaces.Box):
            low, high = (
                torch.as_tensor(bound.ravel(), device=device) for bound in (action_space.low, action_space.high)
            )
            self.bounds = (low.float(), high.float())
            if log_std is None:
                width = self.bounds[1] - self.bounds[0]
                self.log_std = Parameter(torch.log(0.25 * torch.where(width > 0, width, 1)))

    def __len__(self) -> int:
        return self.observations.shape[1]

    def __call__(self, policy: SequencePolicy, episodes: np.ndarray) -> Tensor:
        """Return the loss on some of the episodes, a scalar.

        :param episodes: (E,) their indices
        """
        columns = torch.as_tensor(episodes, device=self.observations.device)
        counted = self.counted[:, columns]
        # Columns of short episodes end in padding: what the longest chosen one does not need is cut off.
        longest = int(counted.any(dim=1).sum())
        observations = self.observations[:longest, columns]
        actions, counted = self.actions[:longest, columns], counted[:longest]
        outputs = policy.run_actor(observations, observations.new_zeros(observations.shape[:2]))
        if self.bounds is None:
            rows, chosen = outputs.flatten(0, 1), policy.counted_from_zero(actions).flatten(0, 1)
            losses = -policy.distribution(rows).log_prob(chosen).view(counted.shape) / self.entries
        else:
            losses = censored_negative_log_likelihood(actions, outputs, self.log_std, *self.bounds).mean(dim=-1)
        return losses[counted].mean()


def censored_negative_log_likelihood(
    actions: Tensor, means: Tensor, log_std: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Return −log of the likelihood of actions drawn from a Gaussian and clipped to [low, high].

    :param actions: (…, n_a), within the bounds
    :param means: (…, n_a)
    :param log_std: (n_a,)
    :param low: (n_a,), as `high`
    :return: (…, n_a); inside the bounds of the density, at a bound of the tail's probability, 0 where both are one
    """
    std = torch.exp(log_std)
    scaled = (actions - means) / std
    inside = 0.5 * scaled**2 + log_std + 0.5 * float(np.log(2 * np.pi))
    losses = torch.where(actions >= high, -log_ndtr((means - high) / std), inside)
    losses = torch.where(actions <= low, -log_ndtr((low - means) / std), losses)
    return torch.where(low < high, losses, 0)


def default_learning_rate(hidden_size: int) -> float:
    """Return the step size of a fit unless told: 1e-3, above 500 hidden units less by the root of their number.

    Adam moves every weight by about its step size, so that what all hidden units together add to an output, which
    comes back to them in the next step, moves the further the more of them there are. Measured on the hammer task: 452
    units learn at 1e-3; 3,681 explode at 1e-3 in the first epoch and learn at 3e-4.
    """
    return LEARNING_RATE * min(1.0, math.sqrt(WIDE / hidden_size))


def fit_updates(episodes: int, epochs: int | None) -> int:
    """Return how many updates a fit to so many episodes takes: whole epochs.

    :param epochs: as `fit` is told
    """
    minibatches = len(_minibatch_starts(episodes))
    return minibatches * (-(-UPDATES // minibatches) if epochs is None else epochs)


def _minibatch_starts(episodes: int) -> range:
    return range(0, episodes, min(LARGEST_BATCH, max(1, episodes // UPDATES_PER_EPOCH)))


def fit(
    policy: SequencePolicy,
    fitted: ImitationLoss,
    held_out: ImitationLoss,
    *,
    epochs: int | None,
    learning_rate: float,
    max_grad_norm: float,
    generator: np.random.Generator,
    after_update: Callable[[], None],
    after_epoch: Callable[[FitPoint, int], None],
    progress: bool,
    rebalancing: Rebalancing | None = None,
    rebalance_every: int = 10,
    after_move: Callable[[int, Moved], None] = lambda update, moved: None,
) -> None:
    """Fit a policy's actor to demonstrations; the critic and the exploration noise are left alone.

    Adam with a step size that falls linearly to zero, on minibatches of whole episodes.

    :param epochs: passes over the demonstrations; None for as many as make `UPDATES` updates
    :param generator: draws the minibatches
    :param after_update: called after each update
    :param after_epoch: called after each epoch with its losses and the number of all epochs
    :param progress: show a progress bar
    :param rebalancing: moves weights of the actor meanwhile
    :param rebalance_every: updates between moves
    :param after_move: called after each move with the updates so far and what the move came to in the actor
    :raises NotFinite: before a loss or gradient that is not finite is learned from
    """
    starts = _minibatch_starts(len(fitted))
    updates = fit_updates(len(fitted), epochs)
    epochs, batch_size = updates // len(starts), starts.step
    # Adam's moments of the fit are of another loss than PPO's: an optimizer of its own leaves the policy's fresh.
    parameters = [*policy.parameters(), fitted.log_std]
    optimizer = FusedAdam(parameters, lr=learning_rate, eps=1e-5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 1 - update / updates)
    with tqdm(total=updates, desc="imitation", unit="update", disable=not progress, dynamic_ncols=True) as bar:
        for epoch in range(1, epochs + 1):
            policy.set_training_mode(True)
            order = generator.permutation(len(fitted))
            losses = []
            for update, start in enumerate(starts, (epoch - 1) * len(starts) + 1):
                loss = fitted(policy, order[start : start + batch_size])
                optimizer.zero_grad()
                loss.backward()
                gradient_norm = clip_gradients(parameters, max_grad_norm)
                check_gradient(
                    loss, gradient_norm, {"imitation_loss": loss}, policy.named_parameters(), "demo_learning_rate"
                )
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
                if rebalancing is not None and update % rebalance_every == 0:
                    few = order[start : start + max(1, batch_size // _MEASURED)]
                    moved = rebalancing.step(policy, optimizer, update / updates, partial(fitted, policy, few))
                    if moved:
                        after_move(update, moved["actor"])
                bar.update()
                after_update()
            policy.set_training_mode(False)
            with torch.no_grad():
                held_out_loss = held_out(policy, np.arange(len(held_out))).item()
            point = FitPoint(epoch, torch.stack(losses).mean().item(), held_out_loss)
            bar.set_postfix(loss=f"{point.training_loss:.3f}", held_out=f"{held_out_loss:.3f}", refresh=False)
            after_epoch(point, epochs)
