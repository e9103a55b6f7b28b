"""Which run to go on with, and what may be different from now on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.configuration import TrainingConfiguration, configure, marks_of
from agents.literals import literal
from agents.runs.folder import RunFolder
from envs.lookup import check_recorded_environment
from policies.refusal import Refusal

CHANGEABLE = tuple(name for name in TrainingConfiguration.model_fields if marks_of(name).get("changeable"))
"""Options that a resumed run may have another value of; all others would make it another experiment."""


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
    for name, value in options.items():
        old = getattr(recorded, name)
        differs = literal(value) != literal(old) if name == "env_arguments" else value != old  # 1 is not True there
        if differs and name not in CHANGEABLE:
            raise Refusal(
                f"`{name}` {value} does not fit the resumed run, which has {old}: "
                f"only {', '.join(f'`{name}`' for name in CHANGEABLE)} may change"
            )
    configuration = configure(**{**dict(recorded), **options})
    result = folder.read_result()
    finished = None if result is None else result.whole("steps")
    if finished is not None and configuration.demos_only:
        raise Refusal(f"the run {folder.path} is finished: it learns from demonstrations alone")
    if finished is not None and finished >= configuration.last_step:
        raise Refusal(
            f"the run {folder.path} is finished, after {finished} steps: "
            f"to go on, `total_timesteps` above {finished} is needed"
        )
    return folder, configuration


def changed_options(before: TrainingConfiguration, after: TrainingConfiguration) -> dict[str, Any]:
    """Return the new values of the fields in which two configurations differ."""
    return {name: value for name, value in after if value != getattr(before, name)}
