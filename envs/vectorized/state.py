"""The whole state of environments, taken and given back, so that a run goes on as if it had never been interrupted.

A state is a tree of dictionaries and lists with NumPy arrays and plain values as leaves. What cannot be captured
exactly has no state at all (None): then only fresh episodes are honest.

An environment or a wrapper of another origin has a state too if it has `get_state()`, which returns such a tree, and
`set_state(state)`, which takes it back. What comes back may have lain in a file: tuples are lists then, and NumPy
numbers arrays. If it does not fit, `set_state` may raise a `Refusal`, which a user sees as one line; whatever else it
raises is taken for a bug of its own and keeps its traceback.
"""

import copy
import inspect
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import wrappers as theirs
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor

from envs.adroit.success import FinalSuccess, SuccessCount
from envs.flattening import FlatObservations
from envs.position_only.environment import PositionOnly
from envs.refusal import Refusal
from envs.vectorized.progress import ProgressRewards
from envs.vectorized.state_tree import StateTree, generator_state, set_generator_state

State = dict[str, Any]

WRAPPER_COUNTERS: Mapping[type[gymnasium.Wrapper], tuple[str, ...]] = {
    TimeLimit: ("_elapsed_steps",),
    OrderEnforcing: ("_has_reset",),
    SuccessCount: ("_count",),
    FinalSuccess: (),
    FlatObservations: (),
    PositionOnly: (),
    theirs.TimeAwareObservation: ("timesteps",),
    theirs.ClipAction: (),
    theirs.RescaleAction: (),
    theirs.ClipReward: (),
    theirs.DtypeObservation: (),
    theirs.FilterObservation: (),
    theirs.FlattenObservation: (),
    theirs.RescaleObservation: (),
    theirs.ReshapeObservation: (),
}
"""What each wrapper remembers from step to step; another has no exact state unless it has one of its own."""

KNOWN_PACKAGES = ("gymnasium", "gymnasium_robotics", "envs")
"""Whose MuJoCo environments keep, beside the simulator, nothing but numbers and arrays as attributes."""

MODEL_FIELDS = ("body_pos", "body_quat", "site_pos", "site_quat", "geom_pos", "geom_quat")
"""What resets change in the model: the nail board (hammer), door, goal (relocate), target orientation (pen)."""

POSE_FIELDS = (
    "xpos",
    "xquat",
    "xmat",
    "xipos",
    "ximat",
    "site_xpos",
    "site_xmat",
    "geom_xpos",
    "geom_xmat",
    "subtree_com",
    "sensordata",
)
"""What MuJoCo derives from its state at the beginning of a step, and some rewards read before the next one (Ant)."""


def vec_env_state(environments: VecEnv) -> State | None:
    """Return what `set_vec_env_state` needs to go on from here exactly, or None if the environments cannot tell.

    Known are those with `get_state` and `set_state` of their own (`ThreadVecEnv`, `RandomAnomalyVecEnv`), in any
    wrappers that keep nothing (normalization, whose statistics are the learner's), in VecMonitor and ProgressRewards.
    """
    state: State = {}
    while isinstance(environments, VecEnvWrapper):
        if isinstance(environments, VecMonitor):
            state["monitor"] = {
                "returns": environments.episode_returns.copy(),
                "lengths": environments.episode_lengths.copy(),
            }
        elif isinstance(environments, ProgressRewards):
            state["progress"] = {"best": environments.best.copy()}
        environments = environments.venv
    get_state = getattr(environments, "get_state", None)
    inner = None if get_state is None else get_state()
    return None if inner is None else state | {"environments": _own(environments, inner)}


def set_vec_env_state(environments: VecEnv, state: State) -> None:
    """Return to a state that `vec_env_state` took of environments made with the same arguments.

    :raises Refusal: if the state is of other environments or damaged
    """
    tree = StateTree(state, "the state does not fit these environments:")
    while isinstance(environments, VecEnvWrapper):
        if isinstance(environments, VecMonitor):
            tree.table("monitor").fill("returns", environments.episode_returns)
            tree.table("monitor").fill("lengths", environments.episode_lengths)
        elif isinstance(environments, ProgressRewards):
            tree.table("progress").fill("best", environments.best)
        environments = environments.venv
    if not hasattr(environments, "set_state"):
        raise Refusal(f"{tree.place} is of others, whose state can be restored")
    environments.set_state(tree.value("environments"))


def environment_state(environment: gymnasium.Env) -> State | None:
    """Return the exact state of one environment and its wrappers, or None if it cannot be had.

    Of MuJoCo environments it is the simulator's full integration state (`mjSTATE_INTEGRATION`, warm start included),
    the model's fields that resets change, the random generator and the attributes that are numbers or arrays.
    """
    wrappers: list[list[Any]] = []
    while isinstance(environment, gymnasium.Wrapper):
        names = WRAPPER_COUNTERS.get(type(environment))
        if names is not None:
            wrappers.append([getattr(environment, name) for name in names])
        elif _has_own_state(environment) and (own := environment.get_state()) is not None:  # type: ignore[attr-defined]
            wrappers.append([_own(environment, own)])
        else:
            return None
        environment = environment.env
    if _is_known_mujoco(environment):
        inner: State = _mujoco_state(environment)
    elif _has_own_state(environment) and (own := environment.get_state()) is not None:  # type: ignore[attr-defined]
        inner = _own(environment, own)
    else:
        return None
    return {"wrappers": wrappers, "inner": inner}


