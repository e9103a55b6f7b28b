"""One record per environment: all that the rest of the project knows of it, beside what Gymnasium says.

A new task is a folder in `envs/` with its record, which `envs/__init__.py` lists, or a module of a user's own that
calls `register`. An environment without a record has the defaults of `Task`. Records are data: what is heavy to load
stands in them as a text, `module:name`, and is imported when it is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import gymnasium

from envs.refusal import Refusal

REGISTERED_REWARD = "registered"
PROGRESS_REWARD = "progress"
"""See `envs.vectorized.progress`; for every environment. Progress in another reward is called `corrected-progress`."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is known of an environment, or of several that are alike."""

    ids: tuple[str, ...]
    """under which Gymnasium knows them"""
    entry_point: str | None = None
    """class of an environment of our own, which is registered by this; None: registered elsewhere"""
    replacement: str | None = None
    """class that takes the place of the registered one; reports `is_success` itself, unless `success_steps` is given"""

    has_splits: bool = False
    """it takes an argument `split`, which is `train`, `validation` or `test`"""
    rewards: tuple[str, ...] = ()
    """what it takes as an argument `reward`, `registered` first, which is its default; empty: no such argument"""

    ends: bool = False
    """its episodes end without a time limit, so that nobody needs to be told that it has none"""
    success_steps: int | None = None
    """an episode succeeds with more steps than this whose info says `success`; None: if that of the last step does"""
    knows_success: bool = True
    """False: its episodes report no success, whatever is done in them"""
    score: str = "success rate"
    """what the share of successful episodes is called"""
    figures: tuple[str, ...] = ()
    """entries of an episode's last info, numbers, that are reported beside the return"""
    preset: Mapping[str, Any] = field(default_factory=dict)
    """settings of a training that suit it, by the names of its options; the others keep their defaults. What stands
    under `with_demos` suits a policy that has been fitted to demonstrations first"""

    pictures: str | None = None
    """function that draws what TensorBoard shows beside a training: (played episodes, action space) to matplotlib
    figures by name; the first few episodes hold their observations and actions"""
    still: str | None = None
    """function that draws episodes of a trained policy as one picture: (played episodes, the policy's
    `envs.episode.Outputs`) to a matplotlib figure"""
    film: str | None = None
    """function that draws them as a film, called with the same: to frames (height, width, 3) uint8 and how many are
    shown per second; None: the environment is rendered"""

    def __post_init__(self) -> None:
        tables = {name: MappingProxyType(dict(v)) if isinstance(v, Mapping) else v for name, v in self.preset.items()}
        object.__setattr__(self, "preset", MappingProxyType(tables))


TASKS: dict[str, Task] = {}
"""By id, as Gymnasium's registry: filled by `register`."""


def register(task: Task) -> None:
    """Make a record known, and its environment to Gymnasium if it has an entry point."""
    for env_id in task.ids:
        TASKS[env_id] = task
        if task.entry_point is not None:
            gymnasium.register(env_id, task.entry_point)


def task_of(env_id: str) -> Task:
    """Return the record of an id, `module:id` included; the defaults where there is none."""
    name = env_id.rpartition(":")[2]
    return TASKS.get(name) or Task(ids=(name,))


def with_split(env_id: str, arguments: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return the arguments with `split` (`train`, `validation` or `test`) added, for a task that has splits.

    One that is given already stays, and other environments' arguments are returned as they are.
    """
    return {"split": split, **arguments} if task_of(env_id).has_splits else dict(arguments)


def with_reward(env_id: str, arguments: Mapping[str, Any], reward: str) -> dict[str, Any]:
    """Return the arguments of an environment that gives this reward; that of progress is made of the registered one.

    :param arguments: as the user gave them, without the reward
    :raises Refusal: if the task has no such reward, or has one and the arguments name it themselves
    """
    rewards = task_of(env_id).rewards
    if rewards and "reward" in arguments:
        raise Refusal(f"`env_arguments` reward={arguments['reward']!r} does not fit {env_id}: `reward` sets it")
    if reward in (REGISTERED_REWARD, PROGRESS_REWARD):
        return dict(arguments)
    name = reward.removesuffix(f"-{PROGRESS_REWARD}")
    if name not in rewards:
        others = [other for other, task in TASKS.items() if name in task.rewards]
        hint = f", {name} is for {', '.join(others)}" if others else ""
        corrected = [trained for name in rewards[1:] for trained in (name, f"{name}-{PROGRESS_REWARD}")]
        fitting = " or ".join([REGISTERED_REWARD, PROGRESS_REWARD, *corrected])
        raise Refusal(f"`reward` {reward!r} does not fit {env_id}: {fitting} is needed{hint}")
    return {**arguments, "reward": name}


def pays_progress(reward: str) -> bool:
    """Tell whether a reward, as `with_reward` takes it, is for getting further."""
    return reward.rpartition("-")[2] == PROGRESS_REWARD
