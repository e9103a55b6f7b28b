"""A study run by several worker processes on this machine, watched until every cell is done."""

import gc
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from rich.console import Console

from agents.resumption.signals import SIGNALS, SignalWatch
from agents.studies.ledger import LEFT, CellState, cell_states
from agents.studies.live_table import live_table
from agents.studies.planning import Plan
from agents.studies.storage import STORAGE_ERRORS, Address, patiently, reason
from agents.studies.worker import StudyAccess, Worker, worker_name
from envs.lookup import import_modules
from policies.refusal import Refusal
from policies.streams import lasting_streams

REFRESH = 1.0
"""Seconds between two looks at the workers and the table."""
PATIENCE = 60.0
"""Seconds that workers get to hand their cells back when they are to end."""
MASKS = hasattr(signal, "pthread_sigmask")
"""Whether signals can be held back, which Windows cannot."""


@dataclass(frozen=True)
class _Member:
    """A worker process.

    :ivar token: ends its name
    :ivar share: its cores
    """

    process: BaseProcess
    token: str
    share: tuple[int, ...]
    log: Path


def run_study(
    access: StudyAccess, workers: int, *, modules: Sequence[str] = (), retry_failed: bool = False, console: Console
) -> list[CellState]:
    """Run a study with worker processes, each on its share of the cores, and show how it stands.

    A worker that dies in a cell or is killed is replaced, and the cell runs again. Ctrl-C and SIGTERM let every worker
    hand its cell back.

    :param modules: imported by each worker before anything else, to register environments
    :param retry_failed: run cells that failed before again
    :return: how every cell stands at the end
    :raises Refusal: if a worker ends for a reason that would end the next one too
    :raises KeyboardInterrupt: if interrupted, after the workers have ended
    """
    states = access.enqueue(retry_failed=retry_failed)
    left = sum(state.status in LEFT for state in states)
    crew = _Crew(access, modules)
    with SignalWatch() as signals, live_table(access.definition.name, console) as show:
        try:
            with signals.deferred():
                for number, share in enumerate(core_shares(min(workers, left))):
                    crew.start(access.folder / "workers" / f"{number}.log", share)
            while crew.members:
                signals.check()
                multiprocessing.connection.wait([member.process.sentinel for member in crew.members], timeout=REFRESH)
                # An exception in the middle of a reading could leave the database locked for the workers' last words.
                with signals.deferred():
                    crew.look_after()
                    try:
                        states = cell_states(access.plan, access.study.get_trials(deepcopy=False))
                    except STORAGE_ERRORS as error:
                        said = access.address.without_secrets(reason(error))
                        note = f"the database cannot be reached: {said}"
                        if crew.notes[-1:] != [note]:
                            crew.notes.append(note)
                    show(states, crew.notes)
        finally:
            crew.stop()
    return states


class _Crew:
    """The workers of a study on this machine, and notes of what happened to them."""

    def __init__(self, access: StudyAccess, modules: Sequence[str]) -> None:
        self.access = access
        self.modules = tuple(modules)
        self.members: list[_Member] = []
        self.notes: list[str] = []

    def start(self, log: Path, share: tuple[int, ...]) -> None:
        """Start a worker on its share of the cores."""
        token = secrets.token_hex(4)
        log.parent.mkdir(exist_ok=True)
        process = multiprocessing.get_context("spawn").Process(
            target=_work,
            args=(self.access.plan, self.access.folder, self.access.address, token, log, self.modules),
            name=f"worker-{log.stem}",
        )
        # A process inherits the cores it may use, and everything in it that counts cores finds its share.
        with _on_cores(share), _signals_held_back():
            process.start()
        self.members.append(_Member(process, token, share, log))

    def look_after(self) -> None:
        """Take the workers that have ended out of the crew, hand their cells on, and replace those that died.

        A worker that ends by itself has handed its cell back. One that has not died in it, whatever its exit code: an
        environment, or a library of its, may end the process.
        """
        for member in list(self.members):
            code = member.process.exitcode
            if code is None:
                continue
            self.members.remove(member)
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            left = patiently(self.access.left_by, member.token, how)
            if code != 0 or left:
                self.access.enqueue(gone=(member.token,))
            if code > 0 and not left:
                last = (member.log.read_text(errors="replace").strip().splitlines() or ["it left no message"])[-1]
                said = last.removeprefix("error: ")
                raise Refusal(f"a worker ended with exit code {code}: {said} (see {member.log})")
            if code < 0 or left:
                where = "".join(f" in {cell}" for cell in left)
                self.notes.append(f"worker {member.process.pid} {how}{where}; another takes its place")
                self.start(member.log, member.share)

    def stop(self) -> None:
        """Interrupt the workers, wait until they have handed their cells back, and kill those that do not."""
        if not self.members:
            return
        for member in self.members:
            member.process.terminate()
        deadline = time.monotonic() + PATIENCE
        try:
            for member in self.members:
                member.process.join(max(deadline - time.monotonic(), 0.0))
        finally:
            for member in self.members:
                member.process.kill()
                member.process.join()
            self.access.enqueue(gone=tuple(member.token for member in self.members))


def _work(plan: Plan, folder: Path, address: Address, token: str, log: Path, modules: Sequence[str]) -> None:
    """Be a worker process: write to the log alone, and end with the process that started it."""
    # A terminal's Ctrl-C reaches its whole group of processes; the one that started us says when to end.
    if hasattr(os, "setsid"):
        os.setsid()
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    gc.freeze()  # what the imports made lives to the end
    with lasting_streams(), SignalWatch() as signals, signals.deferred():
        if MASKS:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        try:
            import_modules(modules)
            Worker(StudyAccess(plan, folder, address), worker_name(token), signals.check).run()
        except KeyboardInterrupt:
            sys.exit(130)
        except Refusal as error:
            print(f"error: {error}", flush=True)
            sys.exit(2)
        except STORAGE_ERRORS as error:
            print(f"error: --storage {address} cannot be used: {address.without_secrets(reason(error))}", flush=True)
            sys.exit(2)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def core_shares(workers: int, cores: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """Share cores among workers: each gets a part of them, or, where there are fewer cores than workers, one.

    :param cores: default: those this process may use
    :return: the cores of each worker; empty tuples where processes cannot be bound to cores
    """
    if cores is None:
        if not hasattr(os, "sched_getaffinity"):
            return [()] * workers
        cores = sorted(os.sched_getaffinity(0))
    n = len(cores)
    if workers >= n:
        return [(cores[worker % n],) for worker in range(workers)]
    return [tuple(cores[worker * n // workers : (worker + 1) * n // workers]) for worker in range(workers)]


@contextmanager
def _on_cores(share: Sequence[int]) -> Iterator[None]:
    if not share:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, share)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let a process that is started begin with signals that wait until it is ready for them."""
    if not MASKS:
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # where it is started, it lets them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
