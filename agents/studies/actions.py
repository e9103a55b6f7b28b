"""What `sweep.py` does with a study: run it, work on it, report it, show a trial of it."""

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from agents.errors import Interrupted
from agents.resumption.signals import SignalWatch
from agents.studies import STUDIES_DIR
from agents.studies.command import train_command
from agents.studies.definition import StudyDefinition, read_study
from agents.studies.known_results import known_results
from agents.studies.ledger import CellState, cell_states
from agents.studies.planning import check_demonstrations, plan_study
from agents.studies.results import Result, read_results, results_of
from agents.studies.running import run_study
from agents.studies.storage import Address, storage_errors
from agents.studies.worker import StudyAccess, Worker, embedded_address
from envs.lookup import import_modules
from envs.remarks import remarks
from policies.refusal import OneLine, Refusal

REPORT = "report"
"""Folder of a study's report in that of the study, where no other is named."""


def act(arguments: argparse.Namespace) -> None:
    """Do what `sweep.py` was asked for.

    :param arguments: as its parser returns them
    """
    import_modules(arguments.modules)
    if arguments.command == "learn":
        _learn(arguments)
        return
    definition = read_study(arguments.study)
    folder: Path = arguments.studies_dir / definition.name
    address = embedded_address(folder) if arguments.storage is None else Address.parse(arguments.storage)
    do = {"run": _run, "worker": _worker, "report": _report, "show": _show}[arguments.command]
    do(arguments, definition, folder, address)


def _run(arguments: argparse.Namespace, definition: StudyDefinition, folder: Path, address: Address) -> None:
    workers = definition.workers if arguments.workers is None else arguments.workers
    if workers < 1:
        raise Refusal(f"`workers` {workers} does not fit: a whole number of at least 1 is needed")
    with storage_errors(address):
        access = _open(definition, folder, address)
        if arguments.known is not None:
            for note in access.adopt(known_results(arguments.known)):
                print(OneLine(note), file=sys.stderr)
        first = access.plan.cells[0]
        configuration = access.plan.configuration(first, first.parameters)
        found = remarks(
            configuration.env, configuration.env_arguments, configuration.wrappers, configuration.vectorization
        )
        for line in found:
            print(OneLine(line), file=sys.stderr)
        try:
            states = run_study(
                access, workers, modules=arguments.modules, retry_failed=arguments.retry_failed, console=Console()
            )
        except Interrupted as interruption:
            text = f"stopped; {_command('run', arguments, address)} goes on"
            raise Interrupted(interruption.signal_number, text) from None
    _finish(states, f"report: {_command('report', arguments, address)}")


def _command(name: str, arguments: argparse.Namespace, address: Address) -> str:
    """Return what to type to do something else with the same study; a password is to be filled in."""
    words = ["python", "sweep.py", name, str(arguments.study)]
    if arguments.storage is not None:
        words += ["--storage", str(address)]
    if arguments.studies_dir != STUDIES_DIR:
        words += ["--studies-dir", str(arguments.studies_dir)]
    for module in arguments.modules:
        words += ["--import", module]
    return shlex.join(words)


def _worker(arguments: argparse.Namespace, definition: StudyDefinition, folder: Path, address: Address) -> None:
    with storage_errors(address), SignalWatch() as signals:
        try:
            access = _open(definition, folder, address)
            access.enqueue(retry_failed=arguments.retry_failed)
            with signals.deferred():
                states = Worker(access, check=signals.check).run()
        except Interrupted as interruption:
            raise Interrupted(interruption.signal_number, "stopped; the cell at hand goes back to the study") from None
    _finish(states, "every cell is done")


