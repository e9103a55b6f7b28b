"""What is done every so many steps of a training."""

from abc import abstractmethod
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from envs.vectorized.state_tree import StateTree


class PeriodicCallback(BaseCallback):
    """Does something every `every` steps, at the end of the update that passes them, and at the end of the training.

    A subclass says what in `act`.

    :param every: environment steps
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self._due = every
        self._acted_at = 0

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on: plain values and arrays."""
        return {"every": self.every, "due": self._due, "acted_at": self._acted_at}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state, perhaps with another `every` from now on."""
        tree = StateTree(state)
        self._acted_at = tree.whole("acted_at")
        self._due = tree.whole("due") if tree.whole("every") == self.every else self._next(self._acted_at)

    @abstractmethod
    def act(self) -> None:
        """Do it, after `num_timesteps` environment steps."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # A rollout starts right after an update: here the policy has learned from all steps so far.
        if self.num_timesteps >= self._due:
            self._act_once()
            self._due = self._next(self.num_timesteps)

    def _next(self, steps: int) -> int:
        return (steps // self.every + 1) * self.every

    def _on_training_end(self) -> None:
        self._act_once()

    def _act_once(self) -> None:
        # A training that ended and was resumed begins where it has acted already.
        if self._acted_at < self.num_timesteps:
            self.act()
            self._acted_at = self.num_timesteps
