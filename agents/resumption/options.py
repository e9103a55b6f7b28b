"""Which run to go on with, and what may be different from now on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.configuration import TrainingConfiguration, configure, marks_of
from agents.literals import literal
from agents.runs.folder import RunFolder
from envs.chosen_classes import NONE
from envs.lookup import LIMIT, check_recorded_environment
from policies.refusal import Refusal

CHANGEABLE = tuple(name for name in TrainingConfiguration.model_fields if marks_of(name).get("changeable"))
"""Options that a resumed run may have another value of; all others would make it another experiment. Of an
environment's arguments the limit of its episodes: ones that never end are noticed when a run is under way."""


def configuration_to_resume(run: str | Path, options: Mapping[str, Any]) -> tuple[RunFolder, TrainingConfiguration]:
    """Return the folder of a run and the configuration it goes on with.

    :param run: its folder
    :param options: fields of the configuration that were given anew
    :raises Refusal: if it is no run or damaged, its environment is not registered, an option differs that cannot
        change, or the run is finished
    """
    folder = RunFolder.open(run)
    recorded = folder.read_configuration()
    if "env" not in options:
        check_recorded_environment(recorded.env, folder.read_module())
    if "env_arguments" in options:
        options = {**options, "env_arguments": _with_limit(options["env_arguments"], recorded.env_arguments)}
    for name, value in options.items():
        old = getattr(recorded, name)
        differs = _differ(value, old) if name == "env_arguments" else value != old
        if differs and name not in CHANGEABLE:
            raise Refusal(
                f"`{name}` {_typed(value)} does not fit the resumed run, which has {_typed(old)}: "
                f"only {', '.join(f'`{name}`' for name in CHANGEABLE)} and {LIMIT} of `env_arguments` may change"
            )
    configuration = configure(**{**dict(recorded), **options})
    result = folder.read_result()
    finished = None if result is None else result.whole("steps")
    if finished is not None and configuration.demos_only:
        raise Refusal(f"the run {folder.path} is finished: it learns from demonstrations alone")
    same_environments = literal(configuration.env_arguments) == literal(recorded.env_arguments)
    if finished is not None and finished >= configuration.last_step and same_environments:
        raise Refusal(
            f"the run {folder.path} is finished, after {finished} steps: "
            f"to go on, `total_timesteps` above {finished} is needed"
        )
    return folder, configuration


def changed_options(before: TrainingConfiguration, after: TrainingConfiguration) -> dict[str, Any]:
    """Return the new values of the fields in which two configurations differ; of `env_arguments` the limit alone."""
    changed = {name: value for name, value in after if value != getattr(before, name)}
    if "env_arguments" in changed:
        changed["env_arguments"] = f"{LIMIT}={after.env_arguments.get(LIMIT)}"
    if "callbacks" in changed:
        changed["callbacks"] = " ".join(after.callbacks) or NONE
    return changed


def _typed(value: object) -> object:
    """Return the texts of a list as they are typed."""
    return (" ".join(value) or NONE) if isinstance(value, tuple) else value


def _with_limit(given: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded arguments with a limit that is given alone, or those given with the limit recorded."""
    kept = recorded if set(given) == {LIMIT} else {name: recorded[name] for name in recorded if name == LIMIT}
    return {**kept, **given}


def _differ(given: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    """Tell whether arguments differ, but for the limit."""
    texts = [literal({name: value for name, value in one.items() if name != LIMIT}) for one in (given, recorded)]
    return texts[0] != texts[1]  # 1 is not True there
