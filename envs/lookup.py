"""From an environment's id and arguments, as a user gives them, to the environment, or to one line that refuses them.

Every message names the field at fault: env or env_arguments.
"""

import copy
import dataclasses
import difflib
import importlib
import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias, TypeGuard

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator

from envs.adroit.success import FinalSuccess, SuccessCount
from envs.contract import close, describe, raising_module
from envs.cures import cure
from envs.flattening import FlatObservations, is_flat, misfit
from envs.modules import import_named
from envs.popgym import register_popgym
from envs.refusal import Refusal
from envs.rendering import missing_library
from envs.task import Task, task_of
from envs.wrapping import WRAPPERS, Wrapping, wrap

ActionSpace: TypeAlias = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary

LIMIT = "max_episode_steps"
"""Argument of `gymnasium.make`, for every environment: the steps after which an episode is truncated."""

_MODULES: dict[str, str] = {}
"""By id, the module that was imported for its sake: filled by `check_environment` and `import_modules`."""


def check_environment(env_id: str, *, allow_module: bool = True) -> str:
    """Find a Gymnasium environment and return the id it is registered under.

    :param env_id: an id, or `module:id`, which imports the module first so that it can register the id
    :param allow_module: False for an id that comes from a file, which must not choose code to run
    :raises Refusal: if there is no such environment, or the module is not allowed or fails to import
    """
    module, separator, name = env_id.rpartition(":")
    if separator and not allow_module:
        raise Refusal(f"`env` {env_id!r} imports a module, which only the command line may: a registered id is needed")
    if separator:
        import_named(module, f"`env` {env_id!r}")
    if name not in gymnasium.registry:
        _import_simulator("envs.adroit.robotics")
    if name.startswith("popgym-"):
        register_popgym(name)
    if name in gymnasium.registry:
        if separator:
            _MODULES[name] = module
        return name
    close = difflib.get_close_matches(name, gymnasium.registry, n=3)
    fitting = (
        f"did you mean {' or '.join(close)}?" if close else "an id such as AdroitHandHammer-v1 or CartPole-v1 is needed"
    )
    raise Refusal(f"`env` {env_id!r} is unknown to Gymnasium: {fitting}")


def registered_ids() -> list[str]:
    """Return the ids that Gymnasium knows, those of installed extras included.

    :raises Refusal: if a library is missing
    """
    _import_simulator("envs.adroit.robotics")
    if find_spec("popgym") is not None:
        register_popgym("")
    return [*gymnasium.registry]


def _import_simulator(module: str) -> None:
    """Import what imports MuJoCo."""
    try:
        importlib.import_module(module)
    except Exception as error:
        # With MUJOCO_GL set, MuJoCo loads the OpenGL library at once, whether anything will be rendered or not.
        if "MUJOCO_GL" not in os.environ:
            raise
        raise Refusal(missing_library(os.environ["MUJOCO_GL"], error)) from error


def check_recorded_environment(env_id: str, module: str | None = None) -> str:
    """Find the environment that a file names, as `check_environment` does; a refusal says what to pass.

    :param module: that registered it then, as the file says; named in the message, never imported
    :raises Refusal: if there is no such environment here
    """
    try:
        return check_environment(env_id, allow_module=False)
    except Refusal as error:
        if ":" in env_id or error.__cause__ is not None:  # a library is missing, whatever the environment
            raise
        if module is not None:
            raise Refusal(f"{module} has to register {env_id}: `env` {module}:{env_id} is needed") from None
        raise Refusal(f"{error.message}, or `env` MODULE:{env_id} if a module of yours registers it") from None


def module_of(env_id: str) -> str | None:
    """Return the module that was imported so that it registers an environment; None if none had to be."""
    return _MODULES.get(env_id)


def import_modules(modules: Iterable[str]) -> None:
    """Import modules that register environments, as `--import` names them.

    :raises Refusal: if one fails to import
    """
    for module in modules:
        before = {*gymnasium.registry}
        import_named(module, f"`import` {module}")
        _MODULES.update(dict.fromkeys(gymnasium.registry.keys() - before, module))


