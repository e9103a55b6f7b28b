"""A worker: takes one waiting cell after the other, trains it, and leaves when every cell of the study is done.

Workers know each other through the database alone. Each takes the study's lock to look after the dead, to enqueue what
is missing, and to ask for a trial; it trains without the lock, and takes it again to tell the trial's end. So a trial
has one worker, a cell has one trial that counts, and a worker that was taken for dead but lives cannot finish a trial
that was given to another.
"""

import gc
import math
import os
import secrets
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from agents.configuration import TrainingConfiguration
from agents.errors import DISK_ERRORS, Interrupted
from agents.evaluation import Evaluation
from agents.monitoring.callbacks import CurvePoint, EvaluationCallback
from agents.runs.files import check_path
from agents.studies.known_results import adopt
from agents.studies.ledger import LEFT, CellState, configuration_of, enqueue_missing, fail_dead, open_study, recorded
from agents.studies.planning import Cell, NetworkPlanner, Plan, draw_generator
from agents.studies.results import Result
from agents.studies.samplers import SAMPLERS, Start
from agents.studies.storage import STORAGE_ERRORS, Address, StudyLock, patiently
from agents.training import TrainingResult, train
from envs.contract import describe
from policies.network.architectures import ActorCriticSpecification
from policies.refusal import OneLine, Refusal

LONGEST_TROUBLE = 500
"""Characters that are kept of why a cell failed."""


class CannotWork(Refusal):
    """This machine can run no cell of the study, whichever it is; the line says why."""


class StudyAccess:
    """A study opened: its plan, its database and its lock.

    :param plan: of the study, checked: what is created from it cannot be changed
    :param folder: of the study
    :param address: of the database; None for an SQLite file in the folder
    :param create: make what is not there yet
    :raises ValueError: if the study's definition differs from the one that is there, or none is there to read
    :raises StorageInternalError, SQLAlchemyError: if the database cannot be used
    """

    def __init__(self, plan: Plan, folder: Path, address: Address | None = None, *, create: bool = True) -> None:
        definition = plan.definition
        self.plan = plan
        self.definition = definition
        self.folder = folder
        self.address = address or embedded_address(folder)
        self.planner = NetworkPlanner()
        file = self.address.file
        for path in (folder, *([] if file is None else [file])):
            check_path(path)
        if create:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Refusal(f"`studies_dir` {folder.parent} cannot be written: {error.strerror}") from None
        elif file is not None and not file.is_file():
            raise Refusal(f"the study {definition.name!r} has no database {file}: run it first")
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # what failed, workers say themselves
        self.lock = StudyLock(self.address, definition.name)
        with self.lock:
            self.storage = self.address.storage(definition.heartbeat)
            self.study = open_study(self.storage, definition, create=create)

    def enqueue(self, *, gone: tuple[str, ...] = (), retry_failed: bool = False) -> list[CellState]:
        """Let dead workers' trials fail, enqueue what is missing, and return how every cell stands."""
        with self.lock:
            fail_dead(self.study, gone)
            return enqueue_missing(self.study, self.plan, retry_failed=retry_failed)

    def adopt(self, results: Sequence[Result]) -> list[str]:
        """Count known results as trained, as `agents.studies.known_results.adopt` does, and return its notes."""
        with self.lock:
            return adopt(self.study, self.plan, results)

    def left_by(self, token: str, how: str) -> list[str]:
        """Return the cells that a worker which has ended did not hand back, and keep how it ended.

        :param token: end of its name
        """
        with self.lock:
            trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            left = [trial for trial in trials if str(trial.user_attrs.get("worker")).endswith(token)]
            for trial in left:
                self.storage.set_trial_user_attr(trial._trial_id, "death", how)
        return [str(trial.user_attrs["cell"]) for trial in left]


def embedded_address(folder: Path) -> Address:
    """Return the address of the database in a study's folder."""
    return Address.of_file(folder / "study.db")


