"""Modules of a user's own: imported because the command line names them, never because a file does."""

import importlib

from envs.refusal import Refusal

_NAMED: set[str] = set()


def import_named(module: str, option: str) -> None:
    """Import a module that the command line names.

    :param option: how it was named, for the message
    :raises Refusal: if it fails to import
    """
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        found = " ".join(str(error).split())
        raise Refusal(f"{option}: module {module!r} cannot be imported: {found}") from error
    _NAMED.add(module)


def is_named(module: str) -> bool:
    """Tell whether the command line has named a module, so that a file may use what is in it."""
    return module in _NAMED
