"""What the command lines share: options made from the configuration, one-line errors, exit codes.

A command answers `--help` and refuses a wrong option before it imports what takes seconds; environments, networks and
learning are imported by the functions that use them.
"""

import argparse
import gc
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

from agents.configuration import AUTO, GROUPS, PRESET_ONLY, TrainingConfiguration, option_name, takes_none
from agents.errors import EvaluationStopped, Interrupted, TrainingStopped
from agents.options_file import Options, read_options
from agents.settings import field_schemas, in_words
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
            "known",
            "list_envs",
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
        *("trial", "video", "video_episodes", "video_of", "watch", "which", "workers"),
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


def _or_word(kind: Callable[[str], Any], word: str, value: Any) -> Callable[[str], Any]:
    """Return how to read what may be a word that stands for a value: `auto`, or `none` where a preset has a number."""

    def read(text: str) -> Any:
        return value if text == word else kind(text)

    read.__name__ = f"{kind.__name__} or {word}"
    return read


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are a single line on stderr, and which takes no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    has_presets = False
    """it has the options of a training, so that with `--env ID` its help shows the preset of ID"""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        fail(message)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the command line, or complete it where a shell asks for that."""
        if "_ARGCOMPLETE" in os.environ:
            import argcomplete

            argcomplete.autocomplete(self)
        return super().parse_args(args, namespace)

    def print_help(self, file: Any = None) -> None:
        """Print the help, with the preset of the environment if one is given anywhere on the command line."""
        if self.has_presets:
            finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
            finder.add_argument("--env")
            with suppress(argparse.ArgumentError):
                env = finder.parse_known_args()[0].env
                if env is not None:
                    self._add_preset(env)
        super().print_help(file)

    def _add_preset(self, env: str) -> None:
        from envs.lookup import check_environment
        from envs.task import task_of

        env = check_environment(env)
        preset = task_of(env).preset
        with_demos = preset.get("with_demos", {})
        for action in self._actions:
            values = [in_words(preset[action.dest])] if action.dest in preset else []
            values += [f"{in_words(with_demos[action.dest])} with --demos"] if action.dest in with_demos else []
            if values:
                text = ", ".join(values).replace("%", "%%")
                action.help = f"{action.help} [{env}: {text}]"
        others = [f"{name}: {preset[name]}" for name in PRESET_ONLY if name in preset]
        others += [f"{name} with --demos: {with_demos[name]}" for name in PRESET_ONLY if name in with_demos]
        self.epilog = f"Without an option: {', '.join(others)}." if others else None
        if not preset:
            self.epilog = f"There is no preset for {env}."


def given_words() -> list[str]:
    """Return the words after the command's name; where a shell asks to complete one, those before it."""
    place = os.environ.get("_ARGCOMPLETE")
    if place is None:
        return sys.argv[1:]
    import argcomplete

    return argcomplete.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][int(place) :]


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


def add_training_options(parser: OneLineParser, only: Collection[str] | None = None) -> None:
    """Add `--config` and the options of a training; one that is not given stays absent, so that the preset decides.

    :param only: names of the fields to add (default: all that are options)
    """
    schemas = field_schemas(TrainingConfiguration)
    shown = [name for name in schemas if name not in PRESET_ONLY and (only is None or name in only)]
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for name in shown:
        field = schemas[name]
        text = field["description"].replace("%", "%%")
        if field["type"] in ("integer", "number", "string") and field.get("default") is not None:
            text += f" (default {field['default']})"
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
        if field["type"] == "boolean":
            options["action"] = "store_false" if field["default"] else "store_true"
        elif field["type"] in ("object", "array"):
            options |= {"action": "append", "metavar": field["metavar"]}
        else:
            kind, metavar = _KINDS[field["type"]]
            if field.get("auto"):
                kind, metavar = _or_word(kind, AUTO, AUTO), f"{metavar}|{AUTO}"
            elif takes_none(field):
                kind, metavar = _or_word(kind, "none", None), f"{metavar}|none"
            choices = field.get("enum")
            options |= {"type": kind, "choices": choices, "metavar": "|".join(choices) if choices else metavar}
        action = groups[group_of.get(name, "learning")].add_argument(option_name(name), **options)
        if name == "env":
            action.completer = _complete_environment  # type: ignore[attr-defined]
    groups["run"].add_argument("--config", type=Path, metavar="FILE", help="YAML file of options; those given here win")
    parser.has_presets = True


def _complete_environment(prefix: str, **_: Any) -> list[str]:
    from envs.lookup import registered_ids

    return [env for env in registered_ids() if env.startswith(prefix)]


def training_options(arguments: argparse.Namespace) -> Options:
    """Return the fields given on the command line, the repeated NAME=VALUE options as tables, over those of `--config`.

    An environment given as module:id is registered by importing the module, and called by its id from then on. The
    modules of wrappers and callbacks are imported.

    :raises Refusal: if the environment, a wrapper or a callback is unknown, a repeated option is malformed or the file
        does not fit
    """
    from envs.arguments import parse_arguments
    from envs.lookup import check_environment
    from envs.wrapping import WRAPPERS

    options = {name: value for name, value in vars(arguments).items() if name in TrainingConfiguration.model_fields}
    if "env" in options:
        options["env"] = check_environment(options["env"])
    if "env_arguments" in options:
        options["env_arguments"] = parse_arguments(options["env_arguments"])
    if "wrappers" in options:
        options["wrappers"] = WRAPPERS.import_all(options["wrappers"])
    if "callbacks" in options:
        from agents.callbacks import CALLBACKS

        options["callbacks"] = CALLBACKS.import_all(options["callbacks"])
    if "densities" in options:
        options["densities"] = _parse_densities(options["densities"])
    return Options(options) if arguments.config is None else read_options(arguments.config, options)


def show_network(specification: ActorCriticSpecification, env: str | None, *notes: str | None) -> None:
    """Print the table of a network and notes, and a warning if it is out of proportion and no preset asked for it."""
    from envs.task import task_of

    said = "\n".join(filter(None, notes))
    print(format_table(specification) + (f"\n\n{said}" if said else ""), flush=True)
    warning = oversize_warning(specification)
    if warning and not (env and task_of(env).preset):
        print(warning, file=sys.stderr)


def show_environments(pattern: str) -> None:
    """Print a line for each environment whose id holds a pattern: id, inputs, outputs, and what its preset sets.

    :raises Refusal: if there is none
    """
    from agents.environment_list import listed_environments

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    print(f"{'environment':<40} {'inputs':>7} {'outputs':>7}  preset")
    for listed in listed_environments(pattern):
        sizes = "{:>7,} {:>7,}".format(*listed.sizes) if listed.sizes else f"{'-':>7} {'-':>7}"
        line = f"{listed.env:<40} {sizes}  {listed.preset if listed.sizes else listed.trouble}".rstrip()
        print(line if len(line) <= width else line[: width - 1] + "…", flush=True)


def show_remarks(configuration: TrainingConfiguration) -> None:
    """Print on stderr what a user may not expect of the environment that a training is about to start in.

    :raises Refusal: if the environment cannot be made
    """
    from envs.remarks import remarks

    found = remarks(configuration.env, configuration.env_arguments, configuration.wrappers, configuration.vectorization)
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
