"""A reward for getting further than before, in place of one for every step spent where one is."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper


class ProgressRewards(VecEnvWrapper):
    """Pays what a step's reward exceeds the best one of the episode so far, and nothing for the first step.

    A reward for every step in a good place holds a policy there: whoever tries what comes next loses what it had. Paid
    once, it does not (google-deepmind/mujoco_playground pull request 28, where half of all seeds were held so).
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.best = np.full(venv.num_envs, np.nan)
        """(n_envs,) the best reward of each running episode, NaN before its first step"""

    def reset(self) -> np.ndarray:
        """Begin new episodes."""
        self.best[:] = np.nan
        observations = self.venv.reset()
        assert isinstance(observations, np.ndarray)
        return observations

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]:
        """Step, and replace the rewards."""
        observations, rewards, dones, infos = self.venv.step_wait()
        assert isinstance(observations, np.ndarray)
        before = np.where(np.isnan(self.best), rewards, self.best)
        self.best = np.maximum(before, rewards)
        progress = (self.best - before).astype(np.float32)
        self.best[dones] = np.nan
        return observations, progress, dones, infos
