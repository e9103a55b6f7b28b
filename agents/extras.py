"""Extras: packages that not everybody needs, and the one line that says which to install where one is missing."""

from importlib.util import find_spec
from types import MappingProxyType

from policies.refusal import Refusal

EXTRAS = MappingProxyType(
    {
        "demonstrations": ("h5py", "minari"),
        "export": ("onnx", "onnxruntime"),
        "hub": ("huggingface_hub", "onnx", "onnxruntime"),
        "popgym": ("popgym",),
        "postgresql": ("psycopg",),
        "studies": ("optuna", "plotly", "sqlalchemy"),
        "video": ("imageio_ffmpeg",),
    }
)
"""Of each extra in pyproject.toml the modules that are imported."""


def require(extra: str, purpose: str) -> None:
    """Refuse a purpose whose extra is not installed, before anything of it is imported.

    :param purpose: what needs the extra; fields in backquotes
    :raises Refusal: one line that says how to install it
    """
    if any(find_spec(module) is None for module in EXTRAS[extra]):
        raise missing(extra, purpose)


def missing(extra: str, purpose: str) -> Refusal:
    """Return the refusal of a purpose whose extra is not installed."""
    return Refusal(f'{purpose} needs the extra {extra}: pip install --editable ".[{extra}]"')
