"""The results of a study as the report sees them: one per cell, all from the database, and their table."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState

from agents.studies.ledger import CellState
from policies.network.architectures import ARCHITECTURES
from policies.network.specification import BLOCKS


@dataclass(frozen=True)
class Result:
    """A cell's trial: what was trained and what it came to.

    :ivar status: as in `CellState`
    :ivar hyperparameters: the whole configuration
    :ivar network: of the actor: n_hidden, hidden_proportion, total_weights, densities, weights; empty if not yet known
    :ivar final_score: of the final policy over fresh episodes; None unless complete
    :ivar best_score: of the best evaluation during the training
    :ivar curve: (steps, score) of every evaluation
    """

    trial: int
    cell: str
    configuration: str
    group: str
    seed: int
    status: str
    attempt: int
    hyperparameters: Mapping[str, Any]
    network: Mapping[str, Any]
    final_score: float | None
    best_score: float | None
    seconds: float | None
    curve: tuple[tuple[int, float], ...]

    @property
    def architecture(self) -> str:
        """Kind of network."""
        return str(self.hyperparameters["architecture"])

    @property
    def budget(self) -> int:
        """Weights of each network."""
        return int(self.hyperparameters["budget"])

    @property
    def hidden_proportion(self) -> float:
        """Share of the actor's weights that lie in the hidden-to-hidden block, as realized."""
        return float(self.network["hidden_proportion"])

    @property
    def has_six_blocks(self) -> bool:
        """Whether the network is made of the six blocks, sparse or not."""
        return set(self.network["weights"]) == set(BLOCKS)

    @property
    def score(self) -> float:
        """The final score of a complete trial."""
        assert self.final_score is not None
        return self.final_score


def results_of(states: Iterable[CellState]) -> list[Result]:
    """Return the results of all cells whose trial has ended, in the order of the trials."""
    results = [_result(state) for state in states if state.trial is not None and state.trial.state.is_finished()]
    return sorted(results, key=lambda result: result.trial)


def _result(state: CellState) -> Result:
    trial = state.trial
    assert trial is not None
    attributes = trial.user_attrs
    outcome = attributes.get("outcome", {}) if trial.state == TrialState.COMPLETE else {}
    curve = tuple(sorted(trial.intermediate_values.items()))
    scores = [score for _, score in curve if np.isfinite(score)]
    seconds = outcome.get("seconds")
    if seconds is None and trial.datetime_start and trial.datetime_complete:
        seconds = (trial.datetime_complete - trial.datetime_start).total_seconds()
    return Result(
        trial=trial.number,
        cell=state.cell.id,
        configuration=state.cell.configuration_id,
        group=state.cell.group,
        seed=state.cell.seed,
        status=state.status,
        attempt=int(attributes.get("attempt", 1)),
        hyperparameters=attributes.get("configuration", {}),
        network=attributes.get("network", {}),
        final_score=outcome.get("final_score"),
        best_score=outcome.get("best_score", max(scores, default=None)),
        seconds=seconds,
        curve=curve,
    )


def by_configuration(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Group results by their configuration."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.configuration, []).append(result)
    return groups


def write_results(results: Sequence[Result], file: Path) -> None:
    """Write results.csv: a row per trial, with all hyperparameters, the network and the scores."""
    names = list(dict.fromkeys(name for result in results for name in result.hyperparameters))
    known = [result for result in results if result.network]
    known.sort(key=lambda result: list(ARCHITECTURES).index(result.architecture))
    blocks = list(dict.fromkeys(block for result in known for block in result.network["weights"]))
    header = [
        *("trial", "cell", "configuration", "group", "status", "attempt"),
        *names,
        *("n_h", "realized_hidden_proportion", "total_weights"),
        *(f"density_{block}" for block in blocks),
        *(f"weights_{block}" for block in blocks),
        *("final_score", "best_score", "seconds"),
    ]
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for result in results:
            network = result.network
            writer.writerow(
                [
                    *(result.trial, result.cell, result.configuration, result.group, result.status, result.attempt),
                    *(_text(result.hyperparameters.get(name)) for name in names),
                    *(network.get(name, "") for name in ("n_hidden", "hidden_proportion", "total_weights")),
                    *(network.get("densities", {}).get(block, "") for block in blocks),
                    *(network.get("weights", {}).get(block, "") for block in blocks),
                    *("" if value is None else value for value in (result.final_score, result.best_score)),
                    "" if result.seconds is None else round(result.seconds, 1),
                ]
            )


def _text(value: Any) -> Any:
    if isinstance(value, Mapping | list):
        return json.dumps(value)
    return "" if value is None else value
