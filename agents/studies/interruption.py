"""Signals that end a worker in good order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """Whether a signal asked to stop.

    The signal raises KeyboardInterrupt where the program is, but where that is inside a destructor or a callback of
    the garbage collector, Python prints the exception and goes on. So whoever works on for long calls `check`.
    """

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal asked to stop."""
        if self.requested:
            raise KeyboardInterrupt


@contextmanager
def interrupted_by(*numbers: signal.Signals) -> Iterator[Interruption]:
    """Let signals ask to stop. After the first, SIGTERM is ignored, so that what it interrupts may clean up; Ctrl-C
    interrupts that too.
    """
    interruption = Interruption()

    def interrupt(number: int, _: object) -> None:
        second = signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN
        signal.signal(number, second)
        interruption.requested = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
