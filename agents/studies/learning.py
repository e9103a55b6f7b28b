"""From the results of studies to the table that the parent learns from."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from agents.configuration import TrainingConfiguration, configure, fields_of_file
from agents.errors import TrainingStopped
from agents.literals import read_arguments
from agents.recommendation.networks import Network, TaskFacts
from agents.recommendation.parent import FEWEST_TASKS, HOME, TABLE, Parent, learn
from agents.recommendation.recommend import facts_of
from agents.recommendation.records import (
    FEWEST_NETWORKS,
    Record,
    comparisons,
    digest,
    kin_of,
    read_table,
    table_of_text,
    table_text,
    trainings,
)
from agents.runs.files import write_whole
from agents.studies.results import Result
from policies.network.blocks import BLOCKS
from policies.refusal import Refusal

RETURN, SUCCESS = "mean_return", "success_rate"
"""Figures that may be a study's score."""
NETWORK_FIELDS = (
    *("architecture", "hidden_proportion", "budget", "hidden_size", "densities", "uniform_density"),
    *("parent", "recommended_by"),
)
"""What decides the network, or says who decided it."""
BOOKKEEPING = (
    *("seed", "device", "log_dir", "run_name", "progress", "eval_every", "eval_episodes", "final_episodes"),
    *("checkpoint_every", "keep", "vectorization"),
)
"""What changes nothing of what is learned."""


def records_of(study: str, results: Iterable[Result], known: Mapping[str, TaskFacts]) -> tuple[list[Record], list[str]]:
    """Return the complete trainings of a study as rows of the table.

    :param study: its name
    :param known: facts of tasks whose environments may not be here, from a table
    :return: the rows, and a line for every task that had to be left out
    :raises Refusal: if the results lack a setting that is needed
    """
    results = list(results)
    score = score_of(results)
    facts: dict[str, TaskFacts | None] = {}
    records: list[Record] = []
    left_out: list[str] = []
    complete = [result for result in results if result.status == "complete"]
    still = [result for result in complete if result.hyperparameters.get("rebalance") in (None, "none")]
    if len(still) < len(complete):
        moving = len(complete) - len(still)
        left_out.append(f"{study}: {moving:,} trainings whose weights move are left out, as no choice of a network")
    for result in still:
        task = task_name(result.hyperparameters)
        if task not in facts:
            try:
                facts[task] = facts_of(_task(result.hyperparameters))
            except (Refusal, TrainingStopped) as error:
                facts[task] = known.get(task)
                if facts[task] is None:
                    left_out.append(f"{study}: {task} is left out, as nothing is known of it: {error}")
        own = facts[task]
        if own is not None:
            try:
                records.append(_record(study, task, own, result, score))
            except KeyError as error:
                raise Refusal(f"{study}: its results.csv has no column {error}") from None
    return records, left_out


def _task(hyperparameters: Mapping[str, Any]) -> TrainingConfiguration:
    """Return a configuration of the same task; the other settings of old studies may not fit any more."""
    names = ("env", "env_arguments", "wrappers", "reward", "demos", "demos_only")
    given = {name: hyperparameters[name] for name in names if hyperparameters.get(name) is not None}
    return configure(**fields_of_file(given))


def task_name(hyperparameters: Mapping[str, Any]) -> str:
    """Return what the table calls a task: its environment and what makes it another task; of files the name alone."""
    arguments = dict(read_arguments(hyperparameters["env_arguments"] or {}))
    shown = [f"{name}={_short(value)}" for name, value in sorted(arguments.items())]
    wrappers = tuple(hyperparameters.get("wrappers") or ())
    if wrappers != configure(str(hyperparameters["env"])).wrappers:
        shown += wrappers or ["unwrapped"]
    if hyperparameters.get("demos"):
        shown.append("imitation" if hyperparameters.get("demos_only") else "imitation first")
    return " ".join([str(hyperparameters["env"]), *shown])


def _short(value: Any) -> str:
    return PurePath(value).name if isinstance(value, str) else repr(value)