class Worker:
    """Runs cells of a study.

    :param name: how the worker signs its trials; unique
    :param check: called often; raises `Interrupted` where the worker is to end, as a SignalWatch's does. A plain
        KeyboardInterrupt is taken for an environment's own
    """

    def __init__(self, access: StudyAccess, name: str | None = None, check: Callable[[], None] = lambda: None) -> None:
        self.access = access
        self.check = check
        self.name = name or worker_name()
        self._cells = {cell.id: cell for cell in access.plan.cells}

    def run(self) -> list[CellState]:
        """Work until every cell is complete, pruned or failed.

        A cell fails alone, whatever its training raises.

        :return: how every cell stands
        :raises Interrupted: if interrupted; the cell at hand goes back
        :raises CannotWork: if this machine cannot train, as its disk is full; the cell at hand goes back
        """
        study, lock = self.access.study, self.access.lock
        while True:
            self.check()
            with lock:
                fail_dead(study)
                states = enqueue_missing(study, self.access.plan)
                trial = self._claim() if any(state.status == "waiting" for state in states) else None
            if trial is not None:
                self._run_one(trial)
            elif not any(state.status in LEFT for state in states):
                return states
            else:
                # Others are at work; should one of them die, its cell has to be taken over.
                for _ in range(min(self.access.definition.heartbeat, 10)):
                    self.check()
                    time.sleep(0.5)

    def _claim(self) -> optuna.Trial:
        """Take a waiting trial, sign it and give its first sign of life; hold the lock, and let one wait."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Heartbeat of storage")  # `_run_one` starts what Optuna misses
            trial = self.access.study.ask()
        trial.set_user_attr("worker", self.name)
        self.access.storage.record_heartbeat(trial._trial_id)
        return trial

    def _run_one(self, trial: optuna.Trial) -> None:
        """Train a claimed trial's cell and tell how the trial ended; it shows signs of life until then."""
        with self.access.storage.heartbeats(trial._trial_id):
            score, trouble = None, {}
            try:
                with chdir(os.curdir):  # an environment may go elsewhere, the next one starts here
                    score = self._train(trial, self._cells[trial.user_attrs["cell"]])
                state = TrialState.COMPLETE
            except UpdateFinishedTrialError:
                _say_given_away(trial)
                return
            except optuna.TrialPruned:
                state = TrialState.PRUNED
            except STORAGE_ERRORS:
                self._tell(trial, TrialState.FAIL)
                raise
            except Interrupted:
                self._tell(trial, TrialState.FAIL, interrupted=True)
                raise
            except BaseException as error:  # an environment may raise SystemExit, too
                if _is_of_the_machine(error):
                    # Another machine may train the cell; here the next one would fail the same way.
                    self._tell(trial, TrialState.FAIL, interrupted=True)
                    raise CannotWork(_line(error)) from error
                _say(error)
                state, trouble = TrialState.FAIL, {"error": _line(error)[:LONGEST_TROUBLE]}
            # A learner is a circle of objects; the next one needs its memory, and the database perhaps its files.
            gc.collect()
            self._tell(trial, state, score, **trouble)

    def _tell(self, trial: optuna.Trial, state: TrialState, score: float | None = None, **marks: object) -> None:
        """Write how a trial ended, with marks in its record, unless it has been taken from this worker."""

        def tell() -> None:
            with self.access.lock:
                for name, mark in marks.items():
                    trial.set_user_attr(name, mark)
                told = self.access.study.tell(trial, score, state, skip_if_finished=True)
            if told.state != state:
                raise UpdateFinishedTrialError

        try:
            patiently(tell)
        except UpdateFinishedTrialError:
            _say_given_away(trial)

    def _train(self, trial: optuna.Trial, cell: Cell) -> float:
        planned = trial.user_attrs.get("configuration")
        configuration = self._proposed(trial, cell) if planned is None else configuration_of(planned)
        networks = self.access.planner.networks(configuration)
        patiently(trial.set_user_attr, "network", described_networks(networks))
        reporting = ReportingCallback(trial, self.access.definition.score, self.check)
        own_folder = _in_folder(configuration, self.access.folder, cell.id, trial.user_attrs["attempt"])
        result = train(own_folder, callbacks=[reporting])
        reporting.report(result.curve)  # a training that has reached its end is not pruned any more
        outcome = _outcome(result, self.access.definition.score)
        patiently(trial.set_user_attr, "outcome", outcome)
        return outcome["final_score"]

    def _proposed(self, trial: optuna.Trial, cell: Cell) -> TrainingConfiguration:
        """Let the sampler propose the parameters, from the trials so far and the cell's own seed."""
        plan, group = self.access.plan, self.access.plan.group(cell)
        number = int(cell.configuration_id.rpartition("-")[2])
        seed = int(draw_generator(plan.definition, group.name, number).integers(2**31))
        start = Start(self.access.study, trial, seed, number, lambda point: plan.configuration(cell, point))
        parameters = SAMPLERS[group.sampler].propose(group.drawn, start)
        try:
            configuration = plan.configuration(cell, parameters)
            self.access.planner.networks(configuration)
        except Refusal as error:
            patiently(trial.set_user_attr, "infeasible", str(error))
            raise optuna.TrialPruned(str(error)) from None
        patiently(trial.set_user_attr, "configuration", recorded(configuration))
        return configuration


