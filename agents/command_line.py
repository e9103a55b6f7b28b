"""What the command lines share: options made from the configuration, one-line errors, exit codes.

A command answers `--help` and refuses a wrong option before it imports what takes seconds; environments, networks and
learning are imported by the functions that use them.
"""

import argparse
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

from agents.configuration import PRESET_ONLY, TrainingConfiguration, option_name
from agents.errors import EvaluationStopped, Interrupted, TrainingStopped
from agents.options_file import Options, read_options
from agents.settings import field_schemas
from policies.network.architectures import ActorCriticSpecification, format_table, oversize_warning
from policies.refusal import OneLine, Refusal
from policies.streams import lasting_streams

BAD_INPUT = 2
"""Exit code when a value given by the user does not fit."""
STOPPED = 3
"""Exit code when a training or an evaluation had to stop: a number not finite, an environment that raised or returned
what does not fit, a disk that is full."""
CLOSED_PIPE = 141
"""Exit code that a shell reports of a process that SIGPIPE ended."""


_OTHER_OPTIONS = {
    name: "--" + name.removeprefix("n_").replace("_", "-")
    for name in (
        *(
            "card",
            "config",
            "episodes",
            "html",
            "import",
            "n_inputs",
            "n_outputs",
            "out",
            "output",
            "push_to_hub",
            "range",
            "score",
            "stochastic",
            "storage",
            "studies_dir",
        ),
        *("trial", "video", "video_episodes", "watch", "which", "workers"),
    )
}
"""What is typed for the arguments of the commands that are no fields of a training."""


def whole_number(text: str) -> int:
    """Read a whole number as an option's value: 100000, 100_000 or 1e5.

    :raises ValueError: if it is none
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not number.is_finite() or number.adjusted() > 30 or number != number.to_integral_value():
        raise ValueError(text)
    return int(number)


whole_number.__name__ = "int"  # argparse says "invalid int value"

_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "integer": (whole_number, "N"),
    "number": (float, "X"),
    "string": (str, "TEXT"),
}
"""JSON schema's type of a field -> what the option's text is read as, and what the help calls it."""


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
    if field in TrainingConfiguration.model_fields and field not in PRESET_ONLY:
        return option_name(field)
    return _OTHER_OPTIONS.get(field, field)


def run(main: Callable[[], None], *, prints_its_result: bool = False) -> None:
    """Run a command; what a user is to know ends it with one line.

    A value that does not fit or a file that cannot be used: exit code 2. A training that had to stop: 3, after the
    traceback of the environment, if one raised. An evaluation that had to: 3. A signal: 130 (Ctrl-C), 143 (SIGTERM) or
    129 (a terminal that was closed). Any other exception is ours and keeps its traceback.

    What cannot be printed, to a terminal that has gone for instance, is dropped and changes nothing of the work.

    :param prints_its_result: what the command is for is what it prints. If that is lost the exit code is that of a
        process that wrote to a closed pipe, or 2; otherwise the work was done
    """
    _find_modules_here()
    with lasting_streams() as output:
        _run(main)
        if output is None:
            return
        with suppress(ValueError):  # somebody closed it
            sys.stdout.flush()
        if output.lost is None:
            return
        if not output.reader_is_gone:
            line = f"standard output could not be written: {output.lost.strerror}"
            if prints_its_result:
                fail(line)
            print(f"warning: {line}", file=sys.stderr)
        elif prints_its_result:
            raise SystemExit(CLOSED_PIPE)


def _run(main: Callable[[], None]) -> None:
    try:
        main()
    except Refusal as error:
        fail(error.render(shown_option))
    except TrainingStopped as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        fail(error.render(shown_option), STOPPED)
    except EvaluationStopped as error:
        fail(error.render(shown_option), STOPPED)
    except OSError:
        _check_temporary_folder()
        raise
    except Interrupted as interruption:
        print(str(interruption) or "interrupted before the training began", file=sys.stderr)
        raise SystemExit(interruption.exit_code) from None
    finally:
        gc.freeze()  # to go through all that the imports made, to no end, would take most of a second at exit


def _check_temporary_folder() -> None:
    """Fail where no temporary file can be written, which the libraries say in ways of their own."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        fail("no folder for temporary files can be written: TMPDIR has to name one")


