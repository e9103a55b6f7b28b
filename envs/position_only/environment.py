"""An environment of which the agent sees some entries of the observation only, by default all but the velocities."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import parse_env_id

from envs.position_only.positions import POSITIONS
from envs.refusal import Refusal
from envs.task import task_of


class PositionOnly(gymnasium.ObservationWrapper):
    """Shows some entries of a flat observation; keeps nothing from step to step.

    :param keep: their indices
    """

    def __init__(self, env: gymnasium.Env, keep: Sequence[int]) -> None:
        super().__init__(env)
        space = env.observation_space
        assert isinstance(space, spaces.Box)
        self.keep = np.array(keep)
        self.observation_space = spaces.Box(space.low[self.keep], space.high[self.keep], dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.asarray(observation)[self.keep]


def make(env: str = "Pendulum-v1", keep: Sequence[int] | int | None = None, **arguments: Any) -> PositionOnly:
    """Make an environment inside; its time limit stays, and so does everything else but the observation.

    :param env: its id
    :param keep: indices of the entries that are seen; None for those that `positions.py` names
    :param arguments: of the environment inside
    :raises Refusal: if it is unknown or cannot be made, has splits of data or no flat observation, `keep` does not fit,
        or is missing where the velocities are not known
    """
    from envs.lookup import make_environment  # which knows this record

    if not isinstance(env, str):
        raise Refusal(f"env={env!r} is no id of an environment, such as Pendulum-v1")
    module, separator, name = env.rpartition(":")
    if separator:
        raise Refusal(f"a module is named before our own id: {module}:PositionOnly-v0 with env={name} is needed")
    if task_of(env).has_splits:
        raise Refusal(f"env={env} has splits of its data, which no evaluation could choose inside")
    inner = make_environment(env, arguments)
    space = inner.observation_space
    try:
        if not (isinstance(space, spaces.Box) and len(space.shape) == 1):
            raise Refusal(f"the observation of env={env} is no flat Box, whose entries keep= could choose")
        return PositionOnly(inner, _known(env, space.shape[0]) if keep is None else _checked(keep, env, space.shape[0]))
    except BaseException:
        inner.close()
        raise


def _known(env: str, size: int) -> Sequence[int]:
    _, name, _ = parse_env_id(env)
    sizes = POSITIONS.get(name, {})
    if size not in sizes:
        raise Refusal(
            f"which of the {size} entries of {env} are velocities is not known: keep= with the indices of the others, "
            "such as keep=(0,1), is needed"
        )
    return tuple(sizes[size])


def _checked(keep: Any, env: str, size: int) -> Sequence[int]:
    indices = [keep] if type(keep) is int else keep
    if (
        not isinstance(indices, list | tuple)
        or not indices
        or len({*map(repr, indices)}) < len(indices)
        or not all(type(index) is int and 0 <= index < size for index in indices)
    ):
        raise Refusal(
            f"keep={keep!r} does not fit {env}: indices from 0 to {size - 1}, each once, such as (0,1), are needed"
        )
    return indices
