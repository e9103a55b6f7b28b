"""What a study is: environment, options, groups of trials and how each is sampled, read from its file and checked.

    env: RandomAnomaly-v0
    score: success_rate                 # of an evaluation; or mean_return, the default
    seed: 0                             # of the plan: what is drawn
    seeds: [0]                          # of the trainings of each configuration
    workers: 2                          # processes of `sweep.py run`
    options: {total_timesteps: 500000}  # fields of TrainingConfiguration, for every trial
    pruning: {percentile: 50, n_startup_trials: 5, n_warmup_steps: 100000}
    groups:
      drawn:
        sampler: random
        trials: 40
        parameters:
          budget: [10000, 50000]        # a list: each of these
          hidden_proportion: {uniform: [0.02, 0.9]}
      dense:
        sampler: grid
        seeds: [0, 1, 2]              # in place of the study's
        options: {architecture: dense}
        parameters: {budget: [10000, 50000]}

A study of one group may have `sampler`, `trials` and `parameters` at the top in place of `groups`.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.configuration import PRESET_ONLY, TrainingConfiguration, configure
from agents.studies.plain_yaml import Entry, Scalar, read_yaml, refusal
from envs.lookup import check_environment
from policies.network.specification import BLOCKS
from policies.refusal import Refusal

SCORES = ("mean_return", "success_rate")
SAMPLERS = ("grid", "random", "tpe")
DISTRIBUTIONS = ("uniform", "log_uniform", "normal", "integers", "choice")
TABLES = ("env_arguments", "densities")
"""Fields that are tables; a parameter in one is written with a dot, as `densities.hh`."""
OWN_FIELDS = ("env", "seed", "log_dir", "run_name", "progress")
"""Fields that the study itself sets."""
MOST_TRIALS = 100_000

_KEYS = ("name", "env", "score", "seed", "seeds", "workers", "heartbeat", "options", "pruning")
_GROUP_KEYS = ("sampler", "trials", "seeds", "options", "parameters")
_ALONE = ("sampler", "trials", "parameters")
"""Keys of a group that stand at the top in a study of one group."""
_PRUNING_KEYS = ("percentile", "n_startup_trials", "n_warmup_steps")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_NOT_DEFINING = ("workers", "heartbeat", "name")


@dataclass(frozen=True)
class Distribution:
    """What a parameter is drawn from.

    uniform, log_uniform: from low to high; normal: mean and std, clipped to low … high; integers: low … high, both
    included; choice: one of the values.
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf
    mean: float = 0.0
    std: float = 1.0
    values: tuple[Scalar, ...] = ()

    def draw(self, generator: np.random.Generator) -> Scalar:
        """Draw one value."""
        if self.kind == "uniform":
            return float(generator.uniform(self.low, self.high))
        if self.kind == "log_uniform":
            value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
            return min(max(value, self.low), self.high)
        if self.kind == "normal":
            return float(np.clip(generator.normal(self.mean, self.std), self.low, self.high))
        if self.kind == "integers":
            return int(generator.integers(int(self.low), int(self.high), endpoint=True))
        return self.values[int(generator.integers(len(self.values)))]

    def extremes(self) -> tuple[Scalar, ...]:
        """Return values that stand for all: the bounds, or every value of a choice."""
        if self.kind == "choice":
            return self.values
        bounds = (self.low, self.high) if self.kind != "integers" else (int(self.low), int(self.high))
        return tuple(bound for bound in bounds if math.isfinite(bound)) or (self.mean,)


@dataclass(frozen=True)
class Group:
    """Trials that are sampled together, and marked alike in the report."""

    name: str
    sampler: str
    trials: int
    """draws at each grid point; 1 for a grid"""
    seeds: tuple[int, ...]
    """of the trainings of each configuration"""
    options: Mapping[str, Any]
    each: Mapping[str, tuple[Scalar, ...]]
    """parameter -> values, all combinations of which are planned"""
    drawn: Mapping[str, Distribution]
    """parameter -> what it is drawn from"""


@dataclass(frozen=True)
class Pruning:
    """Ends a trial whose best evaluation so far is not in the top percentile of the others' at the same step.

    The names are those of Optuna's PercentilePruner.
    """

    percentile: float = 50.0
    n_startup_trials: int = 5
    n_warmup_steps: int = 0


