"""Episodes that end where the training cuts them."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class EndingCuts(VecEnvWrapper):
    """Has episodes end where their environments merely truncate them, because the training cuts them there.

    What follows a truncated episode is estimated by the critic. Where all are cut at the same step, a recurrent critic,
    which can count, has never been told what it is worth to be there: without rewards V(t) = gamma V(t + 1) holds for
    c gamma^-t with any c, and c drifts (after a million steps of Hammer the value was 95 there; no return exceeds 2.1).

    Steps are not counted: a wrapper that repeats actions has fewer of them than the environment that is cut.
    """

    def reset(self) -> VecEnvObs:
        """Begin new episodes."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step, and say of episodes that are cut that they ended."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for index in np.flatnonzero(dones).tolist():
            infos[index]["TimeLimit.truncated"] = False
        return observations, rewards, dones, infos
