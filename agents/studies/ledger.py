"""Which trial stands for which cell, and what is left to do.

What counts is the cell: its trial is the one that is complete or pruned, else the one that runs or waits. All changes
are made under the study's lock by functions that look at what is there and add what is missing, so it does not matter
who calls them, how often, or where a worker died:

- A cell without a trial gets one that waits. So the first start plans the study, and a later one goes on with it.
- A running trial without sign of life has failed; so has one that its worker never signed. A worker claims a trial,
  signs it and gives its first sign of life before it releases the lock, so whoever holds the lock and finds a running
  trial unsigned knows that its worker died in between. (Optuna never misses a trial without any heartbeat.)
- A cell whose trials all died or were interrupted gets another. One that ended in an error, or outlived its workers too
  often, has failed: the same training would end the same way.
"""

import dataclasses
import json
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import NopPruner, PercentilePruner
from optuna.trial import FrozenTrial, TrialState

from agents.configuration import TrainingConfiguration, configure, fields_of_file, marks_of
from agents.literals import written, written_arguments
from agents.settings import in_short
from agents.studies.definition import OWN_FIELDS, StudyDefinition
from agents.studies.planning import Cell, Plan
from agents.studies.samplers import SAMPLERS
from agents.studies.storage import StudyStorage
from envs.task import task_of

MOST_DEATHS = 10
"""A cell whose workers died this often has failed."""

DONE = ("complete", "pruned", "infeasible")
LEFT = ("missing", "waiting", "running")
_RANK = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1, TrialState.RUNNING: 2, TrialState.WAITING: 3}


@dataclass(frozen=True)
class CellState:
    """How a cell stands.

    :ivar status: missing, waiting, running, complete, pruned, infeasible (what was proposed fits no network) or failed
    :ivar trial: the trial that stands for it; the last one if all failed, None if there is none
    :ivar attempts: number of its trials
    :ivar trouble: why it failed
    """

    cell: Cell
    status: str
    trial: FrozenTrial | None
    attempts: int
    trouble: str = ""


def open_study(storage: StudyStorage, definition: StudyDefinition, *, create: bool) -> optuna.Study:
    """Open the Optuna study of a definition; hold the lock where it may be created.

    :raises ValueError: if a study of another definition has the name, or there is none and none is to be created
    """
    if not create and definition.name not in optuna.get_all_study_names(storage):
        raise definition.source.refuse("name", f"there is no study {definition.name!r} in the storage: run it first")
    study = optuna.create_study(
        study_name=definition.name,
        storage=storage,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(
            seed=0
        ),  # draws nothing: cells are planned, or set a sampler of their own
        pruner=NopPruner() if definition.pruning is None else PercentilePruner(**dict(definition.pruning)),
        load_if_exists=True,
    )
    content = json.loads(json.dumps(written(definition.content)))  # arguments may have keys that are numbers
    known = study.user_attrs.get("definition")
    if known is None:
        if not create or study.get_trials(deepcopy=False):
            raise definition.source.refuse("name", f"the storage holds a study {definition.name!r} that is not ours")
        study.set_user_attr("definition", content)
    elif known != content:
        key, before = _difference(known, content)
        raise definition.source.refuse(
            key,
            f"the study {definition.name!r} was planned with {before} here: restore that, "
            "or give the new study a 'name' of its own",
        )
    return study


def _difference(known: Any, given: Any, key: str = "") -> tuple[str, str]:
    """Return the first key in which two definitions differ, and the known value."""
    if isinstance(known, Mapping) and isinstance(given, Mapping):
        for name in [*given, *known]:
            if name not in known:
                return f"{key}.{name}".lstrip("."), "nothing"
            if name not in given:
                return key, f"the key {name!r}"
            if known[name] != given[name]:
                return _difference(known[name], given[name], f"{key}.{name}".lstrip("."))
    return key, in_short(known)


def cell_states(plan: Plan, trials: Iterable[FrozenTrial]) -> list[CellState]:
    """Return how every cell stands, in the order of the plan."""
    by_cell: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        by_cell.setdefault(str(trial.user_attrs.get("cell")), []).append(trial)
    return [_cell_state(cell, by_cell.get(cell.id, [])) for cell in plan.cells]


