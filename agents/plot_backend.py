"""The variable by which a notebook tells Matplotlib where to draw, in commands that are started from it."""

import importlib
import os
import sys

_VARIABLE = "MPLBACKEND"


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
