"""Pictures: whether environments can be rendered here, what is missing in one line, and figures without a window."""

import importlib
import os
import sys
import warnings
from ctypes.util import find_library
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from envs.refusal import Refusal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OFF_SCREEN = MappingProxyType({"egl": ("EGL", "libegl1"), "osmesa": ("OSMesa", "libosmesa6")})
"""MuJoCo's ways to render without a display on Linux, best first: the library of each, and its Debian package."""


def prepare_off_screen_rendering() -> None:
    """Let MuJoCo render without a display: choose EGL or OSMesa, unless MUJOCO_GL says which, and try it.

    Left alone, Gymnasium takes GLFW, which needs a display, and fails at the first picture. Other systems than Linux
    render off-screen by themselves.

    :raises Refusal: one line that names the system package that is missing
    """
    if sys.platform != "linux":
        return
    backend = os.environ.get("MUJOCO_GL") or find_backend()
    if backend == "glfw" and has_display():
        return
    if backend not in OFF_SCREEN:
        raise Refusal(f"MUJOCO_GL={backend} does not fit: {' or '.join(OFF_SCREEN)} renders without a display")
    # Gymnasium's viewer reads the variable when it is made; it has no other way to be told.
    os.environ["MUJOCO_GL"] = backend
    try:
        importlib.import_module(f"mujoco.{backend}").GLContext(16, 16).free()
    except Exception as error:
        raise Refusal(missing_library(backend, error)) from error


def find_backend() -> str:
    """Return the first way to render off-screen whose library is installed.

    :raises Refusal: if there is none
    """
    for backend, (library, _) in OFF_SCREEN.items():
        if find_library(library):
            return backend
    packages = " or ".join(package for _, package in OFF_SCREEN.values())
    raise Refusal(f"no OpenGL library that renders without a display is installed: system package {packages} is needed")


def missing_library(backend: str, error: Exception) -> str:
    """Return the line that says why MuJoCo cannot use the OpenGL library of a way to render."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    needed = f"system package {OFF_SCREEN[backend][1]}" if backend in OFF_SCREEN else " or ".join(OFF_SCREEN)
    return f"OpenGL does not work with MUJOCO_GL={backend} ({reason}): {needed} is needed"


def check_display() -> None:
    """Refuse a machine without a display, where opening a window would end the whole process.

    :raises Refusal: if no window can be opened
    """
    if not has_display():
        raise Refusal("there is no display to open a window on: a desktop session is needed, or `video` FILE.mp4")


def has_display() -> bool:
    """Tell whether a window can be opened."""
    import glfw  # comes with MuJoCo, and loads a library of the window system

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(glfw.init() and glfw.get_primary_monitor())


def figure_pixels(figure: "Figure") -> np.ndarray:
    """Draw a figure, by no backend that a user may have chosen; (height, width, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes long to load

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
