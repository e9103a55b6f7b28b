"""What the batches that environment classes of our own bring have in common: one task for all, no objects to reach."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv


class TaskBatch(VecEnv):
    """Environments that share one task, whose attributes are those of each of them; a subclass resets and steps them.

    :ivar task: what they share
    """

    task: Any

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def get_attr(self, attr_name: str, indices: int | Sequence[int] | None = None) -> list[Any]:
        value = None if attr_name == "render_mode" else getattr(self.task, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Sequence[int] | None = None) -> None:
        raise NotImplementedError(f"{attr_name} cannot be set: the environments of a batch share their arguments")

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Sequence[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        raise NotImplementedError(f"{method_name} cannot be called: the environments of a batch are no objects")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: int | Sequence[int] | None = None
    ) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
