"""The configurations among runs, and the settings in which they differ."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.comparison.runs import Run
from policies.network.architectures import ARCHITECTURES


@dataclass(frozen=True)
class Group:
    """The runs of a configuration, in one environment or several.

    :ivar name: the settings that tell it from the other groups
    :ivar runs: environment -> its runs there, which differ in seeds
    """

    name: str
    runs: Mapping[str, tuple[Run, ...]]

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """The runs in all environments."""
        return tuple(run for runs in self.runs.values() for run in runs)


def differing_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the settings that tell configurations apart, each with its values in the order in which they come up.

    Those are settings that differ between runs in the same environment. What differs between environments alone, such
    as what their presets say, tells no configurations apart.
    """
    envs = dict.fromkeys(run.env for run in runs)
    here = {env: [run.settings for run in runs if run.env == env] for env in envs}
    return {
        name: [json.loads(text) for text in dict.fromkeys(_text(run.settings[name]) for run in runs)]
        for name in runs[0].settings
        if any(len({_text(settings[name]) for settings in own}) > 1 for own in here.values())
    }


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Return the configurations in the order in which they come up; runs that differ in no more than seeds are one."""
    differing = differing_settings(runs)
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_text({name: run.settings[name] for name in differing}), []).append(run)
    groups = []
    for own in found.values():
        by_env = {env: tuple(run for run in own if run.env == env) for env in dict.fromkeys(run.env for run in own)}
        groups.append(Group(_name({name: own[0].settings[name] for name in differing}), by_env))
    return groups


def repeated_seeds(groups: Sequence[Group]) -> list[str]:
    """Return a line for each run that has the seed of another of its configuration, and so says nothing new."""
    lines = []
    for runs in (runs for group in groups for runs in group.runs.values()):
        first = {run.seed: run for run in reversed(runs)}
        again = (run for run in runs if run is not first[run.seed])
        lines += [f"{run.source} has the settings and the seed of {first[run.seed].source}" for run in again]
    return lines


def shown(name: str, value: Any) -> str:
    """Write the value of a setting."""
    if name == "architecture":
        return ARCHITECTURES[value].title if value in ARCHITECTURES else str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, {}, []):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{entry} = {value[entry]}" for entry in value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _name(settings: Mapping[str, Any]) -> str:
    given = {name: value for name, value in settings.items() if value not in (None, False, {}, [])}
    return ", ".join(_described(name, value) for name, value in (given or settings).items()) or "all runs"


def _described(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if value is True or name in ("architecture", "wrappers"):
        return words if value is True else shown(name, value)
    return f"p = {value}" if name == "hidden_proportion" and value is not None else f"{words} {shown(name, value)}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