@dataclass(frozen=True)
class StudyDefinition:
    """A study as its file describes it, checked as far as that goes without making an environment."""

    file: Path
    lines: Mapping[str, int]
    """key -> line in the file"""
    name: str
    env: str
    score: str
    seed: int
    workers: int
    heartbeat: int
    """seconds between signs of life of a worker"""
    pruning: Pruning | None
    groups: tuple[Group, ...]
    content: Mapping[str, Any]
    """what decides cells and results, as plain values"""

    def refuse(self, key: str, message: str) -> Refusal:
        """Return the error that refuses a key of the file."""
        return refusal(self.file, self.lines.get(key, 1), key, message)


def read_study(file: str | Path) -> StudyDefinition:
    """Read a study file.

    :raises ValueError: one line that names file, line and key
    """
    top = read_yaml(Path(file))
    entries = top.table((*_KEYS, "groups", *_ALONE), "a study")
    if "env" not in entries:
        raise top.refuse("the study has no key 'env': the id of an environment is needed")
    env = entries["env"].text("the id of an environment")
    try:
        check_environment(env, allow_module=False)
    except Refusal as error:
        raise entries["env"].refuse(str(error)) from None
    name_entry = entries.get("name")
    name = name_entry.text("a name") if name_entry else Path(file).stem
    if not _NAME.fullmatch(name):
        text = f"the name {name!r} does not fit: up to 60 letters, digits, - and _ are needed"
        raise name_entry.refuse(text) if name_entry else top.refuse(f"{text}; the key 'name' sets it")
    options = _options(entries["options"], env, {}) if "options" in entries else {}
    seeds = _seeds(entries["seeds"]) if "seeds" in entries else (0,)
    groups = _groups(top, entries, _Shared(env, options, seeds))
    definition = StudyDefinition(
        file=Path(file),
        lines=dict(top.lines()),
        name=name,
        env=env,
        score=entries["score"].text("a score", SCORES) if "score" in entries else SCORES[0],
        seed=entries["seed"].whole_number(0) if "seed" in entries else 0,
        workers=entries["workers"].whole_number(1, 1000) if "workers" in entries else 1,
        heartbeat=entries["heartbeat"].whole_number(1, 3600) if "heartbeat" in entries else 20,
        pruning=_pruning(entries["pruning"]) if "pruning" in entries else None,
        groups=groups,
        content={name: entry.plain() for name, entry in entries.items() if name not in _NOT_DEFINING},
    )
    if any(group.sampler == "tpe" for group in groups) and len(groups) > 1:
        raise definition.refuse("groups", "does not fit tpe, which learns from one group: leave the others out")
    planned = sum(
        len(group.seeds) * group.trials * math.prod(len(values) for values in group.each.values()) for group in groups
    )
    if planned > MOST_TRIALS:
        raise definition.refuse("", f"the study plans {planned:,} trials: at most {MOST_TRIALS:,} fit")
    return definition


@dataclass(frozen=True)
class _Shared:
    """What the groups of a study share."""

    env: str
    options: Mapping[str, Any]
    seeds: tuple[int, ...]


def _groups(top: Entry, entries: Mapping[str, Entry], shared: _Shared) -> tuple[Group, ...]:
    alone = [key for key in _ALONE if key in entries]
    if "groups" not in entries:
        if not alone:
            raise top.refuse("the study has neither 'groups' nor 'sampler' and 'parameters': one of them is needed")
        return (_group("all", top, {key: entries[key] for key in alone}, shared),)
    if alone:
        raise entries[alone[0]].refuse("stands beside 'groups': it belongs into one of them")
    groups = []
    for name, entry in entries["groups"].table(what="a table of named groups").items():
        if not _NAME.fullmatch(name):
            raise entry.refuse("does not fit: a name of up to 60 letters, digits, - and _ is needed")
        groups.append(_group(name, entry, entry.table(_GROUP_KEYS), shared))
    if not groups:
        raise entries["groups"].refuse("is empty: a group is needed")
    return tuple(groups)


def _group(name: str, where: Entry, entries: Mapping[str, Entry], shared: _Shared) -> Group:
    if "sampler" not in entries:
        raise where.refuse(f"has no sampler: one of {', '.join(SAMPLERS)} is needed")
    sampler = entries["sampler"].text("a sampler", SAMPLERS)
    options = _options(entries["options"], shared.env, shared.options) if "options" in entries else shared.options
    seeds = _seeds(entries["seeds"]) if "seeds" in entries else shared.seeds
    parameters = entries["parameters"].table() if "parameters" in entries else {}
    each, drawn = _parameters(parameters, shared.env, options)
    _check_sampler(sampler, where, entries, parameters, each, drawn)
    if sampler == "tpe" and len(seeds) > 1:
        entry = entries.get("seeds", where)
        raise entry.refuse("has several seeds, where tpe proposes one training at a time: one is needed")
    trials = entries["trials"].whole_number(1, MOST_TRIALS) if "trials" in entries else 1
    return Group(name, sampler, trials, seeds, options, each, drawn)


