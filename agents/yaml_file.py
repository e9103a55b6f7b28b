"""YAML read as plain values, with the line of each, so that every refusal can name file, line and key."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from agents.settings import Settings, first_misfit
from policies.refusal import Refusal

Scalar = None | bool | int | float | str
Model = TypeVar("Model", bound=Settings)

_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_DEEPEST = 20
_ARGUMENTS = "env_arguments"
"""Key of a table of an environment's arguments, wherever it stands."""


@dataclass(frozen=True)
class YamlFile:
    """What a file holds: plain values, and the line of each key, which is a path such as `groups.drawn.seeds[1]`."""

    path: Path
    content: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    """counted from 1"""

    def refuse(self, key: str, message: str) -> Refusal:
        """Return the error that refuses a key; the key of the whole file is empty."""
        line = self.lines.get(key, 1)
        return Refusal(f"{self.path}, line {line}{f', key {key!r}' if key else ''}: {message}")

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Let what is refused here name file, line and key."""
        try:
            yield
        except Refusal as error:
            raise self.refuse(key, str(error)) from None

    def checked(self, model: type[Model], values: Any, key: str = "") -> Model:
        """Return values of this file as a model.

        :param key: under which they stand
        :raises Refusal: one line that names file, line and key
        """
        try:
            return model.model_validate(values)
        except ValidationError as error:
            path, complaint = first_misfit(error, model)
            raise self.refuse(under(key, *path), complaint) from None


def under(key: str, *path: str | int) -> str:
    """Return the key of what lies in the value of a key: `seeds`, 1 → `seeds[1]`."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return key + steps if key else steps.removeprefix(".")


def read_yaml(file: Path) -> YamlFile:
    """Read a YAML file of plain values: null, true and false, finite numbers, texts, lists, and tables of unique names.

    In `env_arguments`, which are for the environment, tables may have keys that are numbers, and numbers be infinite.
    No object is built from the file: tags, aliases and anything but these values are refused.

    :raises Refusal: one line that names file, line and key
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Refusal(f"{file} is no text in UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refusal(f"{file} cannot be read: {reason}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be read"
        raise Refusal(f"{file}, line {mark.line + 1 if mark else 1}: this is no YAML: {problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise Refusal(f"{file} is no YAML: {error}") from None
    if node is None:
        raise Refusal(f"{file} is empty: a table of names and values is needed")
    reader = _Reader(YamlFile(file))
    content = reader.value(node, "", 0)
    return YamlFile(file, content, reader.file.lines)


class _Reader:
    """Turns YAML's nodes into values; remembers the nodes seen to find aliases."""

    def __init__(self, file: YamlFile) -> None:
        self.file = file
        self.seen: set[int] = set()
        self.loader = yaml.SafeLoader("")
        self.in_arguments = 0
        """how many of the tables that are being read are called env_arguments"""

    def value(self, node: yaml.Node, key: str, depth: int) -> Any:
        self.file.lines.setdefault(key, node.start_mark.line + 1)
        if id(node) in self.seen:
            raise self.file.refuse(key, "is an alias, which is not read: the value itself is needed")
        self.seen.add(id(node))
        if depth > _DEEPEST:
            raise self.file.refuse(key, f"lies {_DEEPEST} levels deep: fewer are needed")
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise self.file.refuse(key, f"has the tag {tag}: only plain values are read")
        if isinstance(node, yaml.MappingNode):
            return self.table(node, key, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, under(key, index), depth + 1) for index, child in enumerate(node.value)]
        return self.scalar(node, key)

    def table(self, node: yaml.MappingNode, key: str, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode) or name_node.tag not in _PLAIN_TAGS:
                self.file.lines[key] = line
                raise self.file.refuse(key, "has a name that is no text")
            path = under(key, name_node.value)
            self.file.lines[path] = line
            name = name_node.value
            # Names of arguments are texts; what lies in an argument is the environment's.
            if self.in_arguments > 1 or (self.in_arguments and f".{key}".rpartition(".")[2] != _ARGUMENTS):
                number = self.scalar(name_node, path)
                name = number if type(number) in (int, float) else name
            if name in entries:
                raise self.file.refuse(path, "is given a second time: once is needed")
            self.in_arguments += name == _ARGUMENTS
            entries[name] = self.value(value_node, path, depth + 1)
            self.in_arguments -= name == _ARGUMENTS
        return entries

    def scalar(self, node: yaml.Node, key: str) -> Scalar:
        try:
            value = self.loader.construct_object(node)
            str(value)  # too many digits
        except (ValueError, ArithmeticError, yaml.YAMLError):
            raise self.file.refuse(key, f"is {str(node.value)[:60]!r}, which cannot be read") from None
        if isinstance(value, str) and isinstance(node, yaml.ScalarNode) and node.style is None:
            value = _number(value)
        if isinstance(value, float) and not math.isfinite(value) and not (self.in_arguments and math.isinf(value)):
            raise self.file.refuse(key, f"is {value}: a finite number is needed")
        return value


def _number(text: str) -> str | float:
    """Read numbers such as 1e-4, which YAML 1.1 takes for texts as they have no point."""
    if not text[:1].isdigit() and text[:1] not in "+-.":
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) and "e" in text.lower() else text
