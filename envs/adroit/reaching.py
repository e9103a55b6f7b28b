"""The door to be opened and the ball to be relocated, with the reward corrected on request."""

import math
from typing import Any

import numpy as np

from envs.adroit.correction import CORRECTION, Correctable
from envs.adroit.robotics import AdroitHandDoorEnv, AdroitHandRelocateEnv


class DoorEnv(Correctable, AdroitHandDoorEnv):
    """The registered door; with the corrected reward every step's info has `registered_reward`."""

    def step(self, a: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Simulate 0.01 s as the registered environment does."""
        result = super().step(a)
        if not self.corrected:
            return result
        return _corrected(result, self.data.site_xpos[self.grasp_site_id], self.data.site_xpos[self.handle_site_id])


class RelocateEnv(Correctable, AdroitHandRelocateEnv):
    """The registered relocation; with the corrected reward every step's info has `registered_reward`."""

    def step(self, a: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Simulate 0.01 s as the registered environment does."""
        result = super().step(a)
        if not self.corrected:
            return result
        return _corrected(result, self.data.site_xpos[self.S_grasp_site_id], self.data.xpos[self.obj_body_id])


def _corrected(
    result: tuple[np.ndarray, float, bool, bool, dict[str, Any]], palm: np.ndarray, object_: np.ndarray
) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
    """Return a step's result with -0.1 for each metre between palm and object, in place of +0.1."""
    observation, reward, terminated, truncated, info = result
    return (
        *(observation, reward + CORRECTION * math.dist(palm, object_), terminated, truncated),
        {**info, "registered_reward": reward},
    )
