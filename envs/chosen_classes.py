"""Classes that a user chooses by a text: `module:Class`, or `module:Class:NAME=VALUE,…` with arguments.

A module of a user's own is code to run: the command line has to name it, whenever it is used, and no file does.
"""

import difflib
import importlib
import inspect
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from envs.arguments import parse_arguments
from envs.modules import import_named, is_named
from envs.popgym import require_popgym
from envs.refusal import Refusal

FORM = "module:Class or module:Class:NAME=VALUE,…"

NONE = "none"
"""Given alone it stands for none of them, where a preset, or the run that is resumed, has some."""

Base = TypeVar("Base")


class ClassText(NamedTuple):
    """The parts of a text; the arguments are still one text, empty if there are none."""

    module: str
    name: str
    arguments: str

    @classmethod
    def of(cls, text: str) -> "ClassText":
        """Take a text apart.

        :raises Refusal: that says what is needed, if it is none of this form
        """
        match = re.fullmatch(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)(?::(.+))?", text)
        if match is None or not text.isprintable():
            raise Refusal(f"{FORM} is needed")
        return cls(match[1], match[2], match[3] or "")


@dataclass(frozen=True)
class ChosenClass(Generic[Base]):
    """A class that was found, with the arguments that the user's text gives."""

    text: str
    kind: type[Base]
    arguments: Mapping[str, Any]


def any_module_is_code(text: ClassText) -> bool:
    """Tell that no file may name a class, whatever module it is of."""
    return False


@dataclass(frozen=True)
class ClassChoice(Generic[Base]):
    """What a field of the configuration chooses: subclasses of one class."""

    field: str
    base: type[Base]
    example: str
    given: int = 0
    """arguments that are passed by position, before those of the user"""
    is_open: Callable[[ClassText], bool] = any_module_is_code
    """tells whether a file may name it"""

    def import_all(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Import the modules that the command line names, and return the texts; see `NONE`.

        :raises Refusal: if a class cannot be found
        """
        if [*texts] == [NONE]:
            return ()
        for text in texts:
            parts = self._parts(text)
            if not self.is_open(parts):
                import_named(parts.module, f"`{self.field}` {text}")
        for text in texts:
            self._find(text)
        return tuple(texts)

    def find_all(self, texts: Sequence[str], instead: str | None = None) -> tuple[ChosenClass[Base], ...]:
        """Find the classes, which a file may have named.

        :param instead: what to pass where the texts themselves cannot be given
        :raises Refusal: if there is no such class, its arguments do not fit, or it is of a module that the command line
            has not named; that says what to pass
        """
        for text in texts:
            parts = self._parts(text)
            if not (self.is_open(parts) or is_named(parts.module)):
                words = instead or " ".join(f"`{self.field}` {shlex.quote(other)}" for other in texts)
                raise Refusal(
                    f"`{self.field}` {text} runs code of {parts.module}, which only the command line may: "
                    f"{words} is needed"
                )
        return tuple(self._find(text) for text in texts)

    def _parts(self, text: str) -> ClassText:
        try:
            return ClassText.of(text)
        except Refusal:
            raise Refusal(f"`{self.field}` {text!r} does not fit: {FORM} such as {self.example} is needed") from None

    def _find(self, text: str) -> ChosenClass[Base]:
        """Find the class, whose module may be imported, and see whether its arguments fit."""
        module, name, written = self._parts(text)
        if module.startswith("popgym."):
            require_popgym(f"`{self.field}` {text}")
        place = importlib.import_module(module)
        try:
            kind = getattr(place, name)  # some of Gymnasium's are imported now, and need what may be missing
        except AttributeError:
            close_names = difflib.get_close_matches(name, dir(place), n=3)
            fitting = f": did you mean {' or '.join(close_names)}?" if close_names else ""
            raise Refusal(f"`{self.field}` {text} does not fit: {module} has no {name}{fitting}") from None
        except Exception as error:
            raise Refusal(f"`{self.field}` {text} cannot be made: {' '.join(str(error).split())}") from error
        if not (isinstance(kind, type) and issubclass(kind, self.base)):
            base = f"{self.base.__module__.partition('.')[0]}.{self.base.__name__}"
            raise Refusal(f"`{self.field}` {text} does not fit: {name} is no {base}, which is needed")
        # A comma may stand in a value: the next argument begins where a name follows.
        try:
            arguments = parse_arguments(re.split(r",(?=[^\W\d]\w*=)", written) if written else (), self.field)
        except Refusal as error:
            raise Refusal(f"{error.message}, in {text}") from None
        signature = inspect.signature(kind)
        try:
            signature.bind(*[None] * self.given, **arguments)
        except TypeError as error:
            takes = [*signature.parameters][self.given :]
            raise Refusal(
                f"`{self.field}` {text} does not fit: {error}; it takes {', '.join(takes) or 'no arguments'}"
            ) from None
        return ChosenClass(text, kind, arguments)
