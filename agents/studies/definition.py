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

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from agents.configuration import (
    PRESET_ONLY,
    Seed,
    TrainingConfiguration,
    configure,
    fields_of_file,
    merged,
    whole_if_meant,
)
from agents.settings import Settings, in_short
from agents.yaml_file import Scalar, YamlFile, read_yaml, under
from envs.lookup import check_environment
from policies.network.specification import BLOCKS
from policies.refusal import Refusal

OWN_FIELDS = ("env", "seed", "log_dir", "run_name", "progress")
"""Fields that the study itself sets."""
MOST_TRIALS = 100_000

_TABLES = ("env_arguments", "densities")
"""Fields that are tables; a parameter in one is written with a dot, as `densities.hh`."""
_ALONE = ("sampler", "trials", "parameters")
"""Keys of a group that stand at the top in a study of one group."""
_NOT_DEFINING = ("workers", "heartbeat", "name")


def _plain_name(name: str) -> str:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,59}", name):
        raise Refusal("a name of up to 60 letters, digits, - and _ is needed")
    return name


def _each_once(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise Refusal("every seed once is needed")
    return values


def _interval(bounds: list[Any]) -> list[Any]:
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise Refusal("[low, high] with low below high is needed")
    return bounds


def _mean_and_deviation(values: list[float]) -> list[float]:
    if len(values) != 2 or values[1] <= 0:
        raise Refusal("[mean, std] with a positive standard deviation is needed")
    return values


Name = Annotated[str, AfterValidator(_plain_name)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]
Sampler = Literal["grid", "random", "tpe"]


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


class Pruning(Settings):
    """Ends a trial whose best evaluation so far is not in the top percentile of the others' at the same step.

    The names are those of Optuna's PercentilePruner.
    """

    percentile: Annotated[float, Field(gt=0, lt=100)] = 50.0
    n_startup_trials: Annotated[int, Field(ge=0)] = 5
    n_warmup_steps: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class StudyDefinition:
    """A study as its file describes it, checked as far as that goes without making an environment."""

    source: YamlFile
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
        return self.source.refuse(key, message)


class _StudyTable(Settings):
    """The top of a study file."""

    name: Name | None = None
    env: str
    score: Literal["mean_return", "success_rate"] = "mean_return"
    seed: Seed = 0
    seeds: Seeds = Field([0])
    workers: Annotated[int, Field(ge=1, le=1000)] = 1
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = 20
    options: dict[str, Any] = Field({})
    pruning: Pruning | None = None
    groups: Annotated[dict[Name, Any], Field(min_length=1)] | None = None
    sampler: Any = None
    trials: Any = None
    parameters: Any = None


class _GroupTable(Settings):
    """A group in a study file."""

    sampler: Sampler
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = None
    seeds: Seeds | None = None
    options: dict[str, Any] = Field({})
    parameters: dict[str, Any] = Field({})


class _DistributionTable(Settings):
    """A distribution in a study file."""

    uniform: Annotated[list[float], AfterValidator(_interval)] | None = None
    log_uniform: Annotated[list[Annotated[float, Field(gt=0)]], AfterValidator(_interval)] | None = None
    normal: Annotated[list[float], AfterValidator(_mean_and_deviation)] | None = None
    integers: Annotated[list[Annotated[int, Field(gt=-(2**53), lt=2**53)]], AfterValidator(_interval)] | None = None
    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    clip: Annotated[list[float], AfterValidator(_interval)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [name for name, value in self if value is not None and name != "clip"]
        if len(kinds) != 1:
            fitting = [name for name in type(self).model_fields if name != "clip"]
            raise Refusal(f"exactly one of {', '.join(fitting)} is needed")
        if self.clip is not None and self.normal is None:
            raise Refusal(f"clip does not fit {kinds[0]}: it is for normal alone")
        return self

    def distribution(self) -> Distribution:
        """Return what is drawn from, if it is no choice."""
        if self.normal is not None:
            low, high = self.clip or (-math.inf, math.inf)
            mean, std = self.normal
            return Distribution("normal", low, high, mean, std)
        return next(Distribution(kind, *bounds) for kind, bounds in self if bounds is not None)


def read_study(file: str | Path) -> StudyDefinition:
    """Read a study file.

    :raises Refusal: one line that names file, line and key
    """
    source = read_yaml(Path(file))
    top = source.checked(_StudyTable, source.content)
    try:
        check_environment(top.env, allow_module=False)
    except Refusal as error:
        hint = "" if ":" in top.env else ", or `import` MODULE if a module of yours registers it"
        raise source.refuse("env", f"{error}{hint}") from None
    try:
        name = top.name or _plain_name(source.path.stem)
    except Refusal as error:
        raise source.refuse("", f"the file's name cannot be the study's, which 'name' sets: {error}") from None
    reader = _Reader(source, top.env)
    shared = reader.options(top.options, "options", {})
    groups = tuple(reader.group(*table, shared, top.seeds) for table in _group_tables(source, top))
    definition = StudyDefinition(
        source=source,
        name=name,
        env=top.env,
        score=top.score,
        seed=top.seed,
        workers=top.workers,
        heartbeat=top.heartbeat,
        pruning=top.pruning,
        groups=groups,
        content={name: value for name, value in source.content.items() if name not in _NOT_DEFINING},
    )
    if any(group.sampler == "tpe" for group in groups) and len(groups) > 1:
        raise definition.refuse("groups", "does not fit tpe, which learns from one group: leave the others out")
    planned = sum(
        len(group.seeds) * group.trials * math.prod(len(values) for values in group.each.values()) for group in groups
    )
    if planned > MOST_TRIALS:
        raise definition.refuse("", f"the study plans {planned:,} trials: at most {MOST_TRIALS:,} fit")
    return definition


def _group_tables(source: YamlFile, top: _StudyTable) -> Iterator[tuple[str, str, Any]]:
    """Yield the name, the key and the content of every group."""
    alone = {name: source.content[name] for name in _ALONE if name in source.content}
    if top.groups is None:
        if not alone:
            raise source.refuse("", "the study has neither 'groups' nor 'sampler' and 'parameters': one is needed")
        yield "all", "", alone
    elif alone:
        raise source.refuse(next(iter(alone)), "stands beside 'groups': it belongs into one of them")
    else:
        for name, table in top.groups.items():
            yield name, under("groups", name), table


@dataclass(frozen=True)
class _Reader:
    """Reads the groups of a study, and lets the configuration's own checks see what they set."""

    source: YamlFile
    env: str

    def group(self, name: str, key: str, content: Any, shared: Mapping[str, Any], seeds: Sequence[int]) -> Group:
        """Read a group that stands under a key.

        :param shared: the study's options
        :param seeds: the study's
        """
        table = self.source.checked(_GroupTable, content, key)
        options = self.options(table.options, under(key, "options"), shared)
        each: dict[str, tuple[Scalar, ...]] = {}
        drawn: dict[str, Distribution] = {}
        for parameter, value in table.parameters.items():
            place = under(key, "parameters", parameter)
            # Written without a block, densities stands for all six, each drawn on its own.
            names = [f"densities.{block}" for block in BLOCKS] if parameter == "densities" else [parameter]
            for full_name in names:
                if full_name in each or full_name in drawn:
                    raise self.source.refuse(place, f"sets {full_name} a second time: once is needed")
                self._check_parameter(place, full_name)
                if isinstance(value, list) and parameter != "densities":
                    each[full_name] = self._values(place, value, full_name, options)
                elif isinstance(value, dict):
                    drawn[full_name] = self._distribution(place, value, full_name, options)
                else:
                    raise self.source.refuse(
                        place,
                        f"is {in_short(value)}: {'' if parameter == 'densities' else 'a list of values, or '}"
                        "a distribution such as {uniform: [0.1, 0.9]}, is needed; a single one belongs into 'options'",
                    )
            self._check_sampled(place, table.sampler, drawn.get(names[0]))
        seeds = table.seeds or seeds
        self._check_sampler(key, table, bool(drawn), seeds)
        return Group(name, table.sampler, table.trials or 1, tuple(seeds), options, each, drawn)

    def options(self, own: Mapping[str, Any], key: str, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Read a table of fields of the configuration, and return them over others that hold beside them."""
        for name in own:
            self._check_field(under(key, name), name)
        try:
            own = fields_of_file(own)
            options = merged(shared, own)
            configure(self.env, **options)
        except Refusal as error:
            keys = [under(key, field) for field in error.fields if field in own]
            raise self.source.refuse([*keys, key][0], str(error)) from None
        return options

    def _check_sampled(self, place: str, sampler: str, distribution: Distribution | None) -> None:
        """Refuse a parameter that does not fit the sampler of its group.

        :param distribution: what it is drawn from; None for a list of values
        """
        if sampler == "grid" and distribution is not None:
            raise self.source.refuse(place, "is drawn: a grid takes lists alone")
        if sampler == "tpe" and distribution is None:
            raise self.source.refuse(place, "is a list, which tpe does not go through: {choice: [...]} is needed")
        if sampler == "tpe" and distribution is not None and distribution.kind == "normal":
            raise self.source.refuse(place, "is normal, which tpe does not propose from: another kind is needed")

    def _check_sampler(self, key: str, table: _GroupTable, drawn: bool, seeds: Sequence[int]) -> None:
        grid = table.sampler == "grid"
        if grid and table.trials is not None:
            raise self.source.refuse(under(key, "trials"), "does not fit a grid, which its lists count: leave it out")
        if not grid and table.trials is None:
            raise self.source.refuse(key, f"has no 'trials': the sampler {table.sampler} needs their number")
        if not grid and not drawn:
            raise self.source.refuse(key, f"draws nothing: the sampler {table.sampler} needs a distribution")
        if table.sampler == "tpe" and len(seeds) > 1:
            place = key if table.seeds is None else under(key, "seeds")
            raise self.source.refuse(
                place, "has several seeds, where tpe proposes one training at a time: one is needed"
            )

    def _check_field(self, place: str, name: str) -> None:
        if name in OWN_FIELDS:
            instead = {"env": "the key 'env'", "seed": "'seeds'"}.get(name, "the study itself")
            raise self.source.refuse(place, f"is set by {instead}: leave it out")
        if name in PRESET_ONLY:
            raise self.source.refuse(place, "is no option of the command line that repeats a trial: leave it out")
        if name not in TrainingConfiguration.model_fields:
            fitting = sorted(TrainingConfiguration.model_fields.keys() - {*PRESET_ONLY, *OWN_FIELDS})
            raise self.source.refuse(place, f"is unknown: one of {', '.join(fitting)} is needed")

    def _check_parameter(self, place: str, full_name: str) -> None:
        table, dot, inner = full_name.partition(".")
        self._check_field(place, table)
        if (table in _TABLES) != bool(dot):
            example = "densities.hh or env_arguments.sequence_length" if table in _TABLES else table
            raise self.source.refuse(place, f"does not fit: a name such as {example} is needed")
        if table == "densities" and inner not in BLOCKS:
            raise self.source.refuse(place, f"names the unknown block {inner!r}: one of {' '.join(BLOCKS)} is needed")
        if table == "env_arguments" and not inner.isidentifier():
            raise self.source.refuse(place, f"names the argument {inner!r}, which is none")

    def _values(
        self, place: str, items: Sequence[Any], full_name: str, options: Mapping[str, Any]
    ) -> tuple[Scalar, ...]:
        if not items:
            raise self.source.refuse(place, "is empty: a list of values is needed")
        items = [whole_if_meant(full_name, value) for value in items]
        for index, value in enumerate(items):
            item = under(place, index)
            if isinstance(value, dict | list):
                raise self.source.refuse(item, f"is {in_short(value)}: a single value is needed")
            if any(value == other and type(value) is type(other) for other in items[:index]):
                raise self.source.refuse(item, f"is {in_short(value)} a second time: once is needed")
            self._check_value(item, full_name, value, options)
        return tuple(items)

    def _distribution(self, place: str, content: Any, full_name: str, options: Mapping[str, Any]) -> Distribution:
        table = self.source.checked(_DistributionTable, content, place)
        if table.choice is not None:
            return Distribution("choice", values=self._values(under(place, "choice"), table.choice, full_name, options))
        distribution = table.distribution()
        for value in distribution.extremes():
            if full_name == "hidden_proportion" and distribution.kind == "uniform" and value in (0, 1):
                continue  # the bound of an interval that does not hold it
            self._check_value(under(place, distribution.kind), full_name, value, options)
        return distribution

    def _check_value(self, place: str, full_name: str, value: Scalar, options: Mapping[str, Any]) -> None:
        try:
            configure(self.env, **with_parameters(options, {full_name: value}))
        except Refusal as error:
            raise self.source.refuse(place, str(error)) from None


def with_parameters(options: Mapping[str, Any], parameters: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return options with parameters set; `densities.hh` sets the entry hh of densities."""
    for full_name, value in parameters.items():
        table, dot, inner = full_name.partition(".")
        options = merged(options, {table: {inner: value} if dot else value})
    return dict(options)
