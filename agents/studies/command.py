"""The command line that repeats one trial."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from agents.repeating import repeating_options
from agents.studies.ledger import configuration_of
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
    return repeating_options(configuration_of(recorded), modules)