def make_environment(
    env_id: str, arguments: Mapping[str, Any] | None = None, wrappers: Sequence[str] = ()
) -> gymnasium.Env:
    """Make one environment that reports `is_success` at the end of an episode, if it knows success at all.

    Where its observations are no flat rows of floats but can be made some, they are: see `envs.flattening`.

    :param env_id: a registered id; see `check_environment` for `module:id`
    :param arguments: of the environment's constructor and of `gymnasium.make`, such as `max_episode_steps`
    :param wrappers: around it; see `envs.wrapping`
    :raises Refusal: if the id is unknown, the environment refuses the arguments, or a wrapper does not fit
    """
    spec = gymnasium.spec(check_environment(env_id, allow_module=False))
    return make_from_spec(spec, task_of(env_id), arguments, WRAPPERS.find_all(wrappers))


def make_from_spec(
    spec: EnvSpec, task: Task, arguments: Mapping[str, Any] | None, wrappings: Sequence[Wrapping] = ()
) -> gymnasium.Env:
    """Make an environment as `make_environment` does, of a specification and a record that another process may have.

    Every environment of the project is made here. Success is counted outside of the wrappers, which may end episodes.
    """
    if "gymnasium_robotics" in str(spec.entry_point):
        _import_simulator("envs.adroit.robotics")  # silences the notice in a process of its own, too
    elif "mujoco" in str(spec.entry_point):
        _import_simulator("mujoco")
    arguments = copy.deepcopy(dict(arguments or {}))  # an environment may change its own, and none of the others'
    if task.replacement is not None:
        spec = dataclasses.replace(spec, entry_point=task.replacement)
    try:
        # The checker warns about unusual environments at every step; `environment_spaces` refuses what does not fit.
        environment = gymnasium.make(spec, disable_env_checker=True, **arguments)
        if None in (getattr(environment, "observation_space", None), getattr(environment, "action_space", None)):
            environment.reset()  # some make their spaces there
    except (Exception, SystemExit) as error:
        if _is_fault_of_ours(spec, arguments, error):
            raise
        raise Refusal(_refusal(spec, task, arguments, error)) from error
    environment = wrap(environment, wrappings)
    if task.success_steps is not None:
        environment = SuccessCount(environment, task.success_steps)
    elif task.replacement is None:
        environment = FinalSuccess(environment)
    space = getattr(environment, "observation_space", None)
    return environment if is_flat(space) or misfit(space) else FlatObservations(environment)


def with_cut(env_id: str, arguments: Mapping[str, Any], steps: int | None) -> dict[str, Any]:
    """Return the arguments of an environment whose episodes are cut after some steps, unless they are shorter anyway.

    They are truncated; see `envs.vectorized.cuts` for having them end. The steps are those of the environment: a
    wrapper that repeats actions makes fewer of them.

    :param arguments: of the environment; `max_episode_steps` among them, where there is one, is its own limit
    :param steps: None: they are not cut
    :raises Refusal: if there is no such environment
    """
    if steps is None:
        return dict(arguments)
    own = arguments.get(LIMIT, gymnasium.spec(check_environment(env_id)).max_episode_steps)
    is_shorter = isinstance(own, int) and 0 < own < steps  # another is refused where the environment is made
    return dict(arguments) if is_shorter else {**arguments, LIMIT: steps}


def environment_spaces(
    env_id: str, arguments: Mapping[str, Any] | None = None, wrappers: Sequence[str] = ()
) -> tuple[spaces.Box, ActionSpace]:
    """Return the observation space, flat and as float32, and the action space of an environment to be trained on.

    :raises Refusal: if it cannot be made, its observations cannot be flattened, or its actions are neither a Box of
        floats with finite bounds nor Discrete, MultiDiscrete or MultiBinary
    """
    environment = make_environment(env_id, arguments, wrappers)
    try:
        observation_space = getattr(environment, "observation_space", None)
        action_space = getattr(environment, "action_space", None)
    finally:
        close(environment)
    if not is_flat(observation_space):
        raise Refusal(f"`env` {env_id} does not fit: its observations are {misfit(observation_space)}")
    if not _is_fitting_action(action_space):
        raise Refusal(
            f"`env` {env_id} does not fit: its actions are {_describe(action_space)}, a Box of floats with finite "
            "bounds, Discrete, or MultiDiscrete or MultiBinary of one axis is needed"
        )
    return float32_space(observation_space), action_space


