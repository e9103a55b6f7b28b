"""The error that a user is told in one line: something that was given does not fit."""

from collections.abc import Callable


class Refusal(ValueError):
    """Something that was given does not fit; the text is one line that says what, where, and what would.

    Raised where the value is checked, by all three packages. The name of the option at fault is kept apart, so that a
    command line can call it as the user typed it; a program sees the plain name of the field or argument.

    :param message: the value, what is wrong with it and what would fit; after the field's name, where there is one
    :param field: name of the field or argument at fault; None where the message says it all, as of a file
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        self.message = " ".join(message.split())
        self.field = field
        super().__init__(self.render(str))

    def render(self, name: Callable[[str], str]) -> str:
        """Return the line with the field called what `name` makes of it."""
        return self.message if self.field is None else f"{name(self.field)} {self.message}"

    def __reduce__(self) -> tuple[Callable[..., "Refusal"], tuple[str, str | None]]:
        """Let it cross from process to process."""
        return _refusal, (self.message, self.field)


def _refusal(message: str, field: str | None) -> Refusal:
    return Refusal(message, field=field)
