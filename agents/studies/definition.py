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
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agents.callbacks import CALLBACKS
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
from agents.studies.samplers import SAMPLERS, Distribution, Parameter
from agents.yaml_file import Scalar, YamlFile, read_yaml, under
from envs.lookup import check_environment
from envs.task import task_of
from envs.wrapping import WRAPPERS
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
if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]


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


class _StudyTable(Settings):
    """The top of a study file."""

    name: Name | None = None
    env: str
    score: Literal["mean_return", "success_rate"] = "mean_return"
    seed: Seed = 0
    seeds: Seeds = Field([0])
    workers: Annotated[int, Field(ge=1, le=1000)] = 1
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = 20
    """seconds between signs of life of a worker"""
    options: dict[str, Any] = Field({})
    pruning: Pruning | None = None
    groups: Annotated[dict[Name, Any], Field(min_length=1)] | None = None
    sampler: Any = None
    trials: Any = None
    parameters: Any = None


class StudyDefinition(_StudyTable):
    """A study as its file describes it, checked as far as that goes without making an environment."""

    source: YamlFile
    name: str
    groups: tuple[Group, ...]  # type: ignore[assignment] # read

    @property
    def content(self) -> dict[str, Any]:
        """What decides cells and results, as plain values."""
        return {name: value for name, value in self.source.content.items() if name not in _NOT_DEFINING}


class _GroupTable(Settings):
    """A group in a study file."""

    sampler: SamplerName
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
        """Return what is drawn from."""
        if self.choice is not None:
            return Distribution("choice", values=tuple(self.choice))
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
    table = source.checked(_StudyTable, source.content)
    try:
        check_environment(table.env, allow_module=False)
    except Refusal as error:
        hint = "" if ":" in table.env else ", or `import` MODULE if a module of yours registers it"
        raise source.refuse("env", f"{error}{hint}") from None
    if table.score == "success_rate" and not task_of(table.env).knows_success:
        raise source.refuse("score", f"success_rate does not fit {table.env}, which knows no success: mean_return does")
    try:
        name = table.name or _plain_name(source.path.stem)
    except Refusal as error:
        raise source.refuse("", f"the file's name cannot be the study's, which 'name' sets: {error}") from None
    groups = tuple(_Reader(source, table).groups())
    alone = next((group.sampler for group in groups if SAMPLERS[group.sampler].proposes), None)
    if alone is not None and len(groups) > 1:
        raise source.refuse("groups", f"does not fit {alone}, which learns from one group: leave the others out")
    planned = sum(
        len(group.seeds) * group.trials * math.prod(len(values) for values in group.each.values()) for group in groups
    )
    if planned > MOST_TRIALS:
        raise source.refuse("", f"the study plans {planned:,} trials: at most {MOST_TRIALS:,} fit")
    return StudyDefinition.model_construct(**dict(table) | {"source": source, "name": name, "groups": groups})


