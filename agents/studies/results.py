"""The results of a study as the report sees them: one per cell, all from the database, and their tables.

results.csv has a row per cell; evaluations.csv has one per evaluation, those during a training over the validation
split and the final one over the test split. Both are read back as they were.
"""

import csv
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from optuna.trial import TrialState

from agents.studies.ledger import CellState
from policies.network.architectures import ARCHITECTURES
from policies.network.specification import BLOCKS
from policies.refusal import Refusal

Key = TypeVar("Key", bound=Hashable)
_NETWORK = {"n_h": "n_hidden", "realized_hidden_proportion": "hidden_proportion", "total_weights": "total_weights"}
"""Column of results.csv -> its name in a trial's record."""
_WORDS = {"": None, "True": True, "False": False}


@dataclass(frozen=True)
class Result:
    """A cell's trial: what was trained and what it came to.

    :ivar status: as in `CellState`
    :ivar hyperparameters: the whole configuration
    :ivar network: of the actor: n_hidden, hidden_proportion, total_weights, densities, weights; empty if not yet known
    :ivar final_score: of the final policy over fresh episodes; None unless complete
    :ivar best_score: of the best evaluation during the training
    :ivar curve: (steps, score) of every evaluation
    :ivar final: all figures of the final policy, as `Evaluation.summary` has them; empty unless complete
    :ivar evaluations: all figures of every evaluation, with its `steps`; empty unless complete
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
    final: Mapping[str, Any] = field(default_factory=dict)
    evaluations: tuple[Mapping[str, Any], ...] = ()

    @property
    def architecture(self) -> str:
        """Kind of network."""
        return str(self.hyperparameters["architecture"])

    @property
    def rank(self) -> int:
        """Place of the architecture among all."""
        return list(ARCHITECTURES).index(self.architecture)

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
        final=outcome.get("final", {}),
        evaluations=tuple(outcome.get("curve", ())),
    )


def grouped(results: Iterable[Result], key: Callable[[Result], Key]) -> dict[Key, list[Result]]:
    """Group results by a key, in the order in which keys first come up."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def by_configuration(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Group results by their configuration."""
    return grouped(results, lambda result: result.configuration)


def by_budget(results: Iterable[Result]) -> list[tuple[int, list[Result]]]:
    """Group results by their budget, the budgets rising."""
    return sorted(grouped(results, lambda result: result.budget).items())


def write_results(results: Sequence[Result], folder: Path) -> None:
    """Write results.csv, with all hyperparameters, the network and the scores, and evaluations.csv."""
    names = list(dict.fromkeys(name for result in results for name in result.hyperparameters))
    known = sorted((result for result in results if result.network), key=lambda result: result.rank)
    blocks = list(dict.fromkeys(block for result in known for block in result.network["weights"]))
    header = [
        *("trial", "cell", "configuration", "group", "status", "attempt"),
        *names,
        *_NETWORK,
        *(f"density_{block}" for block in blocks),
        *(f"weights_{block}" for block in blocks),
        *("final_score", "best_score", "seconds"),
    ]
    _write(folder / "results.csv", header, [_row(result) for result in results])
    evaluations = [row for result in results for row in _evaluations(result)]
    columns = list(dict.fromkeys(name for row in evaluations for name in row)) or ["cell"]
    _write(folder / "evaluations.csv", columns, evaluations)


def _row(result: Result) -> dict[str, Any]:
    network = result.network
    return {
        **vars(result),
        **result.hyperparameters,
        **{column: network.get(name) for column, name in _NETWORK.items()},
        **{f"density_{block}": density for block, density in network.get("densities", {}).items()},
        **{f"weights_{block}": weights for block, weights in network.get("weights", {}).items()},
        "seconds": None if result.seconds is None else round(result.seconds, 1),
    }


def _evaluations(result: Result) -> Iterator[dict[str, Any]]:
    by_steps = {figures["steps"]: figures for figures in result.evaluations}
    for steps, score in result.curve:
        row = {"cell": result.cell, "split": "validation", "steps": steps, "score": score}
        yield {**row, **by_steps.get(steps, {})}
    if result.final:
        yield {"cell": result.cell, "split": "test", "steps": None, "score": result.final_score, **result.final}


def read_results(folder: Path) -> list[Result]:
    """Read what `write_results` wrote; older reports have no evaluations.csv, and so no curves.

    :raises Refusal: if a file is missing, damaged or something else
    """
    try:
        return _read_results(folder)
    except OSError as error:
        raise Refusal(f"{folder} is no folder of a report: {error.strerror}: {error.filename}") from None
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        raise Refusal(f"{folder}: its tables are none that sweep.py report wrote: {reason}") from None


def _read_results(folder: Path) -> list[Result]:
    evaluations: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _read(folder / "evaluations.csv") if (folder / "evaluations.csv").is_file() else ():
        known = {name: value for name, value in row.items() if value is not None}
        evaluations.setdefault((known.pop("cell"), known.pop("split")), []).append(known)
    results = []
    for row in _read(folder / "results.csv"):
        during = evaluations.get((row["cell"], "validation"), [])
        (final,) = evaluations.get((row["cell"], "test"), [{}])
        results.append(_of_row(row, during, final))
    return results


def _of_row(row: Mapping[str, Any], during: Sequence[dict[str, Any]], final: Mapping[str, Any]) -> Result:
    names = list(row)
    densities, weights = (
        {name.removeprefix(kind): value for name, value in row.items() if name.startswith(kind) and value is not None}
        for kind in ("density_", "weights_")
    )
    return Result(
        **{name: row[name] for name in ("trial", "cell", "configuration", "group", "seed", "status", "attempt")},
        hyperparameters={name: row[name] for name in names[names.index("attempt") + 1 : names.index("n_h")]},
        network={
            **{name: row[column] for column, name in _NETWORK.items()},
            "densities": densities,
            "weights": weights,
        },
        **{name: row[name] for name in ("final_score", "best_score", "seconds")},
        curve=tuple((point["steps"], point.pop("score")) for point in during),
        final={name: value for name, value in final.items() if name != "score"},
        evaluations=tuple(during),
    )


def _write(file: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            cells = [row.get(name) for name in columns]
            writer.writerow([json.dumps(cell) if isinstance(cell, Mapping | list) else cell for cell in cells])


def _read(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(stream)]


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
