"""The limit on the growth of recurrent networks after updates, here and in sb3-contrib's own RecurrentPPO."""

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from agents.ppo.stretches import long_stretches, over_resets
from policies.sequence_policy import SequencePolicy


def limit_growth(policy: SequencePolicy, stretches: torch.Tensor, logger: Logger) -> None:
    """Keep the networks of a policy from amplifying roundings along what they have just seen, and log what was done.

    :param stretches: of observations, as `long_stretches` returns them
    """
    for name, growth in policy.limit_growth(stretches).items():
        logger.record(f"network/growth/{name}", growth.before)
        logger.record(f"network/recurrence_scale/{name}", growth.scale)


class GrowthLimit(BaseCallback):
    """Keeps the networks of a stock RecurrentPPO from amplifying roundings, after each update.

    `SequencePPO` does so by itself, and needs none of this. Beside `RebalancingCallback` it comes after it, so that the
    moved weights are held to the limit too.

    :param cut_episodes: the episodes trained in are shorter than those that the policy is to act in: several of them
        count as one
    :raises TypeError: where the training starts, if the policy is none of this project's
    """

    def __init__(self, *, cut_episodes: bool = False) -> None:
        super().__init__()
        self.over_resets = over_resets(cut_episodes)
        self._stretches: torch.Tensor | None = None
        """of the rollout that is learned from; None when the limit has been applied since"""

    def _on_training_start(self) -> None:
        if not isinstance(self.model.policy, SequencePolicy):
            raise TypeError(f"{type(self.model.policy).__name__} does not limit its growth, a SequencePolicy is needed")

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        algorithm = self.model
        assert isinstance(algorithm, RecurrentPPO)
        buffer = algorithm.rollout_buffer  # its arrays are laid out in another way when they are learned from
        observations = long_stretches(buffer.observations, buffer.episode_starts, self.over_resets)
        self._stretches = torch.as_tensor(observations, device=algorithm.device)

    def _on_rollout_start(self) -> None:
        self._apply()

    def _on_training_end(self) -> None:
        self._apply()

    def _apply(self) -> None:
        if self._stretches is None:
            return
        policy = self.model.policy
        assert isinstance(policy, SequencePolicy)
        limit_growth(policy, self._stretches, self.logger)
        self._stretches = None
