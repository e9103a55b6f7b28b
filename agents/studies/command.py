"""The command line that repeats one trial."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from agents.configuration import PRESET_ONLY, configure, option_name
from agents.literals import literal, parse_literal
from agents.studies.definition import OWN_FIELDS
from agents.studies.ledger import configuration_of
from envs.lookup import module_of
from policies.refusal import Refusal


def train_command(study: optuna.Study, number: int, modules: Sequence[str] = ()) -> list[str]:
    """Return the words of the command that trains a trial's configuration again, in a run folder of its own.

    Options that are the environment's defaults are left out.

    :param modules: that register environments; the last one without wrapper and callback is named with the environment
    :raises Refusal: if there is no such trial, or nothing was proposed for it yet
    """
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    if number not in trials:
        known = f"0 to {max(trials)}" if trials else "none yet"
        raise Refusal(f"`trial` {number} does not exist: there are {known}")
    recorded = trials[number].user_attrs.get("configuration")
    if recorded is None:
        raise Refusal(f"`trial` {number} has not begun: its parameters are proposed then")
    return ["python", "train.py", *options_of(recorded, modules)]


def options_of(recorded: Mapping[str, Any], modules: Sequence[str] = ()) -> list[str]:
    """Return the options of train.py that give a recorded configuration.

    :raises Refusal: if an option of presets alone has another value today
    """
    configuration = configuration_of(recorded)
    defaults = configure(configuration.env, demos=configuration.demos)  # which bring defaults of their own
    module = module_of(configuration.env)
    # Those of wrappers and callbacks are named with these.
    texts = (*configuration.wrappers, *configuration.callbacks)
    others = [name for name in modules if not any(text.startswith(f"{name}:") for text in texts)]
    words = ["--env", ":".join([*([module] if module else others[-1:]), configuration.env])]
    for name, value in configuration:
        given = name == "seed" or (name == "demos" and value is not None) or value != getattr(defaults, name)
        if not given or (name in OWN_FIELDS and name != "seed") or name == "recommended_by":
            continue  # the numbers that were recommended are given
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
