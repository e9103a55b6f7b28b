"""An episode as it was played, which is what a task's pictures are drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Outputs: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""What a policy says of whole episodes: (T, B, n_x) observations, as the environment gives them, to the means or logits
after each, (T, B, n_y) float32."""


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode of T steps. Observations and actions are empty where they were not asked for."""

    observations: np.ndarray
    """(T, n_x) float32, as the environment gave them: one before each action"""
    actions: np.ndarray
    """(T, …)"""
    info: Mapping[str, Any]
    """of the last step; the environment's own entries under a name of `envs.contract.RESERVED` are called `own.NAME`"""
    over: bool = True
    """whether it ended; one that went on and on was left after some steps"""
