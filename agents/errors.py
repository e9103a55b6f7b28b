"""The error that means: something the user gave does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Something the user gave does not fit; the text is one line that says what, where, and what would."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn the ValueErrors and OSErrors of checking the user's input into `UsageError`.

    Wrap only the code that reads and checks input, so that errors of our own keep their traceback.
    """
    try:
        yield
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        raise UsageError(" ".join(str(error).split())) from error
