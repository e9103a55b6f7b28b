"""FrankaKitchen-v1 that says how many of its tasks are done, and whether all are."""

from typing import Any

import numpy as np
from gymnasium_robotics.envs.franka_kitchen import KitchenEnv


class CountedKitchenEnv(KitchenEnv):
    """The registered kitchen, and two entries more in every step's info.

    - `tasks_done`: int, how many of `tasks_to_complete` have been done in this episode
    - `is_success`: bool, all of them have

    The arguments are those of the registered environment.
    """

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Simulate 0.08 s; see Gymnasium-Robotics."""
        observation, reward, terminated, truncated, info = super().step(action)
        done = len(info["episode_task_completions"])
        return (
            observation,
            reward,
            terminated,
            truncated,
            {**info, "tasks_done": done, "is_success": done == len(self.goal)},
        )
