"""The command line that repeats a training."""

from collections.abc import Mapping, Sequence
from typing import Any

from agents.configuration import PRESET_ONLY, TrainingConfiguration, configure, option_name, takes_none
from agents.literals import literal, parse_literal
from agents.settings import field_schemas
from envs.lookup import module_of
from policies.refusal import Refusal

UNREPEATED = ("env", "log_dir", "run_name", "progress", "recommended_by")
"""Fields that are not among the options of a command that repeats a training: it has a run folder of its own, and the
numbers that were recommended are given."""


def repeating_options(configuration: TrainingConfiguration, modules: Sequence[str] = ()) -> list[str]:
    """Return the words of train.py's options that give a configuration; those that are defaults are left out.

    :param modules: that register environments; the last one that has no wrapper is named with the environment
    :raises Refusal: if an option of presets alone has another value today
    """
    defaults = configure(configuration.env, demos=configuration.demos)  # which bring defaults of their own
    module = module_of(configuration.env)
    # Those of wrappers and callbacks are named with these.
    texts = (*configuration.wrappers, *configuration.callbacks)
    others = [name for name in modules if not any(text.startswith(f"{name}:") for text in texts)]
    words = ["--env", ":".join([*([module] if module else others[-1:]), configuration.env])]
    for name, value in configuration:
        given = name == "seed" or (name == "demos" and value is not None) or value != getattr(defaults, name)
        if not given or name in UNREPEATED:
            continue
        if name in PRESET_ONLY:
            raise Refusal(f"the preset's {name} was {value!r} then, which no option sets")
        words += _option(name, value)
    return words


def _option(field: str, value: Any) -> list[str]:
    name = option_name(field)
    if isinstance(value, Mapping):
        for key in value:
            if not key.isidentifier():
                raise Refusal(f"the argument {key!r} is none that an option sets")
        return [word for key, entry in value.items() for word in (name, f"{key}={_literal(entry)}")]
    if isinstance(value, tuple):
        return [word for entry in value or ("none",) for word in (name, entry)]
    if isinstance(value, bool):
        # Options of truth values take none: giving one switches the default over.
        return [name]
    if value is None and takes_none(field_schemas(TrainingConfiguration)[field]):
        return [name, "none"]
    if value is None:
        raise Refusal(f"the {field.replace('_', ' ')} is none here, which no option sets")
    return [name, value if isinstance(value, str) else repr(value)]


def _literal(value: Any) -> str:
    """Write a value so that the command line reads it back."""
    if not isinstance(value, str):
        return literal(value)
    try:
        parse_literal(value)
    except ValueError:
        return value
    return literal(value)
