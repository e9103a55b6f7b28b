"""The error that a user is told in one line: something that was given does not fit."""

import re
from collections.abc import Callable

_REFERENCE = re.compile(r"`(\w+)`")


class OneLine(Exception):
    """An exception whose text is one line for a user, in which names of fields stand in backquotes.

    A command line can call the fields as its user types them, and nothing else has to know how that is:
    "`budget` 20 is too small: at least 94 is needed". Without one the names are plain.

    :param message: the line; white space of any kind becomes single spaces
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def __str__(self) -> str:
        """Return the line with plain names."""
        return self.render(str)

    def render(self, name: Callable[[str], str]) -> str:
        """Return the line with every field called what `name` makes of it."""
        return _REFERENCE.sub(lambda match: name(match[1]), self.message)

    @property
    def message(self) -> str:
        """The line with the names in backquotes, to be part of another."""
        return str(self.args[0])

    @property
    def fields(self) -> list[str]:
        """The fields that the line names, in its order."""
        return _REFERENCE.findall(self.message)


class Refusal(OneLine, ValueError):
    """Something that was given does not fit; the line says what, where, and what would.

    Raised where a value is checked, by all three packages. Any other exception is a fault of ours, and keeps its
    traceback.
    """
