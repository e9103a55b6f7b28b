"""No NaN and no infinity passes between environments and learner."""

from typing import Any, NoReturn

import numpy as np
from stable_baselines3.common.vec_env import VecEnvWrapper

from envs.refusal import OneLine


class NotFinite(OneLine, RuntimeError):
    """A number that is not finite has turned up; the line says what, where, and what may cause it."""


class FiniteVecEnv(VecEnvWrapper):
    """Passes everything on, unless an observation, a reward or an action holds a NaN or an infinity.

    Actions are passed on in the type of their space: what a learner gives is float32 or int64, whatever the space says.

    :raises NotFinite: at the step it happens; the text names the environment's index and the entries
    """

    def reset(self) -> np.ndarray:
        """Reset the environments and check their observations."""
        observations = self.venv.reset()
        assert isinstance(observations, np.ndarray)
        self._check_observations(observations)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Check the actions and step."""
        if not all_finite(actions):
            index, found = first_not_finite(actions)
            raise NotFinite(
                f"the action for environment {index} is not finite ({found}): the networks' state has exploded, "
                "a smaller `learning_rate` or `activation` tanh may help"
            )
        self.venv.step_async(actions.astype(self.action_space.dtype, copy=False))

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Check observations, rewards and the observations that end episodes."""
        observations, rewards, dones, infos = self.venv.step_wait()
        assert isinstance(observations, np.ndarray)
        self._check_observations(observations)
        if not all_finite(rewards):
            index, found = first_not_finite(rewards)
            refuse_reward(f"environment {index}", found)
        for index in np.flatnonzero(dones).tolist():
            terminal = infos[index].get("terminal_observation")
            if terminal is not None and not all_finite(terminal):
                refuse_observation(f"environment {index}", first_not_finite(terminal[None])[1])
        return observations, rewards, dones, infos

    def _check_observations(self, observations: np.ndarray) -> None:
        if not all_finite(observations):
            index, found = first_not_finite(observations)
            refuse_observation(f"environment {index}", found)


def all_finite(array: np.ndarray) -> bool:
    """Tell whether an array holds neither NaN nor infinity."""
    if array.dtype.kind != "f":
        return True
    if array.size < 4096:
        return bool(np.isfinite(array).all())
    # One product tells nearly always, in a quarter of the time of looking at every number; it may overflow, though.
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(flat).all())


def refuse_observation(whose: str, found: str) -> NoReturn:
    """Raise what is said of an observation."""
    raise NotFinite(
        f"the observation of {whose} is not finite ({found}): look at what it divides by, "
        "and at a simulation that has become unstable"
    )


def refuse_reward(whose: str, found: str) -> NoReturn:
    """Raise what is said of a reward."""
    raise NotFinite(f"the reward of {whose} is not finite ({found}): look at its step function")


def first_not_finite(rows: np.ndarray) -> tuple[int, str]:
    """Return the first row with a number that is not finite, and a text about it; there has to be one."""
    bad = ~np.isfinite(rows.reshape(len(rows), -1))
    index = int(np.flatnonzero(bad.any(axis=1))[0])
    entries = np.flatnonzero(bad[index])
    value = rows.reshape(len(rows), -1)[index, entries[0]]
    where = "" if bad.shape[1] == 1 else f" at entry {entries[0]}, {len(entries)} of {bad.shape[1]} in all"
    return index, f"{value}{where}"
