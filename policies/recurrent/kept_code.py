"""Compiled kernels are kept for the next start where there is a place for them, and work where there is none.

Numba keeps what it compiled in NUMBA_CACHE_DIR, beside the source, or in the user's cache folder. By itself it raises
where none of them can be written, where the disk is full and where a file is damaged.
"""

import os
import sys
from contextlib import suppress
from typing import Any, TypeVar

from numba import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserWideCacheLocator

from policies.refusal import Refusal

_Kernel = TypeVar("_Kernel")
_said: list[str] = []


def keep(kernel: _Kernel, function: Any) -> _Kernel:
    """Let a kernel load and keep what it compiles, as `cache=True` of `numba.njit` does, if that is possible.

    :param kernel: what `numba.njit` made of a function
    :raises Refusal: if Numba is told to compile nothing
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        raise Refusal("NUMBA_DISABLE_JIT is set, but the kernels have to be compiled: it has to be taken away")
    try:
        kernel._cache = _KeptCode(function)  # type: ignore[attr-defined]
    except RuntimeError:  # what Numba says if it finds no folder
        _say("no folder for compiled code can be written")
    return kernel


class _HomeLocator(UserWideCacheLocator):
    """The user's cache folder; for a user without a home Numba would make a folder "~" wherever it is started."""

    def ensure_cache_path(self) -> None:
        if not os.path.isabs(self.get_cache_path()):
            raise FileNotFoundError(self.get_cache_path())
        super().ensure_cache_path()


class _KeptResults(CompileResultCacheImpl):
    _locator_classes = [  # noqa: RUF012 Numba's own is a list
        _HomeLocator if locator is UserWideCacheLocator else locator
        for locator in CompileResultCacheImpl._locator_classes
    ]


class _KeptCode(FunctionCache):
    """Numba's cache of a function, which may fail, since what it holds can be compiled again."""

    _impl_class = _KeptResults

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return super().load_overload(*arguments)
        except Exception as error:  # it is unpickled, and a damaged pickle can raise anything
            _say(f"compiled code in {self.cache_path} cannot be read ({type(error).__name__})")
            with suppress(OSError):
                self.flush()  # or nothing could be added
            return None

    def save_overload(self, *arguments: Any) -> None:
        try:
            super().save_overload(*arguments)
        except Exception as error:  # it reads the index first
            _say(f"compiled code cannot be kept in {self.cache_path} ({error})")


def _say(reason: str) -> None:
    """Say once why kernels have to be compiled, which takes seconds."""
    if not _said:
        line = f"note: {reason}: kernels are compiled at this start; NUMBA_CACHE_DIR names another folder"
        print(line, file=sys.stderr)
        _said.append(reason)
