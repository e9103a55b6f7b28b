"""Which network a training should have: candidates, ranked by the parent or, where it knows too little, by the rule.

The value `auto` of architecture, hidden proportion or budget stands for what is found here; `resolved` puts numbers in
its place, before anything is trained or written.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from agents.building import specification_of
from agents.configuration import AUTO, TrainingConfiguration, configure
from agents.errors import TrainingStopped
from agents.recommendation.networks import Network, TaskFacts
from agents.recommendation.parent import COVERAGE, HOME, KnownTask, Parent
from envs.contract import close, describe
from envs.lookup import environment_spaces, make_environment
from policies.network.architectures import ARCHITECTURES
from policies.refusal import Refusal
from policies.sequence_policy import network_sizes

PROPORTIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BUDGETS = tuple(digit * 10**power for power in range(2, 8) for digit in (1, 2, 5))
WORTH = 0.02
"""A smaller budget is taken if it is predicted to fall short of the best by no more of the scaled score."""
PROBES = 10
"""Episodes of random actions whose mean length counts, where no time limit says how long one is."""
LONGEST_PROBE = 1_000
"""Steps of such an episode."""


@dataclass(frozen=True)
class Candidate:
    """A network that fits, and what is thought of it.

    :ivar fields: of the configuration that trains it
    :ivar score: predicted; None where the parent knows too little
    """

    network: Network
    fields: dict[str, Any]
    score: float | None


@dataclass(frozen=True)
class Recommendation:
    """Networks from the best to the worst, and why.

    :ivar doubt: why the rule chooses and not the parent; None if the parent does
    """

    parent: Parent
    facts: TaskFacts
    ranked: tuple[Candidate, ...]
    doubt: str | None
    nearest: tuple[KnownTask, ...]

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of the configuration that trains the best one."""
        by = self.parent.version if self.doubt is None else f"rule of {self.parent.version}"
        return self.ranked[0].fields | {"recommended_by": by}

    def interval(self, candidate: Candidate) -> tuple[float, float] | None:
        """Return where the score of a network, from 0 to 1, lies with a probability of `COVERAGE`; None if unknown."""
        if candidate.score is None or not math.isfinite(self.parent.half_width):
            return None
        return self.parent.interval(candidate.score)

    @property
    def by_score(self) -> tuple[Candidate, ...]:
        """The networks by predicted score; where nothing is predicted, as they are ranked."""
        if any(candidate.score is None for candidate in self.ranked):
            return self.ranked
        return tuple(sorted(self.ranked, key=lambda candidate: -(candidate.score or 0)))

    @property
    def sentence(self) -> str:
        """What was chosen by whom, in one line."""
        best = self.ranked[0]
        said = f"{best.network.title} of {best.network.budget:,} weights"
        if best.score is not None:
            interval = self.interval(best)
            between = "" if interval is None else f", {COVERAGE:.0%} interval {interval[0]:.2f} to {interval[1]:.2f}"
            said += f" (predicted score {best.score:.2f}{between})"
        if len(self.ranked) == 1:
            return f"{said}, the only network that the options leave"
        if self.doubt is None:
            return f"{said}, by the parent {self.parent.version}"
        return f"{said}, by the rule ({self.parent.rule}), not by the parent {self.parent.version}: {self.doubt}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "parent": self.parent.version,
            "tasks": self.parent.n_tasks,
            "rule": str(self.parent.rule),
            "doubt": self.doubt,
            "recommended": self.ranked[0].fields,
            "nearest": [{"task": known.task, "best": known.best} for known in self.nearest],
            "networks": [
                {
                    **candidate.fields,
                    "n_hidden": candidate.network.n_hidden,
                    "realized_hidden_proportion": candidate.network.hidden_proportion,
                    "score": candidate.score,
                    "interval": self.interval(candidate),
                }
                for candidate in self.by_score
            ],
        }


def is_open(configuration: TrainingConfiguration) -> bool:
    """Tell whether something in a configuration is left to the parent."""
    return bool(configuration.open_fields)


