"""NAME=VALUE as a user gives it, for the constructor of an environment or of a wrapper."""

import ast
import warnings
from collections.abc import Iterable
from typing import Any

from envs.refusal import Refusal


def parse_arguments(texts: Iterable[str], field: str = "env_arguments") -> dict[str, Any]:
    """Read NAME=VALUE one by one: a value that is a Python literal becomes it, any other stays a text.

    :param field: what a refusal names
    :raises Refusal: for a text without `=`, a name that is no Python name, or a name given twice
    """
    arguments: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise Refusal(f"`{field}` {text!r} does not fit: NAME=VALUE such as sequence_length=10 is needed")
        if name in arguments:
            raise Refusal(f"`{field}` {text!r} gives {name} a second time: once is needed")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes and numbers in what may be a text
                arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            arguments[name] = value
    return arguments
