"""One training at a time in a run folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from policies.refusal import Refusal

NAME = ".lock"


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold a run folder's lock. The kernel releases it when the process ends, however it ends.

    :raises Refusal: if another process holds it, or the folder cannot be written
    """
    try:
        descriptor = os.open(run / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Refusal(f"the run folder {run} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            raise Refusal(f"the run {run} is being trained by {holder}: wait for it, or stop it") from None
        except OSError as error:
            raise Refusal(f"the run folder {run} cannot be locked: {error.strerror}") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(descriptor)
