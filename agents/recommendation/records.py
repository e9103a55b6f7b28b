"""The table of all trainings that the parent learns from: one row each, plain CSV.

Scores are compared within a *setting*: trainings of a task that differ in the network and the seed alone. They are
scaled to it: 0 is the lowest score of any of its trainings, their first evaluations included, which is about what an
untrained network comes to; 1 is the mean score of its best network.
"""

import csv
import functools
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.recommendation.networks import Network, TaskFacts
from policies.network.blocks import BLOCKS
from policies.refusal import Refusal

FEWEST_NETWORKS = 4
"""A comparison of fewer says too little of a task."""
SHARES = (0.25, 0.5, 1.0)
"""Shares of a training after which its networks are compared; the last is its end."""

_COLUMNS = (
    *("study", "task", "setting", "n_inputs", "n_outputs", "chooses", "episode_length", "imitates", "steps", "seed"),
    *("architecture", "budget", "n_hidden", "hidden_proportion", *(f"density_{block}" for block in BLOCKS)),
    *("score", "seconds", "curve"),
)


@dataclass(frozen=True)
class Record:
    """A training and what it came to.

    :ivar study: where it comes from
    :ivar task: the environment, with what makes it another task: arguments, demonstrations
    :ivar setting: digest of everything but network, seed and bookkeeping
    :ivar steps: of the whole training; 0 for imitation alone
    :ivar score: of the final policy
    :ivar curve: (steps, score) of the evaluations on the way
    """

    study: str
    task: str
    setting: str
    facts: TaskFacts
    steps: int
    seed: int
    network: Network
    score: float
    seconds: float | None = None
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Networks of one budget that were trained for the same steps of the same setting.

    :ivar study: that most of the trainings come from
    :ivar steps: after which they are compared
    :ivar is_final: that is the training's end
    :ivar scores: of each network, over its seeds, scaled to the setting
    """

    study: str
    task: str
    setting: str
    facts: TaskFacts
    budget: int
    steps: int
    is_final: bool
    networks: tuple[Network, ...]
    scores: tuple[tuple[float, ...], ...]

    @property
    def kin(self) -> str:
        """What it shares with tasks that are no evidence beside it; see `kin_of`."""
        return kin_of(self.task, self.facts)

    @functools.cached_property
    def means(self) -> np.ndarray:
        """Mean scaled score of each network, (n,)."""
        return np.array([np.mean(own) for own in self.scores])


def kin_of(task: str, facts: TaskFacts) -> str:
    """Return what tasks have in common that are one task with other data or demonstrations: environment and sizes.

    They are counted as one, and left out together: to predict one from the other is no feat.
    """
    return f"{task.partition(' ')[0]} {facts.n_inputs}:{facts.n_outputs}"


def comparisons(records: Iterable[Record], *, fewest: int = FEWEST_NETWORKS) -> list[Comparison]:
    """Return all comparisons of at least so many networks, by task."""
    found: list[Comparison] = []
    for (task, setting), own in sorted(trainings(records).items()):
        floor, best = _scale(own)
        if not best > floor:
            continue
        ((study, _),) = Counter(record.study for record in own).most_common(1)
        for budget in sorted({record.network.budget for record in own}):
            for share in SHARES:
                scores: dict[str, list[float]] = {}
                networks: dict[str, Network] = {}
                for record in own:
                    score = score_after(record, share)
                    if record.network.budget == budget and score is not None:
                        networks[repr(record.network)] = record.network
                        scores.setdefault(repr(record.network), []).append((score - floor) / (best - floor))
                if len(networks) >= fewest:
                    first = own[0]
                    shown = tuple(tuple(scores[name]) for name in networks)
                    steps = round(share * first.steps)
                    found.append(
                        Comparison(
                            *(study, task, setting, first.facts, budget, steps, share == 1.0),
                            tuple(networks.values()),
                            shown,
                        )
                    )
    return found


def trainings(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """Return the records of each task and setting, each training once: those of one network and seed are the same."""
    settings: dict[tuple[str, str], dict[tuple[str, int], Record]] = {}
    for record in records:
        own = settings.setdefault((record.task, record.setting), {})
        own.setdefault((repr(record.network), record.seed), record)
    return {setting: list(own.values()) for setting, own in settings.items()}


def score_after(record: Record, share: float) -> float | None:
    """Return the score after a share of a training; None if no evaluation was made within a tenth of it from there."""
    if share == 1.0:
        return record.score
    wanted = share * record.steps
    near = [(abs(steps - wanted), score) for steps, score in record.curve if abs(steps - wanted) <= record.steps / 10]
    return min(near)[1] if near else None


def _scale(own: Sequence[Record]) -> tuple[float, float]:
    floor = min(min([record.score, *(score for _, score in record.curve)]) for record in own)
    networks: dict[str, list[float]] = {}
    for record in own:
        networks.setdefault(repr(record.network), []).append(record.score)
    return floor, max(float(np.mean(scores)) for scores in networks.values())


def table_text(records: Iterable[Record]) -> str:
    """Write records as CSV; numbers with as many digits as they have, but for scores and densities, which have six."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for record in records:
        facts, network = record.facts, record.network
        writer.writerow(
            [
                *(record.study, record.task, record.setting, facts.n_inputs, facts.n_outputs, int(facts.chooses)),
                *(f"{facts.episode_length:.6g}", int(facts.imitates), record.steps, record.seed),
                *(network.architecture, network.budget, network.n_hidden, f"{network.hidden_proportion:.6g}"),
                *(f"{network.densities[block]:.6g}" if network.densities else "" for block in BLOCKS),
                f"{record.score:.6g}",
                "" if record.seconds is None else f"{record.seconds:.1f}",
                " ".join(f"{steps}:{score:.5g}" for steps, score in record.curve),
            ]
        )
    return stream.getvalue()