def _parameters(
    parameters: Mapping[str, Entry], env: str, options: Mapping[str, Any]
) -> tuple[dict[str, tuple[Scalar, ...]], dict[str, Distribution]]:
    each: dict[str, tuple[Scalar, ...]] = {}
    drawn: dict[str, Distribution] = {}
    for parameter, entry in parameters.items():
        # Written without a block, densities stands for all six, each drawn on its own.
        names = [f"densities.{block}" for block in BLOCKS] if parameter == "densities" else [parameter]
        for full_name in names:
            if full_name in each or full_name in drawn:
                raise entry.refuse(f"sets {full_name} a second time: once is needed")
            if entry.is_list() and parameter != "densities":
                each[full_name] = _values(entry, full_name, env, options)
            elif isinstance(entry.value, Mapping):
                drawn[full_name] = _distribution(entry, full_name, env, options)
            else:
                raise entry.refuse(
                    f"is {entry.shown()}: "
                    + ("" if parameter == "densities" else "a list of values, or ")
                    + "a distribution such as {uniform: [0.1, 0.9]} is needed (a single value belongs into 'options')"
                )
    return each, drawn


def _check_sampler(
    sampler: str,
    where: Entry,
    entries: Mapping[str, Entry],
    parameters: Mapping[str, Entry],
    each: Mapping[str, object],
    drawn: Mapping[str, Distribution],
) -> None:
    """Refuse what does not fit the sampler of a group."""
    if sampler == "grid":
        if drawn:
            raise parameters[_key_in(parameters, next(iter(drawn)))].refuse("is drawn: a grid takes lists alone")
        if "trials" in entries:
            raise entries["trials"].refuse("does not fit a grid, whose trials are counted by its lists: leave it out")
        return
    if "trials" not in entries:
        raise where.refuse(f"has no number of trials, which the sampler {sampler} needs: 'trials' is missing")
    if not drawn:
        raise where.refuse(f"draws nothing, though its sampler is {sampler}: a distribution is needed")
    if sampler == "tpe":
        if each:
            raise parameters[_key_in(parameters, next(iter(each)))].refuse(
                "is a list, which tpe does not go through: {choice: [...]} is needed"
            )
        for full_name, distribution in drawn.items():
            if distribution.kind == "normal":
                raise parameters[_key_in(parameters, full_name)].refuse(
                    "is normal, which tpe does not propose from: uniform, log_uniform, integers or choice is needed"
                )


def _key_in(parameters: Mapping[str, Entry], full_name: str) -> str:
    return full_name if full_name in parameters else full_name.partition(".")[0]


