"""Strict tables of values (pydantic), and what a user is told of a value that does not fit one."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.refusal import Refusal

Path = tuple[str | int, ...]
"""Names and places in lists from a table to a value in it."""

_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "finite_number": "a finite number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table of names and values",
}
_BOUNDS = {
    "exclusiveMinimum": "above {}",
    "minimum": "of at least {}",
    "exclusiveMaximum": "below {}",
    "maximum": "at most {}",
    "minItems": "of at least {}",
    "minProperties": "of at least {}",
}


class Settings(BaseModel):
    """A table of exactly these names. True is no number, 3.0 is no whole number, "3" is neither; numbers are finite.

    Types, bounds and choices stand at the fields; a validator raises a `Refusal` that says what is needed.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def field_schemas(model: type[Settings]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of every field: type, bounds, choices (enum), default, description, and what it adds."""
    schema = model.model_json_schema()
    return {name: _resolved(field, schema) for name, field in schema["properties"].items()}


def first_misfit(error: ValidationError, model: type[Settings]) -> tuple[Path, str]:
    """Return the path of the first value that does not fit a model, and what is said of it.

    The path is empty if values do not fit each other, and ends at a table in which something is missing.
    """
    first = error.errors(include_url=False)[0]
    path, kind, schema = first["loc"], first["type"], model.model_json_schema()
    wanted = _at(schema, path)
    given = f"is {in_short(first['input'])}"
    if kind == "missing":
        path, given = path[:-1], f"has no {path[-1]!r}"
    elif kind == "extra_forbidden":
        given, wanted = "is unknown", {"enum": list(_at(schema, path[:-1])["properties"])}
    elif kind == "finite_number":
        wanted = {**wanted, "type": kind}
    elif path and path[-1] == "[key]":
        path, given = path[:-1], "does not fit as a name"
        wanted = _at(schema, path[:-1]).get("propertyNames", {"type": "string"})
    cause = first.get("ctx", {}).get("error")
    if not isinstance(cause, Refusal):
        return path, f"{given}: {_needed(wanted)} is needed"
    return path, f"{given}: {cause.message}" if path else cause.message


def in_short(value: object) -> str:
    """Write a value on one line of bearable length."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # too many digits, or levels
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= 60 else text[:57] + "..."


def in_words(value: object) -> str:
    """Write a value of a preset for a reader: several texts with spaces between them."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _needed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    noun = _NOUNS.get(schema.get("type", ""), "another value")
    if "minimum" in schema and "maximum" in schema:
        return f"{noun} from {schema['minimum']} to {schema['maximum']}"
    bounds = " and ".join(text.format(schema[name]) for name, text in _BOUNDS.items() if name in schema)
    return f"{noun} {bounds}".rstrip()


def _at(schema: dict[str, Any], path: Sequence[str | int]) -> dict[str, Any]:
    """Return the part of a model's JSON schema that describes what stands at a path."""
    part = schema
    for step in path:
        inner = part.get("properties", {}).get(step) or part.get("items") or part.get("additionalProperties")
        part = _resolved(inner if isinstance(inner, dict) else {}, schema)
    return part


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a part without the None that it allows, and with what it refers to."""
    options = [option for option in part.get("anyOf", ()) if option.get("type") != "null"]
    part = {**part, **options[0]} if options else part
    return {**part, **schema.get("$defs", {}).get(part.get("$ref", "").rpartition("/")[2], {})}
