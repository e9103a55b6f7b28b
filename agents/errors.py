"""What ends a training or an evaluation before its time. What does not fit is refused by `policies.refusal.Refusal`."""

import errno

from policies.refusal import OneLine

DISK_ERRORS = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE") if hasattr(errno, name)
)
"""Numbers of the system's errors that say that a disk cannot be written."""


class TrainingStopped(OneLine, RuntimeError):
    """A training ended before its time through nothing the user typed; the line says what, where, how to go on.

    Its cause, if any, is what an environment or a callback of the user's raised.
    """


class EvaluationStopped(OneLine, RuntimeError):
    """An evaluation cannot be had, since an environment raised or returned what does not fit; the line says where."""


class Interrupted(KeyboardInterrupt):
    """A training was stopped by a signal; the text is one line that says how to go on.

    :ivar signal_number: which signal
    """

    def __init__(self, signal_number: int, text: str = "") -> None:
        super().__init__(text)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that this signal ended: 130, 143 or 129."""
        return 128 + self.signal_number
