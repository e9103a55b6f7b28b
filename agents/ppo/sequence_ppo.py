"""Recurrent PPO on whole sequences."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.utils import explained_variance

from agents.ppo.finite import check_gradient, check_rollout, explain_failed_step
from agents.ppo.growth_limit import limit_growth
from agents.ppo.imitation import ImitationLoss
from agents.ppo.mismatch import check_mismatch
from agents.ppo.self_imitation import SelfImitation
from agents.ppo.sequence_buffer import SequenceBatch, SequenceRolloutBuffer
from agents.ppo.stretches import over_resets
from policies.fused_adam import clip_gradients
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy


@dataclass(frozen=True)
class ImitationTerm:
    """A loss on demonstrations that PPO adds to its own, weight · decay^k in the k-th update of the policy.

    The form is DAPG's (Rajeswaran et al. 2018, arXiv 1709.10087).
    """

    loss: ImitationLoss
    weight: float
    decay: float


class SequencePPO(RecurrentPPO):
    """sb3-contrib's RecurrentPPO with minibatches of whole sequences.

    A minibatch is a group of environments over all steps of the rollout, so `batch_size` is a multiple of `n_steps`.
    On the full batch its losses and gradients are those of the stock class; the difference is that sequences are
    neither cut nor padded (stable-baselines3-contrib issue 113) and that the policy resets its state inside its own
    loop. Arguments are those of RecurrentPPO and four more; the policy must be a `SequencePolicy`.

    :param grad_clipping: whose gradient has a norm of at most `max_grad_norm`: "joint", that of actor and critic
        together, as in the stock class, or "separate", that of each, which share no parameters: else a return that
        surprises the critic takes the actor's step away, and where success is rare and pays much, all of them
    :param cut_episodes: the environments' episodes are shorter than those that the policy is to act in
    :param loss_steps: "all", or "last": only the steps that end an episode count in the loss. For tasks where one
        action decides and the others change nothing, whose noise would drown the signal
    :param critic_rollouts: rollouts at the beginning from which the critic alone learns, for a policy that can do
        something already: the advantages of an untrained critic would destroy it
    :raises Refusal: if `batch_size` is no multiple of `n_steps` or larger than the rollout
    """

    policy: SequencePolicy
    rollout_buffer: SequenceRolloutBuffer

    imitation: ImitationTerm | None
    """a loss on demonstrations to add to the updates; None for none"""

    self_imitation: SelfImitation | None
    """a loss on the training's own best episodes, whose gradient is added to the updates; None for none"""

    def __init__(
        self,
        policy: type[SequencePolicy],
        env: Any,
        *,
        grad_clipping: str = "joint",
        cut_episodes: bool = False,
        loss_steps: str = "all",
        critic_rollouts: int = 0,
        **kwargs: Any,
    ) -> None:
        if loss_steps not in ("all", "last"):
            raise Refusal(f"`loss_steps` {loss_steps!r} is unknown: all or last is needed")
        if grad_clipping not in ("joint", "separate"):
            raise Refusal(f"`grad_clipping` {grad_clipping!r} is unknown: joint or separate is needed")
        self.grad_clipping = grad_clipping
        self.cut_episodes = cut_episodes
        self.loss_steps = loss_steps
        self.critic_rollouts = critic_rollouts
        self.imitation = None
        self.self_imitation = None
        super().__init__(policy, env, **kwargs)

    def _setup_model(self) -> None:
        check_batch_size(self.batch_size, self.n_steps, self.n_envs)
        super()._setup_model()
        stock = self.rollout_buffer
        self.rollout_buffer = SequenceRolloutBuffer(
            self.n_steps,
            self.observation_space,
            self.action_space,
            stock.hidden_state_shape,
            self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
        )
        self.minibatch_generator = np.random.default_rng(self.seed)
        self.iterations_before = 0
        self.rollouts_without_update = 0
        self.stop_after_update = False

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Collect a rollout, as sb3-contrib does; a policy that cannot act says why.

        :return: False if the training is to end, in the middle of the rollout or, by `stop_after_update`, before it
        :raises NotFinite: if the policy's outputs are not finite
        """
        if self.stop_after_update:
            return False
        try:
            return super().collect_rollouts(*args, **kwargs)
        except (RuntimeError, ValueError) as error:
            explain_failed_step(self, error)
            raise

    def dump_logs(self, iteration: int = 0) -> None:
        """Write a row of the log, counting the iterations before a resumption too."""
        super().dump_logs(self.iterations_before + iteration if iteration else 0)

    @torch.enable_grad()
    def train(self) -> None:
        """Update the policy on the collected rollout; gradients that an environment switched off are on meanwhile.

        :raises NotFinite: before it would learn from a number that is not finite
        :raises Mismatch: before it would learn from probabilities that are not those the rollout was drawn with
        """
        check_rollout(self.rollout_buffer)
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)
        clip_range_vf = None if self.clip_range_vf is None else self.clip_range_vf(self._current_progress_remaining)
        parameters = list(self.policy.parameters())
        statistics: dict[str, list[torch.Tensor]] = {}
        keep_on, updated = True, False
        # Counted in steps, so that a resumed training needs no counter of its own.
        policy_updates = -(-self.num_timesteps // (self.n_steps * self.n_envs)) - self.critic_rollouts
        critic_parameters = set(self.policy.critic_parameters())
        for parameter in parameters:
            parameter.requires_grad_(policy_updates > 0 or parameter in critic_parameters)

        for _ in range(self.n_epochs):
            for batch in self.rollout_buffer.sequences(self.batch_size // self.n_steps, self.minibatch_generator):
                if self.loss_steps == "last" and not batch.episode_ends.any():
                    continue  # no step of this minibatch counts
                loss, terms = self.loss(batch, clip_range, clip_range_vf)
                log_ratio = terms.pop("log_ratio")
                if not statistics:
                    # Nothing was learned from this rollout so far: the same policy, evaluated in another way.
                    own_kl = terms["approx_kl"].item()
                    self.logger.record("train/log_prob_mismatch", check_mismatch(log_ratio.abs().max()))
                for name, value in terms.items():
                    statistics.setdefault(name, []).append(value)
                if self.target_kl is not None and terms["approx_kl"].item() - own_kl > 1.5 * self.target_kl:
                    keep_on = False
                    break
                if policy_updates > 0 and self.imitation is not None:
                    loss = loss + self._imitation_loss(self.imitation, policy_updates, batch, statistics)
                own = self._self_imitation_gradients(batch, statistics) if policy_updates > 0 else []
                self.policy.optimizer.zero_grad()
                loss.backward()
                gradient_norm = self._clip_gradients(parameters, critic_parameters, statistics)
                check_gradient(loss, gradient_norm, terms, self.policy.named_parameters(), "learning_rate")
                for parameter, gradient in own:
                    assert parameter.grad is not None
                    parameter.grad.add_(gradient)
                self.policy.optimizer.step()
                updated = True
            self._n_updates += 1
            if not keep_on:
                break
        if updated:
            self.limit_growth(self.stretches())
        else:
            self.rollouts_without_update += 1
            self.logger.record("train/rollouts_without_update", self.rollouts_without_update)

        for name, values in statistics.items():
            self.logger.record(f"train/{name}", torch.stack(values).mean().item())
        buffer = self.rollout_buffer
        counted = buffer.episode_ends if self.loss_steps == "last" else np.ones_like(buffer.values, dtype=bool)
        if counted.any():
            self.logger.record(
                "train/explained_variance", explained_variance(buffer.values[counted], buffer.returns[counted])
            )
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", torch.exp(self.policy.log_std).mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def _clip_gradients(
        self,
        parameters: list[torch.nn.Parameter],
        of_critic: set[torch.nn.Parameter],
        statistics: dict[str, list[torch.Tensor]],
    ) -> torch.Tensor:
        """Scale gradients down as `grad_clipping` says, and return the norm that all together had before."""
        if self.grad_clipping == "joint":
            return clip_gradients(parameters, self.max_grad_norm)
        norms = []
        for name, is_critic in (("actor", False), ("critic", True)):
            own = [parameter for parameter in parameters if (parameter in of_critic) == is_critic]
            norms.append(clip_gradients(own, self.max_grad_norm).to(self.device))
            statistics.setdefault(f"gradient_norm/{name}", []).append(norms[-1])
        return torch.linalg.vector_norm(torch.stack(norms))

    def stretches(self) -> torch.Tensor:
        """Return stretches of what was observed in the rollout, (L, k, n_x), of as many steps as growth shows in.

        Episodes that are cut short count as one after the other: the policy is to act in whole ones.
        """
        return self.rollout_buffer.stretches(over_resets(self.cut_episodes))

    def limit_growth(self, stretches: torch.Tensor) -> None:
        """Keep the networks from amplifying roundings along what they have just seen.

        :param stretches: of observations, as `SequenceRolloutBuffer.stretches` returns them
        """
        limit_growth(self.policy, stretches, self.logger)

    def _imitation_loss(
        self, term: ImitationTerm, policy_updates: int, batch: SequenceBatch, statistics: dict[str, list[torch.Tensor]]
    ) -> torch.Tensor:
        """Return the weighted loss on as many random demonstrations as the minibatch has sequences."""
        count = min(batch.observations.shape[1], len(term.loss))
        loss = term.loss(self.policy, self.minibatch_generator.choice(len(term.loss), count, replace=False))
        statistics.setdefault("imitation_loss", []).append(loss.detach())
        return term.weight * term.decay ** (policy_updates - 1) * loss

    def _self_imitation_gradients(
        self, batch: SequenceBatch, statistics: dict[str, list[torch.Tensor]]
    ) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
        """Return what self-imitation adds to gradients, from as many of the best episodes as the batch has sequences.

        It is clipped by itself; see `SelfImitation`.
        """
        term = self.self_imitation
        if term is None:
            return []
        found = term(self.policy, batch.observations.shape[1], batch.states, self.minibatch_generator)
        if found is None:
            return []
        loss, gain = found
        statistics.setdefault("self_imitation_loss", []).append(loss.detach())
        statistics.setdefault("self_imitation_gain", []).append(gain)
        self.policy.optimizer.zero_grad()
        loss.backward()
        if hasattr(self.policy, "log_std"):
            self.policy.log_std.grad = None
        learned = {name: one for name, one in self.policy.named_parameters() if one.grad is not None}
        norm = clip_gradients(learned.values(), self.max_grad_norm)
        check_gradient(loss, norm, {"self_imitation_loss": loss}, learned.items(), "self_imitation")
        gradients = []
        for parameter in learned.values():
            assert parameter.grad is not None
            gradients.append((parameter, parameter.grad.mul_(term.weight)))
        return gradients

    def loss(
        self, batch: SequenceBatch, clip_range: float, clip_range_vf: float | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return PPO's loss on a minibatch, and its terms without gradient, by the names they are logged under.

        Beside them the logarithms of the probability ratios, "log_ratio".
        """
        values, log_prob, entropy = self.policy.evaluate_sequences(
            batch.observations, batch.actions, batch.states, batch.episode_starts
        )
        advantages, returns, old_values = batch.advantages, batch.returns, batch.old_values
        log_ratio = log_prob - batch.old_log_prob
        if self.loss_steps == "last":
            ends = batch.episode_ends
            values, log_ratio, entropy = values[ends], log_ratio[ends], entropy[ends]
            advantages, returns, old_values = advantages[ends], returns[ends], old_values[ends]
        if self.normalize_advantage and advantages.numel() > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

        ratio = torch.exp(log_ratio)
        clipped = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
        policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()

        if clip_range_vf is not None:
            values = old_values + torch.clamp(values - old_values, -clip_range_vf, clip_range_vf)
        value_loss = ((returns - values) ** 2).mean()
        entropy_loss = -entropy.mean()
        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss

        with torch.no_grad():
            terms = {
                "log_ratio": log_ratio.detach(),
                "policy_gradient_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "entropy_loss": entropy_loss.detach(),
                "loss": loss.detach(),
                # Schulman's low-variance estimate of the reverse KL divergence, http://joschu.net/blog/kl-approx.html
                "approx_kl": ((ratio - 1) - log_ratio).mean(),
                "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
            }
        return loss, terms


def check_batch_size(batch_size: int, n_steps: int, n_envs: int) -> None:
    """Refuse minibatches that would cut sequences.

    :raises Refusal: if `batch_size` is no multiple of `n_steps`, or larger than n_steps · n_envs
    """
    if not max(n_steps, 2) <= batch_size <= n_steps * n_envs or batch_size % n_steps:
        raise Refusal(
            f"`batch_size` {batch_size} does not fit: minibatches are whole sequences, so a multiple of "
            f"`n_steps` {n_steps} from 2 up to {n_steps * n_envs} ({n_envs} environments) is needed"
        )
