"""Variables that a process inherits, and that libraries stumble over as they are imported.

By one a notebook tells Matplotlib where to draw, in commands that are started from it; another is the time that builds
take for now.
"""

import importlib
import os
import sys

_VARIABLE = "MPLBACKEND"
_TIME = "SOURCE_DATE_EPOCH"


def leave_out_unknown_backend() -> None:
    """Take MPLBACKEND away, and say so, if it names no backend that this Python has.

    A notebook leaves it to whatever it starts; where its backend is not installed, Matplotlib cannot be imported, or
    the first figure of an environment raises. We ourselves draw without one. To be called before anything imports
    Matplotlib, as Stable-Baselines3 does; where the variable is not set, nothing is imported.
    """
    backend = os.environ.pop(_VARIABLE, None)
    if not backend:
        return
    import matplotlib

    try:
        if backend.startswith("module://"):
            importlib.import_module(backend.removeprefix("module://"))
        matplotlib.rcParams["backend"] = backend  # as Matplotlib itself does with the variable
    except (ValueError, ImportError):
        print(f"note: {_VARIABLE}={backend} is not installed here, it is left out", file=sys.stderr)
    else:
        os.environ[_VARIABLE] = backend


def leave_out_malformed_time() -> None:
    """Take SOURCE_DATE_EPOCH away, and say so, if it is no whole number, which NumPy's f2py takes it for."""
    given = os.environ.get(_TIME)
    try:
        int(given or 0)
    except ValueError:
        del os.environ[_TIME]
        print(f"note: {_TIME}={given} is no number of seconds, it is left out", file=sys.stderr)
    if given == "":
        del os.environ[_TIME]
