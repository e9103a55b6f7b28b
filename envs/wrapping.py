"""Wrappers around an environment, as texts: `module:Class`, or `module:Class:NAME=VALUE,…` with arguments.

Gymnasium's and POPGym's may stand in any file. A module of a user's own is code to run: the command line has to name
it, whenever it is used.
"""

import difflib
import importlib
import inspect
import re
import shlex
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium

from envs.arguments import parse_arguments
from envs.contract import close, describe
from envs.modules import import_named, is_named
from envs.popgym import require_popgym
from envs.refusal import Refusal

THEIRS = ("gymnasium.wrappers", "popgym.wrappers")
"""Modules whose wrappers a file may use, but for those in `WRITING`."""
WRITING = ("RecordVideo",)
"""They write files where their arguments say."""

NONE = "none"
"""Given alone it stands for no wrappers, where the preset has some."""


@dataclass(frozen=True)
class Wrapping:
    """A wrapper that was found, with what it is made with beside the environment."""

    text: str
    kind: type[gymnasium.Wrapper]
    arguments: Mapping[str, Any]


def import_wrappers(texts: Sequence[str]) -> tuple[str, ...]:
    """Import the modules of the wrappers that the command line names, and return their texts; see `NONE`.

    :raises Refusal: if one cannot be found
    """
    if [*texts] == [NONE]:
        return ()
    for text in texts:
        module, _, _ = _parts(text)
        if not _is_open(text):
            import_named(module, f"`wrappers` {text}")
    for text in texts:
        _found(text)
    return tuple(texts)


def wrappings_of(texts: Sequence[str], instead: str | None = None) -> tuple[Wrapping, ...]:
    """Find wrappers, which a file may name.

    :param texts: the innermost first
    :param instead: what to pass where the wrappers themselves cannot be given
    :raises Refusal: if there is no such wrapper, its arguments do not fit, or it is of a module that the command line
        has not named; that says what to pass
    """
    for text in texts:
        module, _, _ = _parts(text)
        if not (_is_open(text) or is_named(module)):
            words = instead or " ".join(f"`wrappers` {shlex.quote(other)}" for other in texts)
            raise Refusal(
                f"`wrappers` {text} runs code of {module}, which only the command line may: {words} is needed"
            )
    return tuple(_found(text) for text in texts)


def wrap(environment: gymnasium.Env, wrappings: Sequence[Wrapping]) -> gymnasium.Env:
    """Put wrappers around an environment, which is closed if one raises.

    :raises Refusal: if one raises
    """
    for wrapping in wrappings:
        try:
            wrapped: Any = wrapping.kind(environment, **deepcopy(dict(wrapping.arguments)))
            if not isinstance(wrapped, gymnasium.Env):  # its `__new__` may return anything
                raise TypeError(f"it is a {type(wrapped).__name__}, no environment")
        except (Exception, SystemExit) as error:
            close(environment)
            found = " ".join(describe(error).split())
            raise Refusal(f"`wrappers` {wrapping.text} cannot be made around this environment: {found}") from error
        environment = wrapped
    return environment


def _parts(text: str) -> tuple[str, str, str]:
    """Return module, class and arguments."""
    match = re.fullmatch(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)(?::(.+))?", text, re.DOTALL)
    if match is None:
        raise Refusal(
            f"`wrappers` {text!r} does not fit: module:Class or module:Class:NAME=VALUE,… "
            "such as gymnasium.wrappers:RescaleAction:min_action=-1.0,max_action=1.0 is needed"
        )
    return match[1], match[2], match[3] or ""


def _is_open(text: str) -> bool:
    """Tell whether a file may name this wrapper."""
    module, name, _ = _parts(text)
    return module in THEIRS and name not in WRITING


def _found(text: str) -> Wrapping:
    """Find the class, whose module may be imported, and see whether its arguments fit."""
    module, name, written = _parts(text)
    if module.startswith("popgym."):
        require_popgym(f"`wrappers` {text}")
    place = importlib.import_module(module)
    try:
        kind = getattr(place, name)  # some of Gymnasium's are imported now, and need what may be missing
    except AttributeError:
        close_names = difflib.get_close_matches(name, dir(place), n=3)
        fitting = f": did you mean {' or '.join(close_names)}?" if close_names else ""
        raise Refusal(f"`wrappers` {text} does not fit: {module} has no {name}{fitting}") from None
    except Exception as error:
        raise Refusal(f"`wrappers` {text} cannot be made: {' '.join(str(error).split())}") from error
    if not (isinstance(kind, type) and issubclass(kind, gymnasium.Wrapper)):
        raise Refusal(f"`wrappers` {text} does not fit: {name} is no gymnasium.Wrapper, which is needed")
    # A comma may stand in a value: the next argument begins where a name follows.
    try:
        arguments = parse_arguments(re.split(r",(?=[^\W\d]\w*=)", written) if written else (), "wrappers")
    except Refusal as error:
        raise Refusal(f"{error.message}, in {text}") from None
    signature = inspect.signature(kind)
    try:
        signature.bind(None, **arguments)
    except TypeError as error:
        _, *takes = signature.parameters
        raise Refusal(
            f"`wrappers` {text} does not fit: {error}; it takes {', '.join(takes) or 'no arguments'}"
        ) from None
    return Wrapping(text, kind, arguments)
