"""The errors that a user is told in one line: what was given does not fit, or a training had to stop."""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Something the user gave does not fit; the text is one line that says what, where, and what would."""


class TrainingStopped(RuntimeError):
    """A training ended before its time through nothing the user typed; the text is one line: what, where, how to go on.

    Its cause, if any, is what an environment of the user's raised.
    """


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
