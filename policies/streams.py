"""Standard output and error that outlive what they are connected to: words may be lost, the work beside them is not.

A terminal is closed while a training goes on, `head` has read enough, a disk that the output is written to is full, an
encoding has no "±". To Python each is an exception of `print`, wherever in the program that stands.

It lies here for the reason that `policies.refusal` does: commands and the processes of environments need it alike, and
a command that answers at once knows neither Gymnasium nor what learns.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

UNPRINTABLE = (OSError, ValueError)
"""What printing raises: the latter for a file that is closed, or an encoding that lacks a character."""


def say(line: str) -> None:
    """Print a line on standard error if it can be printed; whatever a program is doing then goes on."""
    with suppress(*UNPRINTABLE):
        print(line, file=sys.stderr, flush=True)


class LastingOutput(io.RawIOBase):
    """Passes bytes on as long as they are taken, and drops them from then on.

    :param raw: takes them
    :param owner: the stream that would close it with its own end
    :ivar lost: why nothing is taken any more; None as long as all was
    """

    def __init__(self, raw: io.RawIOBase, owner: TextIO) -> None:
        self._raw = raw
        self._owner = owner
        self.lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes, or drop them; where another process made the descriptor non-blocking, wait."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while self.lost is None and len(rest):
            try:
                written = self._raw.write(rest)
                if written is None:
                    select.select([], [self.fileno()], [])
                rest = rest[written or 0 :]
            except OSError as error:
                self._lose(error)
            except ValueError as error:  # somebody closed it
                self._lose(OSError(errno.EBADF, str(error)))
        return size

    def _lose(self, error: OSError) -> None:
        """Drop what comes, also from libraries that are not Python's and from processes started later."""
        self.lost = error
        with suppress(*UNPRINTABLE):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self.lost is None and not self._raw.closed and self._raw.isatty()

    @property
    def reader_is_gone(self) -> bool:
        """Whether it was a pipe that somebody closed, which is no error of anybody's."""
        return self.lost is not None and self.lost.errno == errno.EPIPE


class _LastingText(io.TextIOWrapper):
    """Stays open: an environment may close the stream, and what a program has to say comes after that."""

    def close(self) -> None:
        with suppress(*UNPRINTABLE):
            self.flush()


def make_streams_last() -> LastingOutput | None:
    """Let nothing that is printed from here on raise an exception: what cannot be written is dropped.

    Characters that an encoding lacks are written as escapes. A stream that was closed before the program started leads
    nowhere; otherwise the next file to be opened would get its number, and what others print there.

    :return: standard output, to be asked afterwards what became of it; None where it is no file of the system's, as in
        a notebook
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_null(number, name)
    (sys.stdout, output), (sys.stderr, _) = _lasting(sys.stdout), _lasting(sys.stderr)
    return output


@contextmanager
def lasting_streams() -> Iterator[LastingOutput | None]:
    """Do it for a while; see `make_streams_last`."""
    before = sys.stdout, sys.stderr
    try:
        yield make_streams_last()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(*UNPRINTABLE):
                stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO) -> tuple[TextIO, LastingOutput | None]:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # `python -u` has no buffer between them
    if not isinstance(raw, io.RawIOBase):
        return stream, None
    with suppress(OSError):
        stream.flush()
    output = LastingOutput(raw, stream)
    lasting = _LastingText(
        cast("Any", output) if buffer is raw else io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )
    return lasting, output


def _open_null(number: int, name: str) -> None:
    place: int | str = os.devnull
    try:
        os.fstat(number)  # which another file may have by now
    except OSError:
        place = number
        opened = os.open(os.devnull, os.O_RDWR)
        if opened == number:
            os.set_inheritable(number, True)
        else:
            os.dup2(opened, number)
            os.close(opened)
    setattr(sys, name, open(place, "r" if name == "stdin" else "w", closefd=place != number))  # noqa: SIM115 to the end
