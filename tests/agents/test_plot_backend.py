"""Variables that a process inherits: a notebook's backend that is not installed here, a time that is none."""

import importlib.util
import os
import subprocess
import sys

import pytest
from data_files import ROOT

pytestmark = pytest.mark.slow  # each starts a process that imports everything
UNKNOWN = [
    "module://nowhere.backend_inline",
    "module://matplotlib.no_such_backend",
    "nonsense",
    *(
        ["inline", "module://matplotlib_inline.backend_inline"]
        if not importlib.util.find_spec("matplotlib_inline")
        else []
    ),
    *(["module://ipympl.backend_nbagg"] if not importlib.util.find_spec("ipympl") else []),
]
PROGRAM = """
import os, sys
import agents
print("matplotlib" in sys.modules)
import agents.monitoring.network  # and with it what it imports
import matplotlib.pyplot as pyplot
pyplot.figure().canvas.draw()
print(pyplot.get_backend(), os.environ.get("MPLBACKEND"))
"""


def start(backend: str | None) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "DISPLAY")}
    if backend is not None:
        environment["MPLBACKEND"] = backend
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize("backend", UNKNOWN)
def test_unknown_backend_is_left_out(backend: str) -> None:
    done = start(backend)
    assert done.stdout.split() == ["True", "agg", "None"]
    assert done.stderr == f"note: MPLBACKEND={backend} is not installed here, it is left out\n"


@pytest.mark.parametrize("backend", ["svg", "module://matplotlib.backends.backend_pdf"])
def test_known_backend_is_the_users(backend: str) -> None:
    done = start(backend)
    assert done.stdout.split() == ["True", backend, backend]
    assert done.stderr == ""


@pytest.mark.parametrize("backend", [None, ""])
def test_nothing_is_imported_for_a_variable_that_is_not_set(backend: str | None) -> None:
    done = start(backend)
    assert done.stdout.split()[:2] == ["False", "agg"]
    assert done.stderr == ""


@pytest.mark.parametrize("given", ["x", "", "1.5", "1700000000"])
def test_time_that_is_none_is_left_out(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
    done = start(None)  # with what imports NumPy's f2py
    fits = given in ("", "1700000000")
    assert done.stderr == ("" if fits else f"note: SOURCE_DATE_EPOCH={given} is no number of seconds, it is left out\n")