def set_environment_state(environment: gymnasium.Env, state: State) -> None:
    """Return to a state that `environment_state` took of an environment made with the same arguments.

    :raises Refusal: if the state is of another environment or damaged
    """
    tree = StateTree(state, "the state does not fit this environment:")
    wrappers = []
    while isinstance(environment, gymnasium.Wrapper):
        wrappers.append(environment)
        environment = environment.env
    rows = tree.row("wrappers", len(wrappers))
    for index, wrapper in enumerate(wrappers):
        names = WRAPPER_COUNTERS.get(type(wrapper))
        if names is None:
            if not _has_own_state(wrapper):
                raise Refusal(f"{tree.place} the state of {type(wrapper).__name__} cannot be restored")
            wrapper.set_state(rows.row(str(index), 1).value("0"))  # type: ignore[attr-defined]
            continue
        counts = rows.row(str(index), len(names))
        for place, name in zip(counts, names, strict=True):
            setattr(wrapper, name, counts.plain(place, int, bool))
    if _is_known_mujoco(environment):
        _set_mujoco_state(environment, tree.table("inner"))
    elif _has_own_state(environment):
        environment.set_state(tree.value("inner"))  # type: ignore[attr-defined]
    else:
        raise Refusal(f"{tree.place} is of another environment, whose state can be restored")


def _own(environments: VecEnv | gymnasium.Env, state: State) -> State:
    # Ours give copies; a stranger may give what it goes on writing into.
    return state if type(environments).__module__.partition(".")[0] == "envs" else copy.deepcopy(state)


def _is_known_mujoco(environment: gymnasium.Env) -> bool:
    return _is_mujoco(environment) and type(environment).__module__.partition(".")[0] in KNOWN_PACKAGES


def _is_mujoco(environment: gymnasium.Env) -> bool:
    # Where there is one it has been imported, which is for the lookup to do: with MUJOCO_GL set, that may fail.
    module = sys.modules.get("gymnasium.envs.mujoco")
    return module is not None and isinstance(environment, module.MujocoEnv)


def _has_own_state(environment: gymnasium.Env) -> bool:
    # MujocoEnv's set_state(qpos, qvel) is something else, and so may a stranger's methods of these names be.
    return (
        not _is_mujoco(environment)
        and _takes(getattr(environment, "get_state", None))
        and _takes(getattr(environment, "set_state", None), {})
    )


def _takes(method: Any, *arguments: Any) -> bool:
    try:
        inspect.signature(method).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def _mujoco_state(environment: Any) -> State:
    import mujoco

    model, data, kind = environment.model, environment.data, mujoco.mjtState.mjSTATE_INTEGRATION
    integration = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, integration, kind)
    attributes = vars(environment)
    return {
        "integration": integration,
        "poses": np.concatenate([getattr(data, name).ravel() for name in POSE_FIELDS]),
        "model": np.concatenate([getattr(model, name).ravel() for name in MODEL_FIELDS]),
        "random": generator_state(environment.np_random),
        "numbers": {name: _plain(value) for name, value in attributes.items() if _is_number(value)},
        "arrays": {name: value.copy() for name, value in attributes.items() if _is_own_array(value)},
    }


def _set_mujoco_state(environment: Any, tree: StateTree) -> None:
    import mujoco

    environment.reset()  # some attributes exist from the first episode on
    model, data, kind = environment.model, environment.data, mujoco.mjtState.mjSTATE_INTEGRATION
    attributes = vars(environment)
    numbers, arrays = tree.table("numbers"), tree.table("arrays")
    kept = ({n for n, v in attributes.items() if _is_number(v)}, {n for n, v in attributes.items() if _is_own_array(v)})
    if (set(numbers), set(arrays)) != kept:
        raise Refusal(f"{tree.place} has other attributes: it is of another environment, or of another version")
    integration = tree.array("integration", (mujoco.mj_stateSize(model, kind),), np.float64)
    _spread(tree, "model", [getattr(model, name) for name in MODEL_FIELDS])
    mujoco.mj_setState(model, data, integration, kind)
    _spread(tree, "poses", [getattr(data, name) for name in POSE_FIELDS])
    set_generator_state(environment.np_random, tree.table("random"))
    for name in arrays:
        arrays.fill(name, attributes[name])
    for name in numbers:
        setattr(environment, name, numbers.plain(name, type(_plain(attributes[name]))))


def _spread(tree: StateTree, name: str, fields: list[np.ndarray]) -> None:
    values = tree.array(name, (sum(field.size for field in fields),), np.float64)
    start = 0
    for field in fields:
        field[...] = values[start : start + field.size].reshape(field.shape)
        start += field.size


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number | np.bool_)


def _plain(value: Any) -> bool | int | float:
    return value.item() if isinstance(value, np.generic) else value


def _is_own_array(value: Any) -> bool:
    # Views are of the simulator's memory, which is restored as such.
    return isinstance(value, np.ndarray) and value.base is None and value.dtype.kind in "biuf"
