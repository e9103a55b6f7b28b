"""Cells of a study whose results are known from a report: they count as trained, and only the rest is left to do.

A database lives with the machine that made it; a report is small enough to be kept with the code. So a study whose
report was kept can be gone on with anywhere.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from agents.studies.ledger import cell_states, recorded, shown_distributions, trial_attributes
from agents.studies.planning import Plan
from agents.studies.results import Result, read_results
from agents.studies.samplers import SAMPLERS
from policies.refusal import Refusal


def known_results(folder: Path) -> list[Result]:
    """Read the complete results of a report's folder.

    :raises Refusal: if it holds no table of results
    """
    try:
        results = read_results(folder)
    except Refusal as error:
        raise Refusal(f"`known` {error}") from None
    return [result for result in results if result.status == "complete" and result.final]


def adopt(study: optuna.Study, plan: Plan, results: Sequence[Result]) -> list[str]:
    """Add a complete trial for every cell that has no trial yet and whose result is known; hold the lock.

    A result counts for a cell if both have the same id and the same configuration, as far as the result records one.
    Cells of a sampler that proposes are never adopted: their configurations are not known before they run.

    :return: a line for each result that the study has no place for
    """
    states = {state.cell.id: state for state in cell_states(plan, study.get_trials(deepcopy=False))}
    notes, shown = [], shown_distributions(plan)
    for result in results:
        state = states.get(result.cell)
        if state is None or SAMPLERS[plan.group(state.cell).sampler].proposes:
            notes.append(f"{result.cell} is no cell that this study plans")
            continue
        if state.trial is not None:
            continue
        cell = state.cell
        configuration = recorded(plan.configuration(cell, cell.parameters))
        difference = _difference(configuration, result.hyperparameters)
        if difference:
            notes.append(f"{result.cell} was trained with {difference}: it is trained again")
            continue
        study.add_trial(
            optuna.create_trial(
                state=TrialState.COMPLETE,
                value=result.score,
                params=dict(cell.parameters),
                distributions={name: shown[name] for name in cell.parameters},
                intermediate_values=dict(result.curve),
                user_attrs={
                    **trial_attributes(cell, result.attempt),
                    "configuration": configuration,
                    "network": dict(result.network),
                    "outcome": _outcome(result),
                },
            )
        )
    return notes


def _difference(configuration: Mapping[str, Any], recorded_then: Mapping[str, Any]) -> str:
    """Name the first option in which a result's configuration is another one; a table holds None for an empty text."""
    for name, value in configuration.items():
        if name in recorded_then and recorded_then[name] != (None if value == "" else value):
            return f"{name} {recorded_then[name]!r} where the study has {value!r}"
    return ""


def _outcome(result: Result) -> dict[str, Any]:
    scores = [score for _, score in result.curve if math.isfinite(score)]
    return {
        "final_score": result.score,
        "best_score": max(scores, default=result.score) if result.best_score is None else result.best_score,
        "final": dict(result.final),
        "curve": [dict(figures) for figures in result.evaluations],
        "seconds": result.seconds,
    }
