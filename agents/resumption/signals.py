"""Ctrl-C, SIGTERM and SIGHUP as requests to stop at a safe place."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from agents.errors import Interrupted

ONCE_MORE = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
"""Comes when a terminal is closed, from the system and from the shell, so that a second one says nothing new. Windows
has none."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, *ONCE_MORE)


class SignalWatch:
    """Notes the first of `SIGNALS` within `with`; a second one, unless it is SIGHUP, ends the process at once.

    Where the code has promised to look (`deferred`), the first one is only noted, and `check` raises it at a place
    that is safe; elsewhere it raises `Interrupted` right away. In a thread other than the main one, where Python allows
    no handlers, signals are left to those that are there. What an inner watch notes, the outer one has noted too.
    Under `nohup`, which ignores SIGHUP, it stays ignored.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._deferred = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number in ONCE_MORE and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._received is not None and self._outer is not None:
            return  # the next signal ends the process within the outer watch too
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Promise to call `check` often."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self._received is not None:
            raise Interrupted(self._received)

    @property
    def _outer(self) -> "SignalWatch | None":
        owner = getattr(self._previous.get(signal.SIGTERM), "__self__", None)
        return owner if isinstance(owner, SignalWatch) else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._note(number)
        if not self._deferred:
            raise Interrupted(number)

    def _note(self, number: int) -> None:
        self._received = number
        if self._outer is not None:
            self._outer._note(number)
            return
        for again, previous in self._previous.items():
            # In an interactive session a second Ctrl-C is Python's own again; a script it ends at once.
            default = previous is signal.default_int_handler and not hasattr(sys, "ps1")
            if again in ONCE_MORE:
                previous = signal.SIG_IGN
            signal.signal(again, signal.SIG_DFL if default else previous)


class InterruptionCallback(BaseCallback):
    """Looks for signals after every step of a training."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    def _on_step(self) -> bool:
        self._check()
        return True

    def _on_rollout_start(self) -> None:
        self._check()


class InterruptibleVecEnv(VecEnvWrapper):
    """Looks for signals before every step of an evaluation."""

    def __init__(self, environments: VecEnv, check: Callable[[], None]) -> None:
        super().__init__(environments)
        self._check = check

    def reset(self) -> Any:
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self._check()
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        return self.venv.step_wait()