def _cell_state(cell: Cell, trials: Sequence[FrozenTrial]) -> CellState:
    standing = [trial for trial in trials if trial.state in _RANK]
    if standing:
        trial = min(standing, key=lambda trial: (_RANK[trial.state], trial.number))
        status = "infeasible" if "infeasible" in trial.user_attrs else trial.state.name.lower()
        return CellState(cell, status, trial, len(trials))
    if not trials:
        return CellState(cell, "missing", None, 0)
    last = max(trials, key=lambda trial: trial.number)
    if "error" in last.user_attrs:
        return CellState(cell, "failed", last, len(trials), str(last.user_attrs["error"]))
    deaths = sum(not {"interrupted", "error"} & trial.user_attrs.keys() for trial in trials)
    if deaths >= MOST_DEATHS:
        how = last.user_attrs.get("death")
        trouble = f"its worker died {deaths} times" + (f", the last one {how}" if how else "")
        return CellState(cell, "failed", last, len(trials), trouble)
    return CellState(cell, "missing", last, len(trials))


def fail_dead(study: optuna.Study, gone: Collection[str] = ()) -> None:
    """Let the running trials of dead workers fail; hold the lock.

    :param gone: ends of the names of workers that are known to have ended
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get("worker")
        if worker is None or str(worker).endswith(tuple(gone)):
            study.tell(trial.number, state=TrialState.FAIL)


def enqueue_missing(study: optuna.Study, plan: Plan, *, retry_failed: bool = False) -> list[CellState]:
    """Add a waiting trial for every cell that lacks one; hold the lock.

    :param retry_failed: also for cells that failed
    :return: how every cell stands now; those just added count as waiting
    """
    states = cell_states(plan, study.get_trials(deepcopy=False))
    shown: dict[str, BaseDistribution] = {}
    for index, state in enumerate(states):
        if state.status == "missing" or (retry_failed and state.status == "failed"):
            shown = shown or shown_distributions(plan)
            study.add_trial(_waiting_trial(plan, state, shown))
            states[index] = dataclasses.replace(state, status="waiting", attempts=state.attempts + 1)
    return states


def _waiting_trial(plan: Plan, state: CellState, shown: Mapping[str, BaseDistribution]) -> FrozenTrial:
    cell = state.cell
    attributes = trial_attributes(cell, state.attempts + 1)
    if not SAMPLERS[plan.group(cell).sampler].proposes:
        params, distributions = dict(cell.parameters), {name: shown[name] for name in cell.parameters}
        attributes["configuration"] = recorded(plan.configuration(cell, cell.parameters))
    elif state.trial is not None:  # what was proposed once is trained again
        params, distributions = state.trial.params, state.trial.distributions
    else:
        params, distributions = {}, {}
    return optuna.create_trial(
        state=TrialState.WAITING, params=params, distributions=distributions, user_attrs=attributes
    )


def trial_attributes(cell: Cell, attempt: int) -> dict[str, Any]:
    """Return what every trial of a cell says of it."""
    return {
        "cell": cell.id,
        "configuration_id": cell.configuration_id,
        "group": cell.group,
        "seed": cell.seed,
        "attempt": attempt,
    }


def recorded(configuration: TrainingConfiguration) -> dict[str, Any]:
    """Return a configuration as it is kept with a trial: without what the study itself sets, but for env and seed."""
    preset = task_of(configuration.env).preset
    kept = {
        name: value
        for name, value in configuration
        if name in ("env", "seed")
        or not (name in OWN_FIELDS or (_is_unset(name, value) and marks_of(name).get("later") and name not in preset))
    }
    kept["env_arguments"] = written_arguments(configuration.env_arguments)
    return json.loads(json.dumps(kept, default=dict))


def _is_unset(name: str, value: Any) -> bool:
    return bool(value == TrainingConfiguration.model_fields[name].default)


def configuration_of(kept: Mapping[str, Any], **options: Any) -> TrainingConfiguration:
    """Return the configuration that `recorded` gave this form.

    :param options: further fields
    :raises Refusal: if it does not fit any more
    """
    return configure(**fields_of_file(kept), **options)


def shown_distributions(plan: Plan) -> dict[str, BaseDistribution]:
    """Return for every planned parameter a distribution that holds all its values, for Optuna's own displays."""
    values: dict[str, list[Any]] = {}
    for cell in plan.cells:
        for name, value in cell.parameters.items():
            values.setdefault(name, []).append(value)
    return {name: _holding(found) for name, found in values.items()}


def _holding(values: Sequence[Any]) -> BaseDistribution:
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return IntDistribution(min(values), max(values))
    if kinds <= {int, float}:
        return FloatDistribution(float(min(values)), float(max(values)))
    return CategoricalDistribution(sorted(set(values), key=lambda value: (str(type(value)), str(value))))