def read_table(file: Path) -> list[Record]:
    """Read what `table_text` wrote.

    :raises Refusal: if the file is missing or something else
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"the table {file} cannot be read: {error}") from None
    return table_of_text(text, file)


def table_of_text(text: str, file: Path | str) -> list[Record]:
    """Read what `table_text` returned.

    :param file: that it comes from, for messages
    :raises Refusal: if it is something else
    """
    rows = csv.DictReader(io.StringIO(text))
    if rows.fieldnames is None or tuple(rows.fieldnames) != _COLUMNS:
        raise Refusal(f"{file} is no table of trainings: its columns are not {', '.join(_COLUMNS)}")
    records = []
    for number, row in enumerate(rows, start=2):
        try:
            records.append(_record(row))
        except (TypeError, ValueError, AttributeError) as error:
            raise Refusal(f"{file}, line {number}: {error}") from None
    return records


def _record(row: Mapping[str, str]) -> Record:
    facts = TaskFacts(
        int(row["n_inputs"]),
        int(row["n_outputs"]),
        bool(int(row["chooses"])),
        float(row["episode_length"]),
        bool(int(row["imitates"])),
    )
    densities = {block: float(row[f"density_{block}"]) for block in BLOCKS if row[f"density_{block}"]}
    network = Network(
        row["architecture"], int(row["budget"]), int(row["n_hidden"]), float(row["hidden_proportion"]), densities
    )
    points = [point.split(":") for point in row["curve"].split()]
    score = float(row["score"])
    if not math.isfinite(score):
        raise ValueError(f"the score is {score}")
    return Record(
        *(row["study"], row["task"], row["setting"], facts, int(row["steps"]), int(row["seed"]), network, score),
        seconds=float(row["seconds"]) if row["seconds"] else None,
        curve=tuple((int(steps), float(value)) for steps, value in points),
    )


def digest(text: str) -> str:
    """Return eight hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
