"""The states of callbacks in a checkpoint, each under a key of its own.

A callback that has `get_state` and `set_state` has a state. Its key is its `state_key`, an attribute of the class or of
the callback, or else the name of its class.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from stable_baselines3.common.callbacks import BaseCallback, CallbackList

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


def set_callback_states(callbacks: Mapping[str, BaseCallback], states: StateTree) -> None:
    """Return callbacks to their states in a checkpoint; what is there on one side only is noted on stderr.

    A callback without a state starts fresh. A state without a callback is dropped: it is not in the next checkpoint,
    where it would be of other steps than the rest.
    """
    for key, callback in callbacks.items():
        if key in states:
            callback.set_state(states.value(key))
        else:
            say(f"note: the checkpoint holds no state of {_name(callback)} ({key!r}), it starts fresh")
    for key in states:
        if key not in callbacks:
            say(f"note: no callback takes the checkpoint's state of {key!r}, it is dropped")


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
