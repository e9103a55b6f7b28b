"""What reset, step and render have to return, by Gymnasium's API, and what of it is passed on.

What does not fit is said in one line where it comes first. What an environment returns stays its own: its info is
copied, never written to.
"""

import copy
import math
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.refusal import OneLine

RESERVED = ("episode", "terminal_observation", "TimeLimit.truncated")
"""What a VecEnv of Stable-Baselines3 says in an info; an environment's own entries of these names become `own.NAME`."""

LARGEST = float(np.finfo(np.float32).max)
"""in float32, which agents compute in"""


class Unfit(OneLine, ValueError):
    """What an environment returned does not fit; the line says what it was, and what is needed."""


class EnvironmentFailure(RuntimeError):
    """An environment raised, or returned what does not fit; the message says which, and from which seed it got there.

    :ivar index: of the environment in the VecEnv; None for a batch as a whole
    :ivar seed: it was last reset with; None if it never was
    :ivar episode: counted from 1 since that seed; later resets draw from the same generator. None if not known
    :ivar step: counted from 1 in that episode; 0 is its reset. None if not known
    :param reason: the exception, which becomes the cause unless it is `Unfit`, or a text that says what happened
    """

    def __init__(
        self, index: int | None, seed: int | None, episode: int | None, step: int | None, reason: object
    ) -> None:
        self.index, self.seed, self.episode, self.step = index, seed, episode, step
        found = {"seed": seed, "episode": episode, "step": step}
        where = ", ".join(f"{name} {value}" for name, value in found.items() if name == "seed" or value is not None)
        text = describe(reason) if isinstance(reason, BaseException) else str(reason)
        who = "the batch of environments" if index is None else f"environment {index}"
        super().__init__(f"{who} failed ({where}): {' '.join(text.split())}")
        if isinstance(reason, BaseException) and not isinstance(reason, Unfit):
            self.__cause__ = reason


class Expected(NamedTuple):
    """What an observation has to be, as a Box says it too."""

    shape: tuple[int, ...]
    dtype: np.dtype


def is_its_own(error: BaseException) -> bool:
    """Tell whether an environment raised this by itself, SystemExit for instance.

    Ctrl-C comes to the main thread, as a plain KeyboardInterrupt where Python's own handler is in place; another
    handler raises something of its own.
    """
    if not isinstance(error, KeyboardInterrupt):
        return True
    if threading.current_thread() is not threading.main_thread():
        return True
    return type(error) is KeyboardInterrupt and signal.getsignal(signal.SIGINT) is not signal.default_int_handler


def describe(error: BaseException) -> str:
    """Return what an environment raised, and in which line of which file; without a text of its own, that line."""
    if isinstance(error, Unfit):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    said = str(error) or (frames[-1].line if frames else None) or ""
    text = f"{type(error).__name__}: {said}".replace("`", "'")  # in which a field of ours would stand
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def raising_module(error: BaseException) -> str:
    """Return the name of the module in which an exception was raised; empty if it never was."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))


def reset(environment: gymnasium.Env, space: spaces.Box, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Reset an environment.

    :param space: of the observations, with the dtype that they are to have
    :return: the observation, checked, and a copy of the info
    :raises Unfit: if it does not return an observation that fits and a dictionary
    """
    result = environment.reset(**options)
    if not isinstance(result, tuple) or len(result) != 2:
        raise Unfit(f"its reset returned {_kind(result)}: a pair (observation, info) is needed")
    if not isinstance(result[1], Mapping):
        raise Unfit(f"the info of its reset is {_kind(result[1])}: a dictionary is needed")
    return as_observation(result[0], space, "reset"), dict(result[1])


def step(environment: gymnasium.Env, action: Any) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
    """Step an environment.

    :return: as Gymnasium's, the observation not yet checked
    :raises Unfit: if it does not return what Gymnasium's does
    """
    try:
        result = environment.step(action)
    except (ValueError, TypeError) as error:
        # One of the wrappers around it has met what it returned.
        if "unpack" in str(error) and raising_module(error).startswith(_WRAPPERS):
            raise Unfit(f"its step returned another number of values: {_STEP}") from error
        raise
    if not isinstance(result, tuple) or len(result) != 5:
        raise Unfit(f"its step returned {_kind(result)}: {_STEP}")
    observation, reward, terminated, truncated, info = result
    if type(info) is not dict and not isinstance(info, Mapping):
        raise Unfit(f"the info of its step is {_kind(info)}: a dictionary is needed")
    if type(reward) is not float:
        reward = _as_reward(reward)
    if abs(reward) > LARGEST and not math.isinf(reward):
        raise Unfit(f"the reward of its step is beyond float32 ({reward:g}): it has to be scaled or clipped")
    if terminated is not True and terminated is not False:
        terminated = _as_flag(terminated, "terminated")
    if truncated is not True and truncated is not False:
        truncated = _as_flag(truncated, "truncated")
    return observation, reward, terminated, truncated, info