def left_open(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is `auto` where networks are to be ranked and these options of a configuration are given."""
    if "hidden_proportion" in options:
        return {}
    if not {"architecture", "hidden_size", "densities", "uniform_density"} & options.keys():
        return {"architecture": AUTO}
    architecture = options.get("architecture", "varied")
    # What is no architecture, from a file, is refused where the configuration is made.
    return {"hidden_proportion": AUTO} if architecture in [*ARCHITECTURES] and _has_proportion(architecture) else {}


def resolved(configuration: TrainingConfiguration) -> TrainingConfiguration:
    """Return a configuration in which nothing is left to the parent, and that names it if anything was.

    :raises Refusal: if no network fits, or there is no parent where one is named
    """
    return with_network(configuration, recommend(configuration)) if is_open(configuration) else configuration


def with_network(configuration: TrainingConfiguration, recommendation: Recommendation) -> TrainingConfiguration:
    """Return a configuration with the network that is recommended first."""
    return configuration.model_copy(update=recommendation.fields)


def recommend(configuration: TrainingConfiguration) -> Recommendation:
    """Rank the networks that a configuration leaves open.

    With the hidden proportion `auto` that of a given architecture is open, with the architecture `auto` both; with the
    budget `auto` it is the smallest one that is predicted to be about as good as the best.

    :raises Refusal: if no network fits
    """
    _check(configuration)
    parent = parent_of(configuration)
    shapes = environment_spaces(configuration.env, configuration.training_arguments, configuration.wrappers)
    facts = facts_of(configuration, shapes)
    steps = configuration.last_step

    def ranked(budget: int) -> list[Candidate]:
        return _ranked(configuration, budget, parent, facts, shapes)

    budget = configuration.budget
    if budget == AUTO:
        # Whoever chooses the network of each budget: the parent predicts what it comes to.
        predictable = [one for one in BUDGETS if parent.ignorance(facts, steps, one) is None]
        budget = (
            _worth_while({one: ranked(one) for one in predictable})
            or configure(configuration.env, demos=configuration.demos).budget
        )
    assert isinstance(budget, int)  # no preset leaves it open
    own = ranked(budget)
    if not own:
        fields = max(_open_fields(configuration, budget), key=lambda one: one["hidden_proportion"] == 0.5)
        specification_of(configuration.model_copy(update=fields), *shapes)  # which is refused, and says why
    doubt = parent.doubt(facts, steps, budget)
    return Recommendation(parent, facts, tuple(own), doubt, tuple(parent.nearest(facts, steps, budget)))


def _worth_while(ranked: Mapping[int, Sequence[Candidate]]) -> int | None:
    """Return the smallest budget whose chosen network is predicted to be about as good as that of any other.

    :param ranked: budget -> its networks, the chosen one first, where the parent can predict
    :return: None if there is none
    """
    best = {budget: own[0].score for budget, own in ranked.items() if own and own[0].score is not None}
    return next((budget for budget, score in best.items() if score >= max(best.values()) - WORTH), None)


def suitabilities(configurations: Sequence[TrainingConfiguration]) -> list[float]:
    """Return what the networks of configurations of one task are ranked by; -inf where no network fits.

    They may differ in anything else, of which the parent knows nothing.

    :raises Refusal: if the environment cannot be made
    """
    if not configurations:
        return []
    first = configurations[0]
    parent = parent_of(first)
    shapes = environment_spaces(first.env, first.training_arguments, first.wrappers)
    facts = facts_of(first, shapes)
    networks: list[tuple[int, Network]] = []
    for place, configuration in enumerate(configurations):
        try:
            networks.append((place, Network.of(specification_of(configuration, *shapes))))
        except Refusal:
            continue
    budgets = {network.budget for _, network in networks}
    doubts = [parent.doubt(facts, first.last_step, budget) for budget in budgets]
    # Scores of the parent and of the rule are on different scales: one of the two ranks all.
    doubt = next((doubt for doubt in doubts if doubt is not None), None)
    found = [-math.inf] * len(configurations)
    if networks:
        scores = suitability(parent, facts, first.last_step, [network for _, network in networks], doubt)
        for (place, _), score in zip(networks, scores, strict=True):
            found[place] = float(score)
    return found


def facts_of(configuration: TrainingConfiguration, shapes: tuple[spaces.Box, spaces.Space] | None = None) -> TaskFacts:
    """Return what is known of the task of a configuration.

    :param shapes: observation and action space of its environment, where they are known already
    :raises Refusal: if the environment cannot be made
    :raises TrainingStopped: if it raises
    """
    env, arguments, wrappers = configuration.env, configuration.env_arguments, configuration.wrappers
    shapes = shapes or environment_spaces(env, arguments, wrappers)
    n_inputs, n_outputs = network_sizes(*shapes)
    length = _episode_length(configuration)
    return TaskFacts(n_inputs, n_outputs, not isinstance(shapes[1], spaces.Box), length, bool(configuration.demos))


def _episode_length(configuration: TrainingConfiguration) -> float:
    """Return the time limit of a task, or the mean length of a few episodes of random actions."""
    environment = make_environment(configuration.env, configuration.env_arguments, configuration.wrappers)
    try:
        limit = environment.spec and environment.spec.max_episode_steps
        if limit:
            return float(limit)
        environment.action_space.seed(0)
        lengths = []
        for seed in range(PROBES):
            environment.reset(seed=seed)
            steps, over = 0, False
            while not over and steps < LONGEST_PROBE:
                _, _, terminated, truncated, _ = environment.step(environment.action_space.sample())
                steps, over = steps + 1, terminated or truncated
            lengths.append(steps)
        return float(np.mean(lengths))
    except Exception as error:
        line = f"`env` {configuration.env} failed when a few episodes were played to see how long they are"
        raise TrainingStopped(f"{line}: {describe(error)}") from error
    finally:
        close(environment)


def parent_of(configuration: TrainingConfiguration) -> Parent:
    """Return the parent that a configuration names, or the project's own.

    :raises Refusal: if it cannot be read
    """
    return Parent.load(HOME if configuration.parent is None else Path(configuration.parent))


def _check(configuration: TrainingConfiguration) -> None:
    """Refuse what contradicts an open architecture or hidden proportion."""
    if configuration.architecture == AUTO:
        given = [name for name in ("hidden_size", "densities", "uniform_density") if getattr(configuration, name)]
        if isinstance(configuration.hidden_proportion, float):
            given.append("hidden_proportion")
        if given:
            raise Refusal(f"`{given[0]}` contradicts `architecture` {AUTO}, which chooses it: leave it out")
    elif configuration.hidden_proportion == AUTO and not _has_proportion(configuration.architecture):
        raise Refusal(
            f"`hidden_proportion` {AUTO} contradicts `architecture` {configuration.architecture}: leave it out or take "
            f"`architecture` varied"
        )


def _has_proportion(architecture: str) -> bool:
    return "hidden_proportion" in ARCHITECTURES[architecture].options


def _fields(architecture: str, proportion: float | str | None, budget: int) -> dict[str, Any]:
    return {"architecture": architecture, "hidden_proportion": proportion, "budget": budget}


def _open_fields(configuration: TrainingConfiguration, budget: int) -> Iterator[dict[str, Any]]:
    given = configuration.hidden_proportion
    for name in ARCHITECTURES if configuration.architecture == AUTO else [configuration.architecture]:
        if configuration.rebalance != "none" and not ARCHITECTURES[name].has_room:
            continue
        if not _has_proportion(name):
            yield _fields(name, None, budget)
        elif AUTO in (given, configuration.architecture):
            yield from (_fields(name, proportion, budget) for proportion in PROPORTIONS)
        else:
            yield _fields(name, given, budget)


def _ranked(
    configuration: TrainingConfiguration,
    budget: int,
    parent: Parent,
    facts: TaskFacts,
    shapes: tuple[spaces.Box, Any],
) -> list[Candidate]:
    """Return the networks of a budget that fit, the best first."""
    fitting: list[tuple[Network, dict[str, Any]]] = []
    for fields in _open_fields(configuration, budget):
        try:
            found = specification_of(configuration.model_copy(update=fields), *shapes)
        except Refusal:
            continue  # no network of this kind has so many weights
        fitting.append((Network.of(found), fields))
    networks = [network for network, _ in fitting]
    if not networks:
        return []
    steps = configuration.last_step
    is_known = parent.ignorance(facts, steps, budget) is None
    predicted = parent.predict(facts, steps, networks).tolist() if is_known else [None] * len(networks)
    order = np.argsort(-suitability(parent, facts, steps, networks, parent.doubt(facts, steps, budget)), kind="stable")
    return [Candidate(networks[place], fitting[place][1], predicted[place]) for place in order]


def suitability(
    parent: Parent, facts: TaskFacts, steps: int, networks: Sequence[Network], doubt: str | None
) -> np.ndarray:
    """Return what networks are ranked by, (n,): the parent's prediction, or how well they fit the rule if in doubt."""
    if doubt is None:
        return parent.predict(facts, steps, networks)
    return parent.rule.scores(facts, networks)