def setting_of(hyperparameters: Mapping[str, Any], score: str = RETURN) -> str:
    """Return a digest of everything that decides what is learned, but network and seed, and of what the score is.

    :param score: the figure of an evaluation, see `score_of`
    """
    apart = {*NETWORK_FIELDS, *BOOKKEEPING}
    kept = {name: value for name, value in hyperparameters.items() if name not in apart and value not in (None, {}, [])}
    if score != RETURN:
        kept["score"] = score
    return digest(json.dumps(kept, sort_keys=True, default=str))


def score_of(results: Iterable[Result]) -> str:
    """Return which figure of the final evaluations is the score of a study, whose results alone are here.

    :return: the success rate where it equals the scores and the mean return does not
    """
    figures = [(result.score, result.final) for result in results if result.status == "complete" and result.final]

    def is_score(name: str) -> bool:
        values = [(final.get(name), score) for score, final in figures]
        return all(value is not None and math.isclose(value, score, abs_tol=1e-9) for value, score in values)

    return SUCCESS if is_score(SUCCESS) and not is_score(RETURN) else RETURN


def _record(study: str, task: str, facts: TaskFacts, result: Result, score: str) -> Record:
    given, network = result.hyperparameters, result.network
    densities = {name: float(network["densities"][name]) for name in BLOCKS} if result.has_six_blocks else {}
    return Record(
        study,
        task,
        setting_of(given, score),
        facts,
        0 if given["demos_only"] else int(given["total_timesteps"]),
        result.seed,
        Network(
            result.architecture, result.budget, int(network["n_hidden"]), float(network["hidden_proportion"]), densities
        ),
        result.score,
        result.seconds,
        () if given["demos_only"] else tuple(result.curve),
    )


class Learned(NamedTuple):
    """What was found in studies, in lines."""

    of_studies: list[str]
    of_all: list[str]
    """of the table and the parent"""


def learn_studies(
    studies: Mapping[str, Sequence[Result]], folder: Path, before: Sequence[Record], known: Mapping[str, TaskFacts]
) -> Learned:
    """Add studies to a table and write the parent of the whole: its table and its file.

    :param studies: results by name; in place of those of that name in the table
    :param folder: of the parent
    :param before: the table
    :param known: facts of tasks whose environments may not be here
    :raises Refusal: if the folder cannot be written, or nothing can be learned
    """
    records = [record for record in before if record.study not in studies]
    of_studies, of_all = [], []
    for name, results in studies.items():
        found, left_out = records_of(name, results, known)
        records += found
        replaced = sum(record.study == name for record in before)
        instead = f", in place of {replaced:,} of that name in the table" if replaced else ""
        few = f"; with fewer than {FEWEST_NETWORKS} networks of one budget they teach nothing"
        nothing = "" if comparisons(found) else few
        of_studies += [*left_out, f"{name}: {len(found):,} trainings{instead}{nothing}"]
    if repeated := len(records) - sum(map(len, trainings(records).values())):
        of_all.append(f"{repeated:,} trainings are in more than one study: each counts once")
    write_parent(records, folder)
    parent = Parent.load(folder)
    kin = {kin_of(record.task, record.facts) for record in records}
    of_all.append(
        f"{len(records):,} trainings of {len(kin)} tasks, {parent.n_tasks} of which compare networks; "
        f"rule: {parent.rule}"
    )
    if parent.n_tasks < FEWEST_TASKS:
        of_all.append(f"Too few to choose by: the rule decides until there are {FEWEST_TASKS} tasks")
    elif parent.lead <= 0:
        of_all.append(f"{parent.no_lead[0].upper()}{parent.no_lead[1:]}: the rule decides")
    return Learned(of_studies, of_all)


def table_of(folder: Path) -> list[Record]:
    """Return the table in the folder of a parent, or that of the project's own parent where there is none yet."""
    return read_table(next(file for file in (folder / TABLE, HOME / TABLE) if file.is_file()))


def write_parent(records: Sequence[Record], folder: Path) -> None:
    """Write a table and the parent that is learned from it.

    :raises Refusal: if the folder cannot be written, or nothing can be learned
    """
    text = table_text(sorted(records, key=lambda record: record.study))
    parent = learn(table_of_text(text, TABLE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / TABLE, text.encode())
        parent.save(folder)
    except OSError as error:
        raise Refusal(f"`parent` {error.filename or folder} cannot be written: {error.strerror}") from None