class ReportingCallback(BaseCallback):
    """Reports every evaluation of a training right after it was made, and ends the training where its trial is pruned.

    :param score: of an evaluation, to report
    :param check: called at every step
    """

    def __init__(self, trial: optuna.Trial, score: str, check: Callable[[], None]) -> None:
        super().__init__()
        self._trial = trial
        self._score = score
        self._check = check
        self._reported: set[int] = set()
        self._evaluations: EvaluationCallback | None = None

    def report(self, curve: Iterable[CurvePoint]) -> bool:
        """Report the evaluations that are not reported yet, and return whether to prune."""
        verdicts = []
        for point in curve:
            if point.steps not in self._reported:
                self._reported.add(point.steps)
                patiently(self._trial.report, score_of(point.evaluation, self._score), point.steps)
                verdicts.append(patiently(self._trial.should_prune))
        return any(verdicts)

    def _on_training_start(self) -> None:
        callbacks: CallbackList = self.locals["callback"]
        self._evaluations = next(entry for entry in callbacks.callbacks if isinstance(entry, EvaluationCallback))

    def _on_step(self) -> bool:
        self._check()
        return True

    def _on_rollout_start(self) -> None:
        assert self._evaluations is not None
        if self.report(self._evaluations.curve):
            raise optuna.TrialPruned(f"after {self.num_timesteps:,} steps")


def _say_given_away(trial: optuna.Trial) -> None:
    why = "was given to another worker, as this one gave no sign of life for too long"
    print(f"{trial.user_attrs['cell']} {why}", file=sys.stderr, flush=True)


def _is_of_the_machine(error: BaseException) -> bool:
    """Tell whether this machine's disk, not the training, has failed; what has a cause is an environment's own."""
    raised = error.__context__ if isinstance(error, OneLine) and error.__cause__ is None else error
    return isinstance(error, CannotWork) or (isinstance(raised, OSError) and raised.errno in DISK_ERRORS)


def _line(error: BaseException) -> str:
    text = str(error) if isinstance(error, OneLine) else describe(error)
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _say(error: BaseException) -> None:
    """Write why a cell failed: in a line, after the traceback of what is not meant to be one."""
    with suppress(OSError, ValueError):  # an environment may have closed the stream
        raised = error.__cause__ if isinstance(error, OneLine) else error
        if raised is not None:
            traceback.print_exception(raised)
        print(_line(error), file=sys.stderr, flush=True)


def worker_name(token: str | None = None) -> str:
    """Return a name for this process as a worker, which no other has: host, process id and a token."""
    return f"{socket.gethostname()}-{os.getpid()}-{token or secrets.token_hex(4)}"


def score_of(evaluation: Evaluation, score: str) -> float:
    """Return the score of an evaluation.

    :raises Refusal: if the environment knows no success
    """
    value = evaluation.mean_return if score == "mean_return" else evaluation.success_rate
    if value is None:
        raise Refusal("`score` success_rate does not fit: the environment reports no success, mean_return is needed")
    return value


def _in_folder(configuration: TrainingConfiguration, folder: Path, cell: str, attempt: int) -> TrainingConfiguration:
    """Return the configuration with a run folder of its own in the study's folder, wherever the training goes.

    :raises CannotWork: if runs cannot be written there
    """
    folder = folder.absolute()
    parent = folder / configuration.env.replace("/", "-")
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise CannotWork(f"`studies_dir`: {parent} is no folder") from None
    except OSError as error:
        raise CannotWork(f"`studies_dir`: {parent} cannot be made: {error.strerror}") from None
    if not os.access(parent, os.W_OK):
        raise CannotWork(f"`studies_dir`: {parent} cannot be written")
    while (parent / (run_name := cell if attempt == 1 else f"{cell}-attempt{attempt}")).exists():
        attempt += 1
    return configuration_of(recorded(configuration), log_dir=str(folder), run_name=run_name, progress=False)


def described_networks(networks: ActorCriticSpecification) -> dict[str, Any]:
    """Return what a trial's record says of its actor."""
    actor = networks.actor
    return {
        "n_hidden": actor.n_hidden,
        "hidden_proportion": actor.hidden_proportion,
        "total_weights": actor.total_weights,
        "densities": dict(actor.densities),
        "weights": dict(actor.weights),
    }


def _outcome(result: TrainingResult, score: str) -> dict[str, Any]:
    """Return what a training came to, as plain values.

    :raises ValueError: if the final score is not finite
    """
    final = score_of(result.final, score)
    if not math.isfinite(final):
        raise ValueError(f"the final {score} is {final}")
    scores = [score_of(point.evaluation, score) for point in result.curve]
    return {
        "final_score": final,
        "best_score": max((value for value in scores if math.isfinite(value)), default=final),
        "final": result.final.summary(),
        "best": result.best.summary(),
        "curve": [point.summary() for point in result.curve],
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "run": result.path.name,
    }
