"""Wrappers around an environment, chosen by texts: see `envs.chosen_classes`.

A file may name those of Gymnasium and of POPGym.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeAlias

import gymnasium

from envs.chosen_classes import ChosenClass, ClassChoice, ClassText
from envs.contract import close, describe
from envs.refusal import Refusal

THEIRS = ("gymnasium.wrappers", "popgym.wrappers")
"""Modules whose wrappers a file may use, but for those in `WRITING`."""
WRITING = ("RecordVideo",)
"""They write files where their arguments say."""

Wrapping: TypeAlias = ChosenClass[gymnasium.Wrapper]


def _is_open(text: ClassText) -> bool:
    return text.module in THEIRS and text.name not in WRITING


WRAPPERS = ClassChoice(
    "wrappers",
    gymnasium.Wrapper,
    "gymnasium.wrappers:RescaleAction:min_action=-1.0,max_action=1.0",
    given=1,
    is_open=_is_open,
)
"""The innermost first."""


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
