"""The states of callbacks in a checkpoint, each under a key of its own.

A callback that has `get_state` and `set_state` has a state. Its key is its `state_key`, an attribute of the class or of
the callback, or else the name of its class.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from typing import Any, TypeAlias

from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from agents.callbacks import blamed
from envs.vectorized.state_tree import StateTree
from policies.refusal import Refusal
from policies.streams import say

AnyCallback: TypeAlias = BaseCallback | type[BaseCallback]


def state_key(callback: AnyCallback) -> str:
    """Return the key under which a checkpoint holds a callback's state."""
    return str(getattr(callback, "state_key", _class_of(callback).__name__))


def by_state_key(callbacks: Iterable[AnyCallback]) -> dict[str, Any]:
    """Return those callbacks that have a state, by their keys.

    :param callbacks: those in lists included; or classes, whose keys are to stay free for callbacks of theirs
    :raises Refusal: if two have the same key
    """
    found: dict[str, Any] = {}
    for callback in _each(callbacks):
        if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
            key = state_key(callback)
            if key in found:
                raise Refusal(
                    f"the callbacks {_name(found[key])} and {_name(callback)} have states of one key, {key!r}: "
                    "an attribute state_key that differs is needed on one of them"
                )
            found[key] = callback
    return found


def callback_states(callbacks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of callbacks as they are now.

    :raises CallbackFailure: for what a callback of a user's own raises
    """
    return {key: _state_of(callback) for key, callback in callbacks.items()}


def set_callback_states(callbacks: Mapping[str, Any], states: StateTree) -> None:
    """Return callbacks to their states in a checkpoint; what is there on one side only is noted on stderr.

    A callback without a state starts fresh. A state without a callback is dropped: it is not in the next checkpoint,
    where it would be of other steps than the rest.

    :raises Refusal: if a state does not fit
    :raises CallbackFailure: for whatever else a callback of a user's own raises
    """
    for key, callback in callbacks.items():
        if key in states:
            with nullcontext() if _is_ours(callback) else blamed(Refusal):
                callback.set_state(states.value(key))
        else:
            say(f"note: the checkpoint holds no state of {_name(callback)} ({key!r}), it starts fresh")
    for key in states:
        if key not in callbacks:
            say(f"note: no callback takes the checkpoint's state of {key!r}, it is dropped")


def _state_of(callback: Any) -> Any:
    if _is_ours(callback):
        return callback.get_state()
    # A stranger may give what it goes on writing into; ours do not, and a copy of all their curves would take time.
    with blamed():
        return deepcopy(callback.get_state())


def _is_ours(callback: BaseCallback) -> bool:
    return type(callback).__module__.partition(".")[0] == "agents"


def _each(callbacks: Iterable[AnyCallback]) -> Iterator[AnyCallback]:
    for callback in callbacks:
        if isinstance(callback, CallbackList):
            yield from _each(callback.callbacks)
        else:
            yield callback


def _class_of(callback: AnyCallback) -> type[BaseCallback]:
    return callback if isinstance(callback, type) else type(callback)


def _name(callback: AnyCallback) -> str:
    return f"{_class_of(callback).__module__}.{_class_of(callback).__qualname__}"
