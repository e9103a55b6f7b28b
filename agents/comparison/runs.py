"""Finished runs to compare, from run folders and from the reports of studies."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.configuration import TrainingConfiguration, marks_of
from agents.runs.folder import RunFolder
from agents.studies.results import Result, read_results
from envs.vectorized.state_tree import StateTree
from policies.network.specification import DEFAULT_HIDDEN_PROPORTION
from policies.refusal import Refusal

LEARNED_FROM = ("total_timesteps", "callbacks")
"""Fields that may change when a run is resumed, and change what is learned."""
UNCOMPARED = ("env", "env_arguments", "seed", "log_dir", "run_name", "parent", "recommended_by")
"""Fields in which runs of one configuration may differ, beside those that change nothing of what is learned."""


@dataclass(frozen=True)
class Run:
    """A training that came to its end.

    :ivar source: where it was read
    :ivar env: id of the environment, with those arguments in which it differs between runs
    :ivar env_arguments: all its arguments
    :ivar settings: fields that decide what is learned, as plain values
    :ivar final: figures of the final policy over fresh episodes, as `Evaluation.summary` has them
    :ivar evaluations: the same of the evaluations during the training, each with its `steps`, which rise
    :ivar seconds: of the whole training, if known
    :ivar clock: (k, 2) environment steps and seconds since the start, both rising; None if not recorded
    """

    source: str
    env: str
    env_arguments: Mapping[str, Any]
    seed: int
    settings: Mapping[str, Any]
    n_hidden: int
    final: Mapping[str, Any]
    evaluations: tuple[Mapping[str, Any], ...]
    seconds: float | None
    clock: np.ndarray | None = None


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Read run folders, reports of studies (the folder with results.csv), and folders that hold some of them.

    :return: the runs, each once; and what was left out, a line each
    :raises Refusal: if a path holds neither, a file is damaged, or no run came to its end
    """
    runs: dict[str, Run] = {}
    left_out: list[str] = []
    folders: dict[Path, Path] = {}
    for given in paths:
        for folder in _folders(given):
            folders.setdefault(folder.resolve(), folder)
    for path in folders.values():
        if _is_report(path / "results.csv"):
            found = list(_read_report(path, left_out))
        else:
            run = _read_run(path)
            found = [] if run is None else [run]
            if run is None:
                left_out.append(f"{path} is left out: its training has not come to its end")
        runs |= {run.source: run for run in found}
    if not runs:
        raise Refusal(f"there is nothing to compare: {left_out[0] if left_out else 'no run was found'}")
    return _by_task(list(runs.values())), left_out


def _by_task(runs: Sequence[Run]) -> list[Run]:
    """Add to the environments' ids the arguments that tell them apart, since scores depend on these as on the id."""
    named = []
    for run in runs:
        others = [other.env_arguments for other in runs if other.env == run.env]
        own = [
            f"{name}={value}"
            for name, value in run.env_arguments.items()
            if any(name not in other or other[name] != value for other in others)
        ]
        named.append(replace(run, env=" ".join([run.env, *own])))
    return named


def _folders(path: Path) -> list[Path]:
    """Return the run folders and the reports at or below a path."""
    if _is_report(path / "results.csv") or (path / "config.yaml").is_file():
        return [path]
    reports = sorted(file.parent for file in path.rglob("results.csv") if _is_report(file))
    runs = sorted(file.parent for file in path.rglob("config.yaml"))
    cells = {report: _cells(report) for report in reports}
    folders = reports + [run for run in runs if not any(_is_in(run, report, cells[report]) for report in reports)]
    if not folders:
        raise Refusal(f"{path} is no run folder and holds none, nor the results.csv of a study")
    return folders


def _is_in(run: Path, report: Path, cells: frozenset[str]) -> bool:
    """Tell whether a report has a run already: it lies below, or beside the runs of its study's cells."""
    is_cell = run.is_relative_to(report.parent) and re.sub(r"-attempt\d+$", "", run.name) in cells
    return is_cell or run.is_relative_to(report)


