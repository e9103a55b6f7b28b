"""The cells of a study, all known before the first of them runs.

A cell is one training: a configuration and a seed. Its id, its options and what is drawn for it follow from the study
file alone: every draw has a generator of its own, seeded with the study's seed, the group's name and the number of the
draw. So the plan is the same on every machine and at every start, and does not depend on who runs what when.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from agents.configuration import TrainingConfiguration, configure
from agents.demonstrations.phase import demonstrations_of
from agents.recommendation.recommend import resolved
from agents.studies.definition import Group, StudyDefinition, with_parameters
from agents.studies.samplers import SAMPLERS
from agents.training import plan_training
from agents.yaml_file import Scalar
from envs.lookup import ActionSpace, environment_spaces
from policies.network.architectures import ActorCriticSpecification
from policies.refusal import Refusal


@dataclass(frozen=True)
class Cell:
    """One planned training."""

    id: str
    """unique in the study; the name of its run"""
    configuration_id: str
    """shared by the cells that differ in the seed alone"""
    group: str
    seed: int
    parameters: Mapping[str, Scalar]
    """what the group sets, by name (`budget`, `densities.hh`); empty where the sampler proposes when the cell runs"""


@dataclass(frozen=True)
class Plan:
    """All cells of a study, in the order they are run."""

    definition: StudyDefinition
    cells: tuple[Cell, ...]
    infeasible: Mapping[str, str]
    """id of a configuration that no network fits -> why; its cells are not planned"""

    def group(self, cell: Cell) -> Group:
        """Return the group of a cell."""
        return next(group for group in self.definition.groups if group.name == cell.group)

    def configuration(self, cell: Cell, parameters: Mapping[str, Scalar]) -> TrainingConfiguration:
        """Return the configuration that trains a cell with these parameters; what they leave to the parent is chosen.

        :raises Refusal: if the parameters do not fit each other
        """
        definition = self.definition
        options = with_parameters(self.group(cell).options, parameters)
        return resolved(configure(definition.env, **options, seed=cell.seed, progress=False))


class NetworkPlanner:
    """Finds the networks of configurations; makes each environment once to know its spaces."""

    def __init__(self) -> None:
        self._spaces: dict[str, tuple[spaces.Box, ActionSpace]] = {}

    def networks(self, configuration: TrainingConfiguration) -> ActorCriticSpecification:
        """Return the networks of a configuration, checked as `plan_training` does.

        :raises Refusal: if something does not fit
        """
        arguments = configuration.training_arguments
        key = repr((configuration.env, sorted(arguments.items()), configuration.wrappers))
        if key not in self._spaces:
            self._spaces[key] = environment_spaces(configuration.env, arguments, configuration.wrappers)
        return plan_training(configuration, self._spaces[key])


def plan_study(definition: StudyDefinition) -> Plan:
    """Plan all cells, and find the configurations that no network fits.

    :raises Refusal: if no cell is left
    """
    planner = NetworkPlanner()
    cells: list[Cell] = []
    infeasible: dict[str, str] = {}
    plan = Plan(definition, (), infeasible)
    for group in definition.groups:
        for configuration_id, parameters in _configurations(definition, group):
            # One seed for all says whether there is a network; what will be proposed is not known yet.
            cell = Cell(configuration_id, configuration_id, group.name, group.seeds[0], parameters)
            try:
                planner.networks(plan.configuration(cell, parameters))
            except Refusal as error:
                if SAMPLERS[group.sampler].proposes:
                    raise definition.source.refuse("options", str(error)) from None
                infeasible[configuration_id] = " ".join(str(error).split())
                continue
            cells += [dataclasses.replace(cell, id=f"{configuration_id}-seed{seed}", seed=seed) for seed in group.seeds]
    if not cells:
        first, reason = next(iter(infeasible.items()))
        raise Refusal(f"{definition.source.path}: no cell is feasible; {first}: {reason}")
    # A study that is not finished says most if every configuration has run once before any runs again.
    cells.sort(key=lambda cell: plan.group(cell).seeds.index(cell.seed))
    return Plan(definition, tuple(cells), infeasible)


def check_demonstrations(plan: Plan) -> list[str]:
    """Read every data set of demonstrations that a plan names, once, before anything runs.

    :return: why those do not fit that do not; their cells will fail
    :raises Refusal: if none fits
    """
    troubles: dict[tuple[str | None, int | None], Refusal | None] = {}
    for cell in plan.cells:
        configuration = plan.configuration(cell, cell.parameters)
        key = (configuration.demos, configuration.demo_episodes)
        if key not in troubles:
            try:
                demonstrations_of(configuration)
                troubles[key] = None
            except Refusal as error:
                troubles[key] = error
    found = [trouble for trouble in troubles.values() if trouble is not None]
    if len(found) == len(troubles):
        raise found[0]
    return [str(trouble) for trouble in found]


def draw_generator(definition: StudyDefinition, group: str, number: int) -> np.random.Generator:
    """Return the generator of one draw of a group; it depends on nothing else in the study."""
    return np.random.default_rng(np.random.SeedSequence([definition.seed, number, *group.encode()]))


def _configurations(definition: StudyDefinition, group: Group) -> Iterator[tuple[str, dict[str, Any]]]:
    points = [dict(zip(group.each, values, strict=True)) for values in itertools.product(*group.each.values())]
    for number, point in enumerate(points * group.trials):
        drawn = SAMPLERS[group.sampler].draw(group.drawn, draw_generator(definition, group.name, number))
        yield f"{group.name}-{number:04d}", point | drawn