def _find_modules_here() -> None:
    """Let modules of the user's own lie in the current folder, whatever folder the command lies in.

    It comes last, so that nothing in it is taken for a module of anybody else's; the processes that this one starts
    inherit it. `python -P` keeps it out.
    """
    try:
        here = os.getcwd()
    except OSError:  # the folder was deleted
        return
    if not sys.flags.safe_path and here not in sys.path:
        sys.path.append(here)


@contextmanager
def standard_output_for_machines() -> Iterator[None]:
    """Send to standard error what is written to standard output meanwhile, by environments for instance.

    Also by libraries that are not Python's, and by the processes of environments.
    """
    with ExitStack() as cleanup:
        if sys.stdout is not None:
            sys.stdout.flush()
            cleanup.callback(sys.stdout.flush)
        with suppress(OSError):  # one of the two may be closed
            kept = os.dup(1)
            cleanup.callback(os.close, kept)
            os.dup2(2, 1)
            cleanup.callback(os.dup2, kept, 1)
        cleanup.enter_context(redirect_stdout(sys.stderr))
        yield


def add_training_options(parser: argparse.ArgumentParser, only: Collection[str] | None = None) -> None:
    """Add `--config` and the options of a training; one that is not given stays absent, so that the preset decides.

    :param only: names of the fields to add (default: all that are options)
    """
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of options; those given here win")
    for name, field in field_schemas(TrainingConfiguration).items():
        if name in PRESET_ONLY or (only is not None and name not in only):
            continue
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": field["description"]}
        if field["type"] == "boolean":
            options["action"] = "store_false" if field["default"] else "store_true"
        elif field["type"] in ("object", "array"):
            options |= {"action": "append", "metavar": field["metavar"]}
        else:
            kind, metavar = _KINDS[field["type"]]
            choices = field.get("enum")
            options |= {"type": kind, "choices": choices, "metavar": "|".join(choices) if choices else metavar}
        parser.add_argument(option_name(name), **options)


def training_options(arguments: argparse.Namespace) -> Options:
    """Return the fields given on the command line, the repeated NAME=VALUE options as tables, over those of `--config`.

    An environment given as module:id is registered by importing the module, and called by its id from then on. The
    modules of wrappers are imported.

    :raises Refusal: if the environment or a wrapper is unknown, a repeated option is malformed or the file does not fit
    """
    from envs.arguments import parse_arguments
    from envs.lookup import check_environment
    from envs.wrapping import import_wrappers

    options = {name: value for name, value in vars(arguments).items() if name in TrainingConfiguration.model_fields}
    if "env" in options:
        options["env"] = check_environment(options["env"])
    if "env_arguments" in options:
        options["env_arguments"] = parse_arguments(options["env_arguments"])
    if "wrappers" in options:
        options["wrappers"] = import_wrappers(options["wrappers"])
    if "densities" in options:
        options["densities"] = _parse_densities(options["densities"])
    return Options(options) if arguments.config is None else read_options(arguments.config, options)


def show_network(specification: ActorCriticSpecification, env: str | None) -> None:
    """Print the table of a network, and a warning if it is out of proportion and no preset asked for it."""
    from envs.task import task_of

    print(format_table(specification), flush=True)
    warning = oversize_warning(specification)
    if warning and not (env and task_of(env).preset):
        print(warning, file=sys.stderr)


def show_remarks(configuration: TrainingConfiguration) -> None:
    """Print on stderr what a user may not expect of the environment that a training is about to start in.

    :raises Refusal: if the environment cannot be made
    """
    from envs.remarks import remarks

    found = remarks(
        configuration.env, configuration.training_arguments, configuration.wrappers, configuration.vectorization
    )
    for line in found:
        print(OneLine(line).render(shown_option), file=sys.stderr)


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
