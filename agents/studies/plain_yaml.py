"""YAML read as plain values that remember where they stand, so that every refusal can name file, line and key."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from policies.refusal import Refusal

Scalar = None | bool | int | float | str

_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_DEEPEST = 20


@dataclass(frozen=True)
class Entry:
    """A value in a file: a scalar, a list of entries or a table of entries."""

    file: Path
    line: int
    """counted from 1"""
    key: str
    """path from the top, such as `groups.drawn.trials`; empty at the top"""
    value: Scalar | Sequence["Entry"] | Mapping[str, "Entry"]

    def refuse(self, message: str) -> Refusal:
        """Return the error that refuses this entry; `message` goes on after the key."""
        return refusal(self.file, self.line, self.key, message)

    def table(
        self, known: Collection[str] | None = None, what: str = "a table of names and values"
    ) -> "dict[str, Entry]":
        """Return the entries of a table.

        :param known: names that may be there; None for any
        :raises Refusal: if this is no table, or has a name that is not known
        """
        if not isinstance(self.value, Mapping):
            raise self.refuse(f"is {self.shown()}: {what} is needed")
        for name, entry in self.value.items():
            if known is not None and name not in known:
                raise entry.refuse(f"is unknown: one of {', '.join(known)} is needed")
        return dict(self.value)

    def items(self, what: str = "a list") -> "list[Entry]":
        """Return the entries of a list that is not empty.

        :raises Refusal: if this is none
        """
        if isinstance(self.value, Mapping) or not isinstance(self.value, Sequence) or isinstance(self.value, str):
            raise self.refuse(f"is {self.shown()}: {what} is needed")
        if not self.value:
            raise self.refuse(f"is empty: {what} is needed")
        return list(self.value)

    def is_list(self) -> bool:
        """Tell whether this is a list."""
        return isinstance(self.value, Sequence) and not isinstance(self.value, str)

    def text(self, what: str, among: Collection[str] | None = None) -> str:
        """Return a text, one of `among` if that is given.

        :raises Refusal: if this is none
        """
        if not isinstance(self.value, str) or (among is not None and self.value not in among):
            needed = f"one of {', '.join(among)}" if among is not None else what
            raise self.refuse(f"is {self.shown()}: {needed} is needed")
        return self.value

    def whole_number(self, low: int, high: int = 2**31 - 1) -> int:
        """Return an int in low … high.

        :raises Refusal: if this is none
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            raise self.refuse(f"is {self.shown()}: a whole number from {low} to {high} is needed")
        return self.value

    def number(self) -> float:
        """Return a finite number.

        :raises Refusal: if this is none
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.refuse(f"is {self.shown()}: a number is needed")
        return self.value

    def plain(self) -> Any:
        """Return the value as plain lists, tables and scalars."""
        if isinstance(self.value, Mapping):
            return {name: entry.plain() for name, entry in self.value.items()}
        if isinstance(self.value, Sequence) and not isinstance(self.value, str):
            return [entry.plain() for entry in self.value]
        return self.value

    def shown(self) -> str:
        """Write the value on one line of bearable length."""
        text = " ".join(repr(self.plain()).split())
        return text if len(text) <= 60 else text[:57] + "..."

    def lines(self) -> Iterator[tuple[str, int]]:
        """Yield the key and the line of this entry and of all in it."""
        yield self.key, self.line
        children: Sequence[Entry] = ()
        if isinstance(self.value, Mapping):
            children = list(self.value.values())
        elif self.is_list():
            children = self.value  # type: ignore[assignment]
        for entry in children:
            yield from entry.lines()


def refusal(file: Path, line: int, key: str, message: str) -> Refusal:
    """Return the error that refuses a key in a file."""
    where = f"{file}, line {line}" + (f", key {key!r}" if key else "")
    return Refusal(" ".join(f"{where}: {message}".split()))


def read_yaml(file: Path) -> Entry:
    """Read a YAML file of plain values: null, true and false, finite numbers, texts, lists, and tables of unique names.

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
        line = mark.line + 1 if mark else 1
        problem = error.problem or error.context or "it cannot be read"
        raise refusal(file, line, "", f"this is no YAML: {problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise Refusal(f"{file} is no YAML: {' '.join(str(error).split())}") from None
    if node is None:
        raise Refusal(f"{file} is empty: a study is needed")
    return _Reader(file).entry(node, "", 0)


class _Reader:
    """Turns YAML's nodes into entries; remembers the nodes seen to find aliases."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: set[int] = set()
        self.loader = yaml.SafeLoader("")

    def entry(self, node: yaml.Node, key: str, depth: int) -> Entry:
        line = node.start_mark.line + 1
        if id(node) in self.seen:
            raise refusal(self.file, line, key, "is an alias, which is not read: the value itself is needed")
        self.seen.add(id(node))
        if depth > _DEEPEST:
            raise refusal(self.file, line, key, f"lies {_DEEPEST} levels deep: fewer are needed")
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise refusal(self.file, line, key, f"has the tag {tag}: only plain values are read")
        if isinstance(node, yaml.MappingNode):
            return Entry(self.file, line, key, self.table(node, key, depth))
        if isinstance(node, yaml.SequenceNode):
            entries = [self.entry(child, f"{key}[{index}]", depth + 1) for index, child in enumerate(node.value)]
            return Entry(self.file, line, key, tuple(entries))
        return Entry(self.file, line, key, self.scalar(node, line, key))

    def table(self, node: yaml.MappingNode, key: str, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode) or name_node.tag not in _PLAIN_TAGS:
                raise refusal(self.file, line, key, "has a name that is no text")
            name = name_node.value
            path = f"{key}.{name}" if key else name
            if name in entries:
                raise refusal(self.file, line, path, "is given a second time: once is needed")
            entry = self.entry(value_node, path, depth + 1)
            entries[name] = Entry(entry.file, line, path, entry.value)
        return entries

    def scalar(self, node: yaml.Node, line: int, key: str) -> Scalar:
        try:
            value = self.loader.construct_object(node)
        except (ValueError, ArithmeticError, yaml.YAMLError):
            raise refusal(self.file, line, key, f"is {str(node.value)[:60]!r}, which cannot be read") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise refusal(self.file, line, key, f"is {value}: a finite number is needed")
        if isinstance(value, str) and isinstance(node, yaml.ScalarNode) and node.style is None:
            value = _number(value)
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