def check_render_mode(env_id: str, arguments: Mapping[str, Any], mode: str, wrappers: Sequence[str] = ()) -> None:
    """Refuse an environment that does not render in this way, `rgb_array` (pictures) or `human` (a window).

    :raises Refusal: also if it cannot be made
    """
    environment = make_environment(env_id, arguments, wrappers)
    close(environment)
    modes = environment.metadata.get("render_modes") or ["nothing"]
    if mode not in modes:
        option, what = ("watch", "a window") if mode == "human" else ("video", "pictures")
        raise Refusal(f"`{option}` does not fit {env_id}: it renders {', '.join(modes)}, not {mode} ({what})")


def float32_space(space: spaces.Box) -> spaces.Box:
    """Return the Box with float32 bounds; what is beyond float32 becomes infinite."""
    if space.dtype == np.float32:
        return space
    with np.errstate(over="ignore"):
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)


def _is_fitting_action(space: spaces.Space | None) -> TypeGuard[ActionSpace]:
    if isinstance(space, spaces.Box):
        return np.issubdtype(space.dtype, np.floating) and space.is_bounded() and math.prod(space.shape) > 0
    if isinstance(space, spaces.MultiDiscrete):
        return len(space.shape) == 1
    return isinstance(space, spaces.Discrete) or (isinstance(space, spaces.MultiBinary) and isinstance(space.n, int))


def _describe(space: spaces.Space | None) -> str:
    if not isinstance(space, spaces.Box):
        return _one_line(space)
    bounds = "" if space.is_bounded() else " without finite bounds"
    return f"a Box of shape {space.shape} and type {space.dtype}{bounds}"


def _is_fault_of_ours(spec: EnvSpec, arguments: Mapping[str, Any], error: BaseException) -> bool:
    """Tell whether an environment of this project raised something else than a refusal or what Gymnasium refuses."""
    if not str(getattr(spec.entry_point, "__module__", spec.entry_point)).startswith("envs."):
        return False
    if isinstance(error, TypeError):
        return set(arguments) <= set(_argument_names(creator_of(spec)))
    if isinstance(error, Refusal | gymnasium.error.Error | ImportError):
        return False
    # One of ours may descend from a class of theirs, which says what it takes.
    return not raising_module(error).startswith(("gymnasium", "mujoco"))


def _refusal(spec: EnvSpec, task: Task, arguments: Mapping[str, Any], error: BaseException) -> str:
    set_elsewhere = ("reward",) if task.rewards else ()
    given = " ".join(f"{name}={value!r}" for name, value in arguments.items() if name not in set_elsewhere)
    what = f"`env` {spec.id}" + (f" with `env_arguments` {given}" if given else "")
    if isinstance(error, ValueError):
        return f"{what} does not fit: {_one_line(error)}"
    if not isinstance(error, TypeError):
        return f"{what} cannot be made{cure(spec, error)}: {_one_line(describe(error))}"
    cause = error.__cause__ or error  # Gymnasium wraps a constructor's TypeError in one that repeats all arguments
    takes = [name for name in _argument_names(creator_of(spec)) if name not in set_elsewhere]
    found = f"{type(cause).__name__}: {_one_line(cause)}"
    return f"{what} cannot be made: {found}; it takes {', '.join(takes) or 'no arguments'}"


def creator_of(spec: EnvSpec) -> Any:
    """Return the class, or the function, that makes the environments of a specification."""
    return load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point


def _argument_names(creator: Any) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(creator).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
