"""What the command lines share: options made from the configuration, one-line errors, exit codes.

A command answers `--help` and refuses a wrong option before it imports what takes seconds; environments, networks and
learning are imported by the functions that use them.
"""

import argparse
import dataclasses
import gc
import sys
import traceback
import types
import typing
from collections.abc import Callable
from typing import Any, NoReturn

from agents.configuration import PRESET_ONLY, TrainingConfiguration, option_name
from agents.errors import Interrupted, TrainingStopped
from policies.network.architectures import ActorCriticSpecification, format_table, oversize_warning
from policies.refusal import Refusal

BAD_INPUT = 2
"""Exit code when a value given by the user does not fit."""
STOPPED = 3
"""Exit code when a training had to stop: a number not finite, an environment that raised, a disk that is full."""


_OTHER_OPTIONS = {
    name: "--" + name.removeprefix("n_").replace("_", "-")
    for name in (
        *("episodes", "import", "n_inputs", "n_outputs", "out", "output", "stochastic", "storage", "studies_dir"),
        *("trial", "video", "video_episodes", "watch", "which", "workers"),
    )
}
"""What is typed for the arguments of the commands that are no fields of a training."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are a single line on stderr, and which takes no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        fail(message)


def fail(message: str, exit_code: int = BAD_INPUT) -> NoReturn:
    """Print one line on stderr and exit, by default with the code for bad input."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(exit_code)


def shown_option(field: str) -> str:
    """Return what a user types for a field or argument that a message names; a name that is no option stays."""
    known = {entry.name for entry in dataclasses.fields(TrainingConfiguration)} - set(PRESET_ONLY)
    return option_name(field) if field in known else _OTHER_OPTIONS.get(field, field)


def run(main: Callable[[], None]) -> None:
    """Run a command; what a user is to know ends it with one line.

    A value that does not fit or a file that cannot be used: exit code 2. A training that had to stop: 3, after the
    traceback of the environment, if one raised. A signal: 130 (Ctrl-C) or 143 (SIGTERM). Any other exception is ours
    and keeps its traceback.
    """
    try:
        main()
    except Refusal as error:
        fail(error.render(shown_option))
    except TrainingStopped as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        fail(error.render(shown_option), STOPPED)
    except Interrupted as interruption:
        print(str(interruption) or "interrupted before the training began", file=sys.stderr)
        raise SystemExit(interruption.exit_code) from None
    finally:
        gc.freeze()  # to go through all that the imports made, to no end, would take most of a second at exit


def add_training_options(parser: argparse.ArgumentParser, only: typing.Collection[str] | None = None) -> None:
    """Add the options of a training; one that is not given stays absent, so that the preset decides.

    :param only: names of the fields to add (default: all that are options)
    """
    hints = typing.get_type_hints(TrainingConfiguration)
    for field in dataclasses.fields(TrainingConfiguration):
        if field.name in PRESET_ONLY or (only is not None and field.name not in only):
            continue
        options: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": field.metadata["help"]}
        kind = _scalar(hints[field.name])
        if kind is bool:
            options["action"] = "store_false" if field.default else "store_true"
        elif kind is None:
            options |= {"action": "append", "metavar": field.metadata["metavar"]}
        else:
            options |= {"type": kind, "choices": field.metadata.get("choices"), "metavar": _metavar(field, kind)}
        parser.add_argument(option_name(field.name), **options)


def training_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields given on the command line, the repeated NAME=VALUE options as tables.

    An environment given as module:id is registered by importing the module, and called by its id from then on.

    :raises Refusal: if the environment is unknown or a repeated option is malformed
    """
    from envs.lookup import check_environment, parse_arguments

    known = {field.name for field in dataclasses.fields(TrainingConfiguration)}
    options = {name: value for name, value in vars(arguments).items() if name in known}
    if "env" in options:
        options["env"] = check_environment(options["env"])
    if "env_arguments" in options:
        options["env_arguments"] = parse_arguments(options["env_arguments"])
    if "densities" in options:
        options["densities"] = _parse_densities(options["densities"])
    return options


def show_network(specification: ActorCriticSpecification, env: str | None) -> None:
    """Print the table of a network, and a warning if it is out of proportion and no preset asked for it."""
    from envs.presets import has_preset

    print(format_table(specification), flush=True)
    warning = oversize_warning(specification)
    if warning and not (env and has_preset(env)):
        print(warning, file=sys.stderr)


def _parse_densities(texts: list[str]) -> dict[str, float]:
    densities: dict[str, float] = {}
    for text in texts:
        block, separator, value = text.partition("=")
        try:
            density = float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise Refusal(f"`densities` {text!r} does not fit: BLOCK=VALUE such as hh=0.2 is needed")
        if block in densities:
            raise Refusal(f"`densities` {text!r} pins block {block} a second time: once is needed")
        densities[block] = density
    return densities


def _scalar(hint: Any) -> type | None:
    """Return the type an option's text is read as; None for the repeatable tables."""
    if typing.get_origin(hint) is typing.Literal:
        return str
    if isinstance(hint, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not types.NoneType)
    return hint if hint in (str, int, float, bool) else None


def _metavar(field: "dataclasses.Field[Any]", kind: type) -> str | None:
    if "choices" in field.metadata:
        return "|".join(field.metadata["choices"])
    return {int: "N", float: "X", str: "TEXT"}[kind]