def as_observation(observation: Any, space: spaces.Box | Expected, method: str = "step") -> np.ndarray:
    """Return an observation of the space's shape and dtype, which may be the environment's own array.

    :raises Unfit: for another shape, for what are no numbers, and for numbers beyond the dtype
    """
    if type(observation) is np.ndarray and observation.shape == space.shape:
        if observation.dtype is space.dtype:
            return observation
        # The usual case of a simulator's float64, in a third of the time: no square is larger than their sum.
        floats = observation.dtype == np.float64 and space.dtype == np.float32 and observation.ndim == 1
        if floats and observation.dot(observation) <= LARGEST**2:
            return observation.astype(space.dtype)
    try:
        array = np.asarray(observation)
    except ValueError:
        array = np.empty((), object)
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, space.dtype, "same_kind"):
        kind = array.dtype if array.dtype.kind in "biuf" else _kind(observation)
        raise Unfit(f"the observation of its {method} is {kind}: numbers of type {space.dtype} are needed")
    if array.shape != space.shape:
        raise Unfit(
            f"the observation of its {method} has the shape {array.shape}: {space.shape} is needed, "
            "as its observation_space says"
        )
    try:
        with np.errstate(over="raise"):
            return array.astype(space.dtype)
    except FloatingPointError:
        entry = int(np.argmax(np.abs(array)))
        raise Unfit(
            f"the observation of its {method} is beyond {space.dtype} ({array.flat[entry]:g} at entry {entry}): "
            "it has to be scaled or clipped"
        ) from None


def render(environment: gymnasium.Env, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return a picture of an environment, (height, width, 3) uint8; grey ones get colours, transparency is dropped.

    :param shape: that it has to have (default: any)
    :raises Unfit: if it is none, or has another shape
    """
    rendered = environment.render()
    picture = rendered if isinstance(rendered, np.ndarray) else np.empty(0)
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or picture.dtype != np.uint8 or not picture.size:
        raise Unfit(f"its render returned {_kind(rendered)}: a picture (height, width, 3) of type uint8 is needed")
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[:, :, :3]
    if shape is not None and picture.shape != shape:
        raise Unfit(f"its render returned a picture of shape {picture.shape}: {shape} is needed, as before")
    return picture


def passed_on(info: Mapping[str, Any], *, last: bool) -> dict[str, Any]:
    """Return an info that is ours to add to, with none of the environment's own entries under a name of ours.

    :param last: of an episode, whose info is kept: lists, dictionaries and arrays in it are copied, and `is_success`
        is a bool, or away where it says neither yes nor no
    """
    ours = dict(info)
    for name in RESERVED:
        if name in ours:
            ours[f"own.{name}"] = ours.pop(name)
    if last:
        for name, value in ours.items():
            if isinstance(value, np.ndarray | list | dict):
                ours[name] = _copied(value)
        if "is_success" in ours and (success := as_truth(ours.pop("is_success"))) is not None:
            ours["is_success"] = success
    return ours


def as_truth(value: Any) -> bool | None:
    """Return what a bool, a number or an array of one says, also of PyTorch or JAX; None for anything else."""
    array = np.asarray(value) if np.isscalar(value) or hasattr(value, "__array__") else None
    if array is None or array.size != 1 or array.dtype.kind not in "biuf" or array.item() != array.item():
        return None
    return bool(array.item())


class Closable(Protocol):
    """What has to be closed, such as an environment."""

    def close(self) -> None:
        """Close it."""


def close(*environments: Closable) -> None:
    """Close environments; what that raises is said in one line for all, since nothing is lost by it."""
    errors: list[BaseException] = []
    for environment in environments:
        try:
            environment.close()
        except (Exception, SystemExit) as error:
            errors.append(error)
    if errors:
        with suppress(OSError, ValueError):  # the terminal may have gone
            text = " ".join(describe(errors[0]).split())
            print(f"warning: an environment could not be closed: {text}", file=sys.stderr)


_WRAPPERS = ("gymnasium.wrappers", "envs.adroit.success", "envs.flattening")
_STEP = "five values (observation, reward, terminated, truncated, info) are needed"


def _as_reward(reward: Any) -> float:
    if isinstance(reward, int) and abs(reward) > LARGEST:  # it may be beyond any float
        raise Unfit("the reward of its step is a whole number beyond float32: it has to be scaled or clipped")
    array = np.asarray(reward) if np.isscalar(reward) or hasattr(reward, "__array__") else None
    if array is None or array.size != 1 or array.dtype.kind not in "biuf":
        raise Unfit(f"the reward of its step is {_kind(reward)}: a number is needed")
    return float(array.item())


def _as_flag(flag: Any, name: str) -> bool:
    truth = as_truth(flag)
    if truth is None:
        raise Unfit(f"{name} of its step is {_kind(flag)}: True or False is needed")
    return truth


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # of something in it that cannot be copied, such as a lock
        return copy.copy(value)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    if isinstance(value, tuple):
        return f"{len(value)} values ({', '.join(_kind(entry) for entry in value[:5])})"
    text = repr(value)
    return text if len(text) <= 40 else f"a value of type {type(value).__name__}"
