"""Where the values of a group's parameters come from: distributions, and the samplers that draw from them.

A new sampler is one class and an entry of `SAMPLERS`.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning

from agents.configuration import TrainingConfiguration
from agents.recommendation.recommend import suitabilities
from agents.yaml_file import Scalar
from policies.refusal import Refusal

Configure = Callable[[Mapping[str, Scalar]], TrainingConfiguration]
"""From parameters to the configuration that trains them; raises a `Refusal` if they do not fit."""
STARTS = 5
"""Trials that the parent chooses before TPE goes on."""
POOL = 128
"""Points among which it chooses."""
APART = 0.1
"""Least distance of two of them in at least one parameter, of its range."""


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

    def suggest(self, trial: optuna.Trial, name: str) -> Scalar:
        """Let the trial's sampler choose one value."""
        if self.kind == "choice":
            return trial.suggest_categorical(name, self.values)
        if self.kind == "integers":
            return trial.suggest_int(name, int(self.low), int(self.high))
        return trial.suggest_float(name, self.low, self.high, log=self.kind == "log_uniform")

    def place(self, value: Scalar) -> float:
        """Return where a number lies between low and high, from 0 to 1."""
        assert isinstance(value, int | float)
        if self.kind == "log_uniform":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def extremes(self) -> tuple[Scalar, ...]:
        """Return values that stand for all: the bounds, or every value of a choice."""
        if self.kind == "choice":
            return self.values
        bounds = (self.low, self.high) if self.kind != "integers" else (int(self.low), int(self.high))
        return tuple(bound for bound in bounds if math.isfinite(bound)) or (self.mean,)


Parameter = tuple[Scalar, ...] | Distribution
"""A list of values, all combinations of which are planned, or what is drawn from."""


@dataclass(frozen=True)
class Start:
    """A trial that starts.

    :ivar seed: of this trial
    :ivar number: its place in the group, from 0
    """

    study: optuna.Study
    trial: optuna.Trial
    seed: int
    number: int
    configure: Configure


class Sampler:
    """Where a group's parameters come from: this one goes through lists of values alone, its subclasses draw."""

    draws = False
    """whether it draws from distributions, a given number of trials"""
    proposes = False
    """whether it draws when a trial starts, from what the others came to, and not already when the study is planned"""

    def complaint(self, parameter: Parameter) -> str | None:
        """Return why a parameter does not fit; None if it does."""
        return "is drawn: a grid takes lists alone" if isinstance(parameter, Distribution) else None

    def draw(self, drawn: Mapping[str, Distribution], generator: np.random.Generator) -> dict[str, Scalar]:
        """Return values for a configuration that is planned."""
        return {}

    def propose(self, drawn: Mapping[str, Distribution], start: Start) -> dict[str, Scalar]:
        """Return values for a trial that starts."""
        raise NotImplementedError


class Random(Sampler):
    """Draws every configuration by itself."""

    draws = True

    def complaint(self, parameter: Parameter) -> str | None:
        """Accept lists and distributions."""
        return None

    def draw(self, drawn: Mapping[str, Distribution], generator: np.random.Generator) -> dict[str, Scalar]:
        """Draw in the order of the names, so that the order in the file does not matter."""
        values = {name: drawn[name].draw(generator) for name in sorted(drawn)}
        return {name: values[name] for name in drawn}


class TreeParzen(Sampler):
    """Optuna's tree-structured Parzen estimator: proposes what resembles the best trials so far."""

    draws = proposes = True
    name = "tpe"

    def complaint(self, parameter: Parameter) -> str | None:
        """Accept what Optuna has a distribution for."""
        if not isinstance(parameter, Distribution):
            return f"is a list, which {self.name} does not go through: {{choice: [...]}} is needed"
        if parameter.kind == "normal":
            return f"is normal, which {self.name} does not propose from: another kind is needed"
        return None

    def propose(self, drawn: Mapping[str, Distribution], start: Start) -> dict[str, Scalar]:
        """Learn from the study's trials; those that run count as bad, so that no two workers try the same."""
        start.study.sampler = optuna.samplers.TPESampler(seed=start.seed, constant_liar=True)
        return {name: distribution.suggest(start.trial, name) for name, distribution in drawn.items()}


class ParentFirst(TreeParzen):
    """Begins with what the parent ranks first, and goes on as TPE, which learns from these trials too."""

    name = "parent"

    def propose(self, drawn: Mapping[str, Distribution], start: Start) -> dict[str, Scalar]:
        """Take the parent's choice of this number, if there is one."""
        points = starting_points(drawn, start.configure) if start.number < STARTS else []
        if start.number >= len(points):
            return super().propose(drawn, start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            others = optuna.samplers.RandomSampler(seed=0)
            start.study.sampler = optuna.samplers.PartialFixedSampler(points[start.number], others)
        return {name: distribution.suggest(start.trial, name) for name, distribution in drawn.items()}


def starting_points(drawn: Mapping[str, Distribution], configure: Configure) -> list[dict[str, Scalar]]:
    """Return up to `STARTS` points, the one first that the parent ranks first; no two of them are close.

    The same at every call: they are chosen from points that are drawn from the distributions with a fixed seed.
    """
    generator = np.random.default_rng(0)
    pool = [{name: drawn[name].draw(generator) for name in sorted(drawn)} for _ in range(POOL)]
    fitting = []
    for point in pool:
        try:
            fitting.append((point, configure(point)))
        except Refusal:
            continue
    scores = suitabilities([configuration for _, configuration in fitting])
    points: list[dict[str, Scalar]] = []
    for place in sorted(range(len(fitting)), key=lambda place: -scores[place]):
        point = fitting[place][0]
        if math.isfinite(scores[place]) and all(_are_apart(drawn, point, other) for other in points):
            points.append(point)
        if len(points) == STARTS:
            break
    return points


def _are_apart(drawn: Mapping[str, Distribution], one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> bool:
    return any(
        one[name] != other[name]
        if distribution.kind == "choice"
        else abs(distribution.place(one[name]) - distribution.place(other[name])) >= APART
        for name, distribution in drawn.items()
    )


SAMPLERS: dict[str, Sampler] = {
    "grid": Sampler(),
    "random": Random(),
    "tpe": TreeParzen(),
    "parent": ParentFirst(),
}
"""What `sampler` in a study file may be."""
