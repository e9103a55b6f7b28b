"""What a user is told of an environment before a training in it starts: what will work, but not as they may expect."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.contract import close
from envs.lookup import make_environment
from envs.task import task_of

MANY_INPUTS = 20_000
"""Numbers in an observation, above which a user is told."""
FAR = 5.0
"""How many times wider or narrower than [-1, 1] the bounds of an action may be before a user is told."""


def remarks(
    env_id: str,
    arguments: Mapping[str, Any] | None = None,
    wrappers: Sequence[str] = (),
    vectorization: str = "serial",
) -> list[str]:
    """Return what there is to say of an environment, a line each with options in backquotes; often nothing.

    :raises Refusal: if it cannot be made
    """
    environment = make_environment(env_id, arguments, wrappers)
    try:
        lines = [many_inputs(env_id, environment.observation_space), far_bounds(env_id, environment.action_space)]
        if wrappers and vectorization == "batched":
            lines.append(f"note: {env_id} is stepped one by one, as its batched version takes no `wrappers`")
        if not (task_of(env_id).ends or has_time_limit(environment)):
            lines.append(
                f"note: {env_id} has no time limit, its episodes end only by themselves: "
                "`env_arguments` max_episode_steps=N limits them"
            )
    finally:
        close(environment)
    return [line for line in lines if line]


def many_inputs(env_id: str, space: spaces.Space) -> str | None:
    """Return a line if an observation has so many numbers that they take most of the weights, and of the time."""
    n_x = math.prod(space.shape or ())
    if n_x <= MANY_INPUTS:
        return None
    return (
        f"warning: observations of {env_id} have n_x = {n_x:,} numbers, of which every network reads all at each step: "
        "gymnasium.wrappers.ResizeObservation and GrayscaleObservation around it make pictures smaller"
    )


def far_bounds(env_id: str, space: spaces.Space) -> str | None:
    """Return a line if a policy, whose first actions are around 0 and about 1 in size, suits the bounds badly.

    Within bounds much wider it explores next to nothing, of much narrower ones it knows only the ends, and where 0 is
    outside it stays at one of them. Actions of which only one is possible have nothing to choose.
    """
    if not isinstance(space, spaces.Box):
        return None
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    reach = np.maximum(np.abs(low), np.abs(high))
    far = (low < high) & ((reach > FAR) | (reach < 1 / FAR) | (low > 0) | (high < 0))
    if not far.any():
        return None
    first = int(np.argmax(far))
    which = "" if len(far) == 1 or far.all() else f" at entry {first}, {far.sum()} of {len(far)} in all"
    return (
        f"warning: actions of {env_id} lie in [{low[first]:g}, {high[first]:g}]{which}, far from the [-1, 1] that "
        "policies start from, and little may be learned: "
        "`wrappers` gymnasium.wrappers:RescaleAction:min_action=-1.0,max_action=1.0 rescales them"
    )


def has_time_limit(environment: gymnasium.Env) -> bool:
    """Tell whether episodes are cut after some steps, by `gymnasium.make` or by a wrapper of the environment's own."""
    while isinstance(environment, gymnasium.Wrapper):
        if isinstance(environment, gymnasium.wrappers.TimeLimit):
            return True
        environment = environment.env
    return False