def _options(entry: Entry, env: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Read a table of fields of the configuration and check each, given the others.

    :param shared: options that hold beside these
    :return: both
    """
    own = entry.table()
    for name, option in own.items():
        _check_field(option, name)
    options = dict(shared)
    # A field may need another that stands before it in the configuration, wherever it stands in the file.
    for name in (field.name for field in dataclasses.fields(TrainingConfiguration)):
        if name in own:
            value = own[name].plain()
            merged = {**shared.get(name, {}), **value} if name in TABLES and isinstance(value, Mapping) else value
            options[name] = merged
            _configured(own[name], env, options)
    return options


def _check_field(entry: Entry, name: str) -> None:
    if name == "env" or name in OWN_FIELDS:
        instead = {"env": "the key 'env'", "seed": "'seeds'"}.get(name, "the study itself")
        raise entry.refuse(f"is set by {instead}: leave it out")
    fields = {field.name for field in dataclasses.fields(TrainingConfiguration)}
    if name in PRESET_ONLY:
        raise entry.refuse("has no option on the command line, which could not repeat the trial: leave it out")
    if name not in fields:
        fitting = sorted(fields - set(PRESET_ONLY) - set(OWN_FIELDS))
        raise entry.refuse(f"is unknown: one of {', '.join(fitting)} is needed")


def _check_parameter(entry: Entry, full_name: str) -> None:
    table, dot, inner = full_name.partition(".")
    _check_field(entry, table)
    if (table in TABLES) != bool(dot):
        example = "densities.hh or env_arguments.sequence_length" if table in TABLES else table
        raise entry.refuse(f"does not fit: a name such as {example} is needed")
    if table == "densities" and inner not in BLOCKS:
        raise entry.refuse(f"names the unknown block {inner!r}: one of {' '.join(BLOCKS)} is needed")
    if table == "env_arguments" and not inner.isidentifier():
        raise entry.refuse(f"names the argument {inner!r}, which is none")


def _values(entry: Entry, full_name: str, env: str, options: Mapping[str, Any]) -> tuple[Scalar, ...]:
    _check_parameter(entry, full_name)
    values: list[Scalar] = []
    for item in entry.items("a list of values"):
        if isinstance(item.value, Mapping) or item.is_list():
            raise item.refuse(f"is {item.shown()}: a single value is needed")
        value: Scalar = item.value  # type: ignore[assignment]
        if any(value == other and type(value) is type(other) for other in values):
            raise item.refuse(f"is {item.shown()} a second time: once is needed")
        _configured(item, env, with_parameters(options, {full_name: value}))
        values.append(value)
    return tuple(values)


def _distribution(entry: Entry, full_name: str, env: str, options: Mapping[str, Any]) -> Distribution:
    _check_parameter(entry, full_name)
    parts = entry.table((*DISTRIBUTIONS, "clip"))
    kinds = [name for name in parts if name != "clip"]
    if len(kinds) != 1:
        raise entry.refuse(f"is {entry.shown()}: exactly one of {', '.join(DISTRIBUTIONS)} is needed")
    kind = kinds[0]
    if "clip" in parts and kind != "normal":
        raise parts["clip"].refuse(f"does not fit {kind}: it is for normal alone")
    if kind == "choice":
        distribution = Distribution(kind, values=_values(parts[kind], full_name, env, options))
    elif kind == "normal":
        mean, std = _pair(parts[kind], "[mean, std]")
        low, high = _pair(parts["clip"], "[low, high]") if "clip" in parts else (-math.inf, math.inf)
        if std <= 0:
            raise parts[kind].refuse(f"has the standard deviation {std}: a positive one is needed")
        if not low < high:
            raise parts["clip"].refuse(f"is {parts['clip'].shown()}: [low, high] with low below high is needed")
        distribution = Distribution(kind, low, high, mean, std)
    else:
        low, high = _pair(parts[kind], "[low, high]")
        if not low < high:
            raise parts[kind].refuse(f"is {parts[kind].shown()}: [low, high] with low below high is needed")
        if kind == "log_uniform" and low <= 0:
            raise parts[kind].refuse(f"begins at {low}: log_uniform needs a low above 0")
        if kind == "integers" and not (float(low).is_integer() and float(high).is_integer() and abs(high) < 2**53):
            raise parts[kind].refuse(f"is {parts[kind].shown()}: two whole numbers are needed")
        distribution = Distribution(kind, low, high)
    for value in distribution.extremes():
        if full_name == "hidden_proportion" and kind == "uniform" and value in (0, 1):
            continue  # the bound of an interval that does not hold it
        _configured(parts[kind], env, with_parameters(options, {full_name: value}))
    return distribution


def _pair(entry: Entry, what: str) -> tuple[float, float]:
    items = entry.items(what)
    if len(items) != 2:
        raise entry.refuse(f"is {entry.shown()}: {what} is needed")
    return items[0].number(), items[1].number()


def _configured(entry: Entry, env: str, options: Mapping[str, Any]) -> None:
    """Let the configuration's own checks see options, of which this entry sets one."""
    try:
        configure(env, **options)
    except Refusal as error:
        raise entry.refuse(str(error)) from None


def _seeds(entry: Entry) -> tuple[int, ...]:
    seeds = [item.whole_number(0) for item in entry.items("a list of seeds")]
    if len(set(seeds)) < len(seeds):
        raise entry.refuse(f"is {entry.shown()}: every seed once is needed")
    return tuple(seeds)


def _pruning(entry: Entry) -> Pruning:
    parts = entry.table(_PRUNING_KEYS)
    percentile = parts["percentile"].number() if "percentile" in parts else 50.0
    if not 0 < percentile < 100:
        raise parts["percentile"].refuse(f"is {percentile}: a number between 0 and 100 is needed")
    return Pruning(
        percentile,
        parts["n_startup_trials"].whole_number(0) if "n_startup_trials" in parts else 5,
        parts["n_warmup_steps"].whole_number(0) if "n_warmup_steps" in parts else 0,
    )


def with_parameters(options: Mapping[str, Any], parameters: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return options with parameters set; `densities.hh` sets the entry hh of densities."""
    merged: dict[str, Any] = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in options.items()
    }
    for full_name, value in parameters.items():
        table, dot, inner = full_name.partition(".")
        if dot:
            merged.setdefault(table, {})[inner] = value
        else:
            merged[table] = value
    return merged
