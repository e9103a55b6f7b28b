"""How an environment's arguments are written into files, so that every one comes back equal and of its type.

YAML and JSON hold texts, whole numbers, floats, truth values, None, lists, and tables whose keys are texts; these stay
as they are. Any other Python literal (a tuple, a set, bytes, a table with numbers as keys) is written as a table of
one entry that holds its text, `{"python literal": "(3, 4)"}`, and read by `ast.literal_eval`, which builds values and
runs nothing. A table of that very form that is meant as one is written as a literal itself.
"""

import ast
import warnings
from collections.abc import Mapping
from typing import Any

from policies.refusal import Refusal

TAG = "python literal"
"""Key of the table that holds a literal's text."""

_DEEPEST = 20
_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def literal(value: Any, depth: int = 0) -> str:
    """Write a value as a Python literal. Values have the same text only if they are equal and of the same types.

    :raises Refusal: if it, or anything in it, has no such form: another type, a subclass, NaN
    """
    if depth > _DEEPEST:
        raise Refusal(f"lies more than {_DEEPEST} levels deep, which files do not hold: fewer are needed")
    kind = type(value)
    if kind is dict:
        return f"{{{', '.join(f'{literal(key, depth + 1)}: {literal(v, depth + 1)}' for key, v in value.items())}}}"
    if kind in (list, tuple, set):
        entries = [literal(entry, depth + 1) for entry in value]
        if kind is list:
            return f"[{', '.join(entries)}]"
        if kind is tuple:
            return f"({', '.join(entries)}{',' * (len(entries) == 1)})"
        return f"{{{', '.join(sorted(entries))}}}" if entries else "set()"
    if kind is float:
        text = repr(value).replace("inf", "1e999")  # infinity has no literal, but a number too large is read as it
    elif value is None or kind in (bool, int, complex, str, bytes):
        try:
            text = repr(value)
        except ValueError as error:  # too many digits
            raise Refusal(f"has no form that files hold ({error}): fewer are needed") from None
    else:
        text = ""
    try:
        same = repr(ast.literal_eval(text)) == repr(value)
    except _UNREADABLE:
        same = False
    if not same or value != value:
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        what = "nan" if kind is float else f"a {name}"
        raise Refusal(
            f"files would not give back {what}: a literal of Python's own types (numbers, texts, bytes, None, lists, "
            "tuples, sets and tables) is needed"
        )
    return text


def parse_literal(text: str) -> Any:
    """Read the text of a literal.

    :raises ValueError: if it is none
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and numbers in a text that may be no literal at all
            return ast.literal_eval(text)
    except _UNREADABLE as error:
        raise ValueError(str(error)) from None


def written(value: Any) -> Any:
    """Return a value as YAML and JSON hold it, in containers of its own.

    :raises Refusal: as `literal` does
    """
    if type(value) is list:
        return [written(entry) for entry in value]
    if type(value) is dict and all(type(key) is str and _is_unicode(key) for key in value) and [*value] != [TAG]:
        return {key: written(entry) for key, entry in value.items()}
    if value is None or type(value) in (bool, int, float) or (type(value) is str and _is_unicode(value)):
        return value
    return {TAG: literal(value)}


def read(value: Any) -> Any:
    """Return the value that `written` gave this form; what older files hold stays as it is.

    :raises Refusal: if a text that stands for a literal is none
    """
    if isinstance(value, list):
        return [read(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if [*value] != [TAG]:
        return {key: read(entry) for key, entry in value.items()}
    try:
        return parse_literal(value[TAG])
    except ValueError:
        raise Refusal(f"{TAG} {value[TAG]!r} does not fit: the text of one, such as '(3, 4)', is needed") from None


def surviving(value: Any) -> Any:
    """Return a copy of a value that files give back equal and of its type.

    :raises Refusal: if they would not
    """
    text = literal(value)
    copy = read(written(value))
    assert literal(copy) == text, text
    return copy


def written_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return an environment's arguments as YAML and JSON hold them."""
    return {name: written(value) for name, value in arguments.items()}


def read_arguments(arguments: Any) -> Any:
    """Return the arguments that `written_arguments` gave this form; what is no table stays for the checks to come.

    :raises Refusal: if a text that stands for a literal is none
    """
    if not isinstance(arguments, Mapping):
        return arguments
    try:
        return {name: read(value) for name, value in arguments.items()}
    except Refusal as error:
        raise Refusal(f"`env_arguments` {error.message}") from None


def _is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogates, two of which JSON takes for one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