def _cells(report: Path) -> frozenset[str]:
    # The first two columns are never quoted, and what is damaged further on is for `read_results` to refuse.
    with (report / "results.csv").open(encoding="utf-8", errors="replace") as stream:
        return frozenset(line.split(",", 2)[1] for line in stream if "," in line)


def _is_report(file: Path) -> bool:
    """Tell whether a file is the table that `sweep.py report` writes."""
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().startswith("trial,cell,configuration,group,")


def _read_run(path: Path) -> Run | None:
    folder = RunFolder.open(path)
    result, configuration = folder.read_result(), folder.read_configuration()
    if result is None:
        return None
    curve = result.row("curve")
    return Run(
        source=str(path),
        env=configuration.env,
        env_arguments=_plain(configuration.env_arguments),
        seed=configuration.seed,
        settings=_settings(dict(configuration)),
        n_hidden=folder.read_network().actor.n_hidden,
        final=dict(result.table("final")),
        evaluations=_rising([_figures(curve.table(index)) for index in curve]),
        seconds=result.number("seconds"),
        clock=_read_clock(path / "progress.csv"),
    )


def _figures(tree: StateTree) -> dict[str, Any]:
    return {"steps": tree.whole("steps"), **tree}


def _read_report(path: Path, left_out: list[str]) -> Iterator[Run]:
    if not (path / "evaluations.csv").is_file():
        raise Refusal(f"{path} holds no evaluations.csv beside its results.csv: a report of this version is needed")
    for result in read_results(path):
        if result.status == "complete":
            try:
                yield _of_result(result, f"{path}: {result.cell}")
            except KeyError as error:
                raise Refusal(f"{path}: its results.csv has no column {error}") from None
        else:
            left_out.append(f"{path}: {result.cell} is left out: its training is {result.status}")


def _of_result(result: Result, source: str) -> Run:
    return Run(
        source=source,
        env=str(result.hyperparameters["env"]),
        env_arguments=_plain(result.hyperparameters["env_arguments"]),
        seed=result.seed,
        settings=_settings(result.hyperparameters),
        n_hidden=result.network["n_hidden"],
        final=result.final,
        evaluations=_rising(result.evaluations),
        seconds=result.seconds,
    )


def _rising(evaluations: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(sorted(evaluations, key=lambda figures: figures["steps"]))


def _settings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that decide what is learned; those that older records lack have their defaults."""
    settings = {**_defaults()} | {name: _plain(value) for name, value in fields.items() if name in _defaults()}
    sizes_are_free = settings["hidden_size"] is None and not settings["densities"]
    if settings["architecture"] == "varied" and settings["hidden_proportion"] is None and sizes_are_free:
        settings["hidden_proportion"] = DEFAULT_HIDDEN_PROPORTION
    return settings


@cache
def _defaults() -> Mapping[str, Any]:
    return {
        name: _plain(field.default)
        for name, field in TrainingConfiguration.model_fields.items()
        if name not in UNCOMPARED and (name in LEARNED_FROM or not marks_of(name).get("changeable"))
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, so that those of files of both kinds are equal."""
    return json.loads(
        json.dumps(value, default=lambda other: dict(other) if isinstance(other, Mapping) else str(other))
    )


def _read_clock(file: Path) -> np.ndarray | None:
    """Read from progress.csv how long the training had taken after each rollout."""
    if not file.is_file():
        return None
    columns = ("time/total_timesteps", "time/time_elapsed")
    with file.open(newline="", encoding="utf-8", errors="replace") as stream:
        rows = [[row.get(name) for name in columns] for row in csv.DictReader(stream)]
    try:
        clock = np.array([row for row in rows if all(row)], dtype=np.float64).reshape(-1, 2)
    except ValueError:
        raise Refusal(f"{file} is damaged: {columns[0]} and {columns[1]} have to be numbers") from None
    return clock if len(clock) else None