@dataclass(frozen=True)
class _Reader:
    """Reads the groups of a study, and lets the configuration's own checks see what they set."""

    source: YamlFile
    study: _StudyTable

    def groups(self) -> Iterator[Group]:
        """Yield the groups, each of which stands under its name, or alone at the top."""
        alone = {name: self.source.content[name] for name in _ALONE if name in self.source.content}
        shared = self._options(self.study.options, "options", {})
        if self.study.groups is None:
            if not alone:
                needed = "the study has neither 'groups' nor 'sampler' and 'parameters': one is needed"
                raise self.source.refuse("", needed)
            yield self._group("all", "", alone, shared)
        elif alone:
            raise self.source.refuse(next(iter(alone)), "stands beside 'groups': it belongs into one of them")
        else:
            for name, content in self.study.groups.items():
                yield self._group(name, under("groups", name), content, shared)

    def _group(self, name: str, key: str, content: Any, shared: Mapping[str, Any]) -> Group:
        table = self.source.checked(_GroupTable, content, key)
        options = self._options(table.options, under(key, "options"), shared)
        parameters: dict[str, Parameter] = {}
        for written, value in table.parameters.items():
            place = under(key, "parameters", written)
            # Written without a block, densities stands for all six, each drawn on its own.
            names = [f"densities.{block}" for block in BLOCKS] if written == "densities" else [written]
            for full_name in names:
                if full_name in parameters:
                    raise self.source.refuse(place, f"sets {full_name} a second time: once is needed")
                parameters[full_name] = self._parameter(place, written, full_name, value, options)
            complaint = SAMPLERS[table.sampler].complaint(parameters[names[0]])
            if complaint is not None:
                raise self.source.refuse(place, complaint)
        drawn = {name: parameter for name, parameter in parameters.items() if isinstance(parameter, Distribution)}
        each = {name: parameter for name, parameter in parameters.items() if not isinstance(parameter, Distribution)}
        self._check_sampler(key, table, bool(drawn))
        seeds = tuple(table.seeds or self.study.seeds)
        return Group(name, table.sampler, table.trials or 1, seeds, options, each, drawn)

    def _options(self, own: Mapping[str, Any], key: str, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Read a table of fields of the configuration, and return them over others that hold beside them."""
        for name in own:
            with self.source.at(under(key, name)):
                _check_field(name)
        try:
            own = fields_of_file(own)
            options = merged(shared, own)
            configuration = configure(self.study.env, **options)
        except Refusal as error:
            keys = [under(key, field) for field in error.fields if field in own]
            raise self.source.refuse([*keys, key][0], str(error)) from None
        for choice, texts in ((WRAPPERS, configuration.wrappers), (CALLBACKS, configuration.callbacks)):
            try:
                choice.find_all(texts, "`import` MODULE")
            except Refusal as error:
                raise self.source.refuse(under(key, choice.field), error.message) from None
        return options

    def _parameter(self, place: str, written: str, full_name: str, value: Any, options: Mapping[str, Any]) -> Parameter:
        with self.source.at(place):
            _check_parameter(full_name)
        if isinstance(value, list) and written == full_name:
            return self._values(place, value, full_name, options)
        if isinstance(value, dict):
            return self._distribution(place, value, full_name, options)
        needed = "a list of values, or a distribution" if written == full_name else "a distribution"
        raise self.source.refuse(
            place,
            f"is {in_short(value)}: {needed} such as {{uniform: [0.1, 0.9]}}, is needed; "
            "a single one belongs into 'options'",
        )

    def _values(
        self, place: str, items: Sequence[Any], full_name: str, options: Mapping[str, Any]
    ) -> tuple[Scalar, ...]:
        if not items:
            raise self.source.refuse(place, "is empty: a list of values is needed")
        items = [whole_if_meant(full_name, value) for value in items]
        for index, value in enumerate(items):
            with self.source.at(under(place, index)):
                if isinstance(value, dict | list):
                    raise Refusal(f"is {in_short(value)}: a single value is needed")
                if any(value == other and type(value) is type(other) for other in items[:index]):
                    raise Refusal(f"is {in_short(value)} a second time: once is needed")
                configure(self.study.env, **with_parameters(options, {full_name: value}))
        return tuple(items)

    def _distribution(self, place: str, content: Any, full_name: str, options: Mapping[str, Any]) -> Distribution:
        distribution = self.source.checked(_DistributionTable, content, place).distribution()
        if distribution.kind == "choice":
            self._values(under(place, "choice"), distribution.values, full_name, options)
            return distribution
        for value in distribution.extremes():
            if full_name == "hidden_proportion" and distribution.kind == "uniform" and value in (0, 1):
                continue  # the bound of an interval that does not hold it
            with self.source.at(under(place, distribution.kind)):
                configure(self.study.env, **with_parameters(options, {full_name: value}))
        return distribution

    def _check_sampler(self, key: str, table: _GroupTable, is_drawn: bool) -> None:
        sampler = SAMPLERS[table.sampler]
        if not sampler.draws and table.trials is not None:
            complaint = f"does not fit a {table.sampler}, which its lists count: leave it out"
            raise self.source.refuse(under(key, "trials"), complaint)
        if sampler.draws and table.trials is None:
            raise self.source.refuse(key, f"has no 'trials': the sampler {table.sampler} needs their number")
        if sampler.draws and not is_drawn:
            raise self.source.refuse(key, f"draws nothing: the sampler {table.sampler} needs a distribution")
        if sampler.proposes and len(table.seeds or self.study.seeds) > 1:
            raise self.source.refuse(
                key if table.seeds is None else under(key, "seeds"),
                f"has several seeds, where {table.sampler} proposes one training at a time: one is needed",
            )


def _check_field(name: str) -> None:
    if name in OWN_FIELDS:
        instead = {"env": "the key 'env'", "seed": "'seeds'"}.get(name, "the study itself")
        raise Refusal(f"is set by {instead}: leave it out")
    if name in PRESET_ONLY:
        raise Refusal("is no option of the command line that repeats a trial: leave it out")
    if name not in TrainingConfiguration.model_fields:
        fitting = sorted(TrainingConfiguration.model_fields.keys() - {*PRESET_ONLY, *OWN_FIELDS})
        raise Refusal(f"is unknown: one of {', '.join(fitting)} is needed")


def _check_parameter(full_name: str) -> None:
    table, dot, inner = full_name.partition(".")
    _check_field(table)
    if (table in _TABLES) != bool(dot):
        example = "densities.hh or env_arguments.sequence_length" if table in _TABLES else table
        raise Refusal(f"does not fit: a name such as {example} is needed")
    if table == "densities" and inner not in BLOCKS:
        raise Refusal(f"names the unknown block {inner!r}: one of {' '.join(BLOCKS)} is needed")
    if table == "env_arguments" and not inner.isidentifier():
        raise Refusal(f"names the argument {inner!r}, which is none")


def with_parameters(options: Mapping[str, Any], parameters: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return options with parameters set; `densities.hh` sets the entry hh of densities."""
    for full_name, value in parameters.items():
        table, dot, inner = full_name.partition(".")
        options = merged(options, {table: {inner: value} if dot else value})
    return dict(options)