def _report(arguments: argparse.Namespace, definition: StudyDefinition, folder: Path, address: Address) -> None:
    # Plotly and SciPy's statistics take a second, which the others need not wait.
    from agents.studies.report import write_report

    with storage_errors(address):
        access = StudyAccess(plan_study(definition), folder, address, create=False)
    out: Path = arguments.out or folder / REPORT
    try:
        out.mkdir(parents=True, exist_ok=True)
        said = write_report(access.study, access.plan, out)
    except OSError as error:
        raise Refusal(f"`out` {error.filename or out} cannot be written: {error.strerror}") from None
    for sentence in said:
        print(sentence)
    _list_failed(cell_states(access.plan, access.study.get_trials(deepcopy=False)))
    print(f"report: {out / 'report.html'}")


def _show(arguments: argparse.Namespace, definition: StudyDefinition, folder: Path, address: Address) -> None:
    with storage_errors(address):
        access = StudyAccess(plan_study(definition), folder, address, create=False)
        words = train_command(access.study, arguments.trial, arguments.modules)
        states = cell_states(access.plan, access.study.get_trials(deepcopy=False))
    print(shlex.join(words))
    for state in states:
        if state.trouble and state.trial is not None and state.trial.number == arguments.trial:
            print(f"{state.cell.id} failed: {state.trouble}", file=sys.stderr)


def _learn(arguments: argparse.Namespace) -> None:
    # Presets and environments take a second, which the others need not wait.
    from agents.recommendation.parent import FILE
    from agents.studies.learning import learn_studies, table_of

    folder: Path = arguments.parent or arguments.studies_dir / "parent"
    studies = {}
    for path in arguments.studies:
        name, results = _results(path, arguments)
        if name in studies:
            raise Refusal(f"{path}: a study {name!r} is given twice, once is needed")
        studies[name] = results
    before = table_of(folder)
    learned = learn_studies(studies, folder, before, {record.task: record.facts for record in before})
    print(*learned.of_studies, *learned.of_all, sep="\n")
    print(f"parent: {folder / FILE}; `--parent {folder}` lets auto ask it")


def _study_name(folder: Path) -> str:
    """Return the name of the study of a report, which `sweep.py report` writes to the folder `report` of its own."""
    return folder.parent.name if folder.name == REPORT else folder.name


def _results(path: Path, arguments: argparse.Namespace) -> tuple[str, list[Result]]:
    """Return the name and the results of a study: of the folder of a report, or of the database of a study file."""
    if path.is_dir():
        if not (path / "results.csv").is_file():
            raise Refusal(f"{path} holds no results.csv: the folder of a report, or a study file, is needed")
        return _study_name(path.resolve()), read_results(path)
    definition = read_study(path)
    folder = arguments.studies_dir / definition.name
    address = embedded_address(folder) if arguments.storage is None else Address.parse(arguments.storage)
    with storage_errors(address):
        access = StudyAccess(plan_study(definition), folder, address, create=False)
        return definition.name, results_of(cell_states(access.plan, access.study.get_trials(deepcopy=False)))


def _open(definition: StudyDefinition, folder: Path, address: Address) -> StudyAccess:
    plan = plan_study(definition)
    troubles = check_demonstrations(plan)
    access = StudyAccess(plan, folder, address)
    print(f"study {definition.name}: {len(plan.cells)} cells, in {folder}, storage {address}", flush=True)
    if plan.infeasible:
        print(f"{len(plan.infeasible)} configurations are infeasible and skipped:", flush=True)
        for configuration, trouble in plan.infeasible.items():
            print(f"  {configuration}: {trouble}", flush=True)
    for trouble in troubles:
        print(f"cells will fail: {trouble}", flush=True)
    return access


def _finish(states: list[CellState], message: str) -> None:
    failed = _list_failed(states)
    print(message)
    if failed:
        print(f"{len(failed)} of {len(states)} cells failed; --retry-failed runs them again", file=sys.stderr)
        raise SystemExit(1)


def _list_failed(states: list[CellState]) -> list[CellState]:
    failed = [state for state in states if state.status == "failed"]
    for state in failed:
        print(f"{state.cell.id} failed: {state.trouble}")
    return failed
