"""One training at a time in a run folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from policies.refusal import Refusal

LOCK, HOLDER = ".lock", ".holder"
"""The file that is locked, and the one beside it that says by whom: Windows lets nobody else read a locked file."""


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold a run folder's lock. The system releases it when the process ends, however it ends.

    :raises Refusal: if another process holds it, or the folder cannot be written
    """
    lock, holder = FileLock(run / LOCK), run / HOLDER
    try:
        lock.acquire(blocking=False)
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except Timeout:
        name = ""
        with suppress(OSError):
            name = holder.read_text(encoding="utf-8", errors="replace")
        raise Refusal(
            f"the run {run} is being trained by {name or 'another process'}: wait for it, or stop it"
        ) from None
    except OSError as error:
        lock.release()
        raise Refusal(f"the run folder {run} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()
