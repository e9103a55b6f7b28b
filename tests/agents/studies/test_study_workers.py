"""Workers of a study: every cell once, whatever happens to workers, on SQLite and on a real PostgreSQL server."""

import csv
import dataclasses
import io
import os
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import faulty  # noqa: F401 registers Faulty-v0
import numpy as np
import optuna
import pytest
from data_files import ROOT
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from rich.console import Console

from agents.resumption.signals import SignalWatch
from agents.studies.definition import read_study
from agents.studies.ledger import MOST_DEATHS, CellState, cell_states, enqueue_missing, fail_dead
from agents.studies.live_table import Progress, live_table
from agents.studies.planning import plan_study
from agents.studies.results import results_of
from agents.studies.running import core_shares, run_study
from agents.studies.storage import Address, StudyLock, patiently, storage_errors
from agents.studies.worker import StudyAccess, Worker
from envs import modules
from envs.lookup import import_modules
from policies.refusal import Refusal

POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []

TINY = """
env: CartPole-v1
seeds: [0, 1]
workers: 4
heartbeat: 1
options: {budget: 300, total_timesteps: 512, n_envs: 4, n_steps: 32, batch_size: 128, n_epochs: 1, eval_every: 128,
          eval_episodes: 1}
sampler: grid
parameters: {hidden_proportion: [0.3, 0.6]}
"""


def access(tmp_path: Path, text: str = TINY, address: Address | None = None, folder: str = "studies") -> StudyAccess:
    (tmp_path / "tiny.yaml").write_text(text)
    return StudyAccess(plan_study(read_study(tmp_path / "tiny.yaml")), tmp_path / folder / "tiny", address)


def outcomes(states: list[CellState]) -> dict[str, tuple[object, ...]]:
    return {
        result.cell: (result.final_score, result.best_score, result.curve, result.network)
        for result in results_of(states)
        if result.status == "complete"
    }


def counting(study: optuna.Study) -> dict[str, int]:
    """Return how often each cell is complete."""
    counts: dict[str, int] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        counts[trial.user_attrs["cell"]] = counts.get(trial.user_attrs["cell"], 0) + 1
    return counts


def interrupting(signals: SignalWatch, condition: Callable[[], bool]) -> Callable[[], None]:
    """Return a worker's check that presses Ctrl-C at the first step at which a condition holds."""
    pressed = False

    def check() -> None:
        nonlocal pressed
        if not pressed and condition():
            pressed = True
            os.kill(os.getpid(), signal.SIGINT)
        signals.check()

    return check


def test_interrupted_and_continued_study_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    text = TINY.replace("[0.3, 0.6]", "[0.3]").replace("[0, 1]", "[0, 1, 2]")
    whole = Worker(access(tmp_path, text)).run()
    assert [state.status for state in whole] == ["complete"] * 3
    assert all(state.attempts == 1 for state in whole)
    assert_expected_end(whole)

    stopped = access(tmp_path, text, folder="stopped")
    watcher = access(tmp_path, text, folder="stopped").study

    def in_the_middle() -> bool:
        trials = watcher.get_trials(deepcopy=False)
        done = sum(trial.state == TrialState.COMPLETE for trial in trials)
        return done == 1 and any(t.state == TrialState.RUNNING and len(t.intermediate_values) == 1 for t in trials)

    with pytest.raises(KeyboardInterrupt), SignalWatch() as signals:
        Worker(stopped, check=interrupting(signals, in_the_middle)).run()
    trials = stopped.study.get_trials()
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 1
    (interrupted,) = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert interrupted.user_attrs["interrupted"]

    continued = Worker(access(tmp_path, text, folder="stopped")).run()
    assert [state.cell.id for state in continued] == [state.cell.id for state in whole]
    assert outcomes(continued) == outcomes(whole)
    assert sum(state.attempts for state in continued) == 4
    assert set(counting(stopped.study).values()) == {1}
    # Every trial has a run folder of its own, the interrupted one too.
    assert len(list((tmp_path / "stopped" / "tiny" / "CartPole-v1").iterdir())) == 4


def test_claim_that_died_before_its_first_heartbeat_is_noticed(tmp_path: Path) -> None:
    opened = access(tmp_path)
    opened.enqueue()
    first = opened.study.get_trials()[0]
    # What a worker leaves that is killed right after Optuna gave it a trial: running, unsigned, no heartbeat.
    opened.storage.set_trial_state_values(first._trial_id, TrialState.RUNNING)
    states = opened.enqueue()
    assert [state.status for state in states] == ["waiting"] * 4
    assert states[0].attempts == 2
    # Called again and again, by whomever, nothing more is added.
    assert [state.attempts for state in access(tmp_path).enqueue()] == [2, 1, 1, 1]
    assert len(opened.study.get_trials()) == 5


def test_late_worker_cannot_finish_a_trial_given_to_another(tmp_path: Path) -> None:
    text = TINY.replace("[0, 1]", "[0]")
    late, other = access(tmp_path, text), access(tmp_path, text)
    taken = False

    def take_once() -> None:
        nonlocal taken
        running = other.study.get_trials(states=(TrialState.RUNNING,))
        if not taken and running and running[0].intermediate_values:
            taken = True
            assert [state.attempts for state in other.enqueue(gone=("late",))] == [2, 1]

    states = Worker(late, "late", check=take_once).run()
    assert taken
    assert [state.status for state in states] == ["complete"] * 2
    assert [state.attempts for state in states] == [2, 1]
    assert set(counting(late.study).values()) == {1}


def test_failing_cell_fails_once_and_is_retried_on_request(tmp_path: Path) -> None:
    text = TINY.replace("env: CartPole-v1", "env: Faulty-v0\nscore: success_rate").replace("[0, 1]", "[0]")
    opened = access(tmp_path, text)
    states = Worker(opened).run()
    assert [state.status for state in states] == ["failed", "failed"]
    assert all("reports no success" in state.trouble for state in states)
    # The first evaluation says so; the trainings have not gone on.
    for file in opened.folder.glob("Faulty-v0/*/progress.csv"):
        rows = list(csv.DictReader(file.open()))
        assert len([row for row in rows if row["eval/mean_reward"]]) == 1
    assert [state.attempts for state in Worker(access(tmp_path, text)).run()] == [1, 1]
    assert [state.status for state in opened.enqueue(retry_failed=True)] == ["waiting", "waiting"]
    assert [state.attempts for state in Worker(access(tmp_path, text)).run()] == [2, 2]


def test_trouble_of_the_machine_is_no_failure_of_the_cell(tmp_path: Path) -> None:
    opened = access(tmp_path)
    (opened.folder / "CartPole-v1").write_text("in the way of the run folders")
    with pytest.raises(Refusal, match="CartPole-v1 is no folder"):
        Worker(opened).run()
    assert [state.status for state in opened.enqueue()] == ["waiting"] * 4


def test_signs_of_life_outlive_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = access(tmp_path)
    opened.enqueue()
    beats: list[int] = []
    third = threading.Event()

    def record(storage: optuna.storages.RDBStorage, trial_id: int) -> None:
        beats.append(trial_id)
        if len(beats) < 3:
            raise StorageInternalError("the server is gone")
        third.set()

    monkeypatch.setattr(optuna.storages.RDBStorage, "record_heartbeat", record)
    monkeypatch.setattr(opened.storage, "heartbeat_interval", 0.01)
    with pytest.warns(UserWarning, match="heartbeat could not be recorded"), opened.storage.heartbeats(1):
        assert third.wait(10)
    assert set(beats) == {1}
    assert "heartbeats" not in {thread.name for thread in threading.enumerate()}


def test_cell_that_kills_its_workers_fails_in_the_end(tmp_path: Path) -> None:
    opened = access(tmp_path, TINY.replace("[0, 1]", "[0]").replace("[0.3, 0.6]", "[0.3]"))
    for _ in range(MOST_DEATHS):
        (state,) = opened.enqueue()
        assert state.status == "waiting"
        trial = opened.study.get_trials(states=(TrialState.WAITING,))[0]
        opened.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    (state,) = opened.enqueue()
    assert state.status == "failed"
    assert state.trouble == "its worker died 10 times"


@pytest.mark.slow
def test_tpe_learns_and_goes_on_the_same(tmp_path: Path) -> None:
    text = TINY.replace("seeds: [0, 1]", "seeds: [0]").replace("grid", "tpe\ntrials: 3")
    text = text.replace("{hidden_proportion: [0.3, 0.6]}", "{hidden_proportion: {uniform: [0.02, 0.98]}}")
    whole = Worker(access(tmp_path, text)).run()
    # In three stints, by three workers: the same proposals.
    for done in (1, 2):
        opened = access(tmp_path, text, folder="again")
        with pytest.raises(KeyboardInterrupt):
            stop_after(opened, done)
    again = Worker(access(tmp_path, text, folder="again")).run()
    assert [state.status for state in whole] == [state.status for state in again]
    proposals = [state.trial.params["hidden_proportion"] for state in whole if state.trial]
    assert proposals == [state.trial.params["hidden_proportion"] for state in again if state.trial]
    assert len(set(proposals)) == 3
    assert outcomes(whole) == outcomes(again)


def stop_after(opened: StudyAccess, done: int) -> None:
    watcher = optuna.load_study(study_name="tiny", storage=opened.address.storage(1))

    def in_the_middle() -> bool:
        return sum(trial.state.is_finished() for trial in watcher.get_trials(deepcopy=False)) >= done and any(
            trial.intermediate_values for trial in watcher.get_trials(states=(TrialState.RUNNING,))
        )

    with SignalWatch() as signals:
        Worker(opened, check=interrupting(signals, in_the_middle)).run()


@pytest.mark.slow
def test_pruning_ends_trials_early(tmp_path: Path) -> None:
    text = TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]\npruning: {percentile: 1, n_startup_trials: 1}")
    states = Worker(access(tmp_path, text)).run()
    statuses = [state.status for state in states]
    assert set(statuses) == {"complete", "pruned"}
    pruned = [result for result in results_of(states) if result.status == "pruned"]
    assert all(result.final_score is None and 1 <= len(result.curve) < 4 for result in pruned)


def test_lock_is_released_by_death(tmp_path: Path) -> None:
    address = Address.of_file(tmp_path / "study.db")
    assert_released_by_death(address, tmp_path)


def assert_released_by_death(address: Address, tmp_path: Path, password: str = "") -> None:
    code = (
        "import sys, time; from agents.studies.storage import STORAGE_ERRORS, Address, StudyLock\n"
        "lock = StudyLock(Address.parse(sys.stdin.readline().strip()), 'tiny'); lock.acquire()\n"
        "print('held', flush=True); time.sleep(100)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(address._url.render_as_string(hide_password=False) + "\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "held\n"
    lock = StudyLock(address, "tiny")
    got = threading.Event()

    def take() -> None:
        lock.acquire()
        got.set()
        lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    assert not got.wait(0.5)
    holder.kill()
    holder.wait()
    assert got.wait(10)
    thread.join()


def test_shares_of_the_cores() -> None:
    assert core_shares(1, [0, 1]) == [(0, 1)]
    assert core_shares(4, [0, 1]) == [(0,), (1,), (0,), (1,)]
    assert core_shares(3, [2, 3, 5, 7, 11, 13, 17, 19]) == [(2, 3), (5, 7, 11), (13, 17, 19)]
    assert core_shares(0, [0, 1]) == []


def assert_expected_end(states: list[CellState]) -> None:
    now = datetime(2030, 1, 1)
    standing = Progress.of(states, now)
    assert standing.counts == {"done": 3, "running": 0, "waiting": 0, "failed": 0}
    assert standing.best is max(states, key=lambda state: state.trial.value if state.trial else -np.inf)
    assert standing.end == now
    assert "expected end" not in standing.line()
    waiting = [dataclasses.replace(state, status="waiting", trial=None) for state in states[:2]]
    mean = np.mean([state.trial.user_attrs["outcome"]["seconds"] for state in states if state.trial])
    end = Progress.of([*states, *waiting], now).end
    assert end is not None
    assert (end - now) / timedelta(seconds=1) == pytest.approx(2 * mean)


def test_table_of_a_study(tmp_path: Path) -> None:
    opened = access(tmp_path)
    opened.enqueue()
    trial = opened.study.get_trials()[0]
    opened.storage.set_trial_user_attr(trial._trial_id, "worker", "here-7-ab")
    opened.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    opened.storage.set_trial_intermediate_value(trial._trial_id, 12_800, 21.375)
    states = cell_states(opened.plan, opened.study.get_trials())
    for is_terminal in (True, False):
        written = io.StringIO()
        console = Console(file=written, force_terminal=is_terminal, width=120, color_system=None)
        with live_table("tiny", console) as show:
            for _ in range(2):
                show(states, ["a worker was killed"])
            if not is_terminal:
                done = [dataclasses.replace(states[0], status="failed"), *states[1:]]
                show(done, ["a worker was killed"])
                show(done, ["a worker was killed", "another was killed"])
        text = written.getvalue()
        assert "0 done, 1 running, 3 waiting, 0 failed, expected end not known yet" in text
        assert "a worker was killed" in text
        if is_terminal:
            assert "study tiny: 4 cells" in text
            assert re.search(r"all-0000-seed0 +│ here-7-ab +│ +0.0 │ 12,800 │ 21.38", text)
        else:
            lines = [line.split("  ")[-1] for line in text.splitlines()]
            # Nothing has changed between the first two; a note is new once.
            assert [line.split(",")[0] for line in lines] == [
                *("0 done", "a worker was killed", "0 done", "0 done", "another was killed")
            ]


BAD_ADDRESSES = [
    "",
    "nonsense",
    "postgresql+psycopg://me:hunter2@host:port/db",
    "postgresql+psycopg2://me:hunter2@host/db",
    "mysql://me:hunter2@host/db",
    "sqlite://",
    "sqlite:///:memory:",
    "redis://:hunter2@host",
]


@pytest.mark.parametrize("text", BAD_ADDRESSES)
def test_bad_address_is_refused_without_repeating_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="storage") as caught:
        Address.parse(text)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_address_hides_its_password() -> None:
    for text in (
        "postgresql://me:hun%ter2@host/db?application_name=x",
        "postgresql+psycopg://host/db?password=hun%25ter2",
    ):
        address = Address.parse(text)
        assert "hun" not in f"{address} {address!r}"
        assert address.without_secrets("no hun%ter2 here") == "no *** here"
    assert str(Address.parse("postgresql://me@host/db")) == "postgresql+psycopg://me@host/db"


def test_unreachable_database_is_one_line_without_its_password(tmp_path: Path) -> None:
    address = Address.parse("postgresql+psycopg://me:hunter2{x}@127.0.0.1:1/db")
    with pytest.raises(Refusal, match="127.0.0.1") as caught, storage_errors(address):
        access(tmp_path, address=address)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "broken.db").write_bytes(b"no database at all" * 100)
    broken = Address.of_file(tmp_path / "broken.db")
    with pytest.raises(Refusal, match="broken.db"), storage_errors(broken):
        access(tmp_path, address=broken)


def test_patience_outlasts_an_outage(tmp_path: Path) -> None:
    opened = access(tmp_path)
    opened.enqueue()
    blocker = sqlite3.connect(tmp_path / "studies" / "tiny" / "study.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    opened.storage.engine.dispose()
    attempts = []

    def count() -> int:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            return len(optuna.storages.RDBStorage(str(opened.address), engine_kwargs={"connect_args": {"timeout": 0.1}})
                       .get_all_trials(0))  # fmt: skip
        blocker.execute("ROLLBACK") if len(attempts) == 2 else None
        return len(opened.storage.get_all_trials(1))

    assert patiently(count) == 4
    assert len(attempts) == 2


# --- real processes -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Address]:
    """Start a PostgreSQL server of our own with a password, on a socket in a temporary folder."""
    if not POSTGRESQL:
        pytest.skip("no PostgreSQL server is installed in /usr/lib/postgresql")
    binaries = POSTGRESQL[-1]
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if user:
        shutil.chown(folder, user)
    password = "s3cret-" + secrets.token_hex(8)
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o644)

    def call(program: str, *options: str) -> None:
        subprocess.run([binaries / program, *options], user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    call("initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync")
    call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", f"-k {folder} -c listen_addresses='' -F", "start")
    try:
        yield Address.parse(f"postgresql+psycopg://postgres:{password}@/postgres?host={folder}")
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


ONE_CORE = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests")}
"""of a process that imports `signalling`"""


@pytest.fixture
def _signalling() -> Iterator[None]:
    """Let studies name the callback, as `--import` does."""
    import_modules(["signalling"])
    yield
    modules._NAMED.discard("signalling")


def start_worker(tmp_path: Path, address: Address) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(ROOT / "sweep.py"), "worker", "tiny.yaml", "--storage",
         address._url.render_as_string(hide_password=False), "--import", "signalling"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ONE_CORE,
    )  # fmt: skip


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


MORE_CELLS = (
    TINY.replace("total_timesteps: 512", "total_timesteps: 2048")
    .replace("eval_every: 128", "eval_every: 512")
    .replace("[0.3, 0.6]", "[0.2, 0.35, 0.5, 0.65, 0.8]")
    .replace("heartbeat: 1", "heartbeat: 2")
)


def signalling(text: str, callback: str) -> str:
    """Return a study whose cells have the callback."""
    return text.replace("options: {", f"options: {{callbacks: ['signalling:Signalling:{callback}'], ")


@pytest.mark.slow
@pytest.mark.usefixtures("_signalling")
@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_every_cell_once_though_workers_are_killed(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    Worker(access(tmp_path, TINY.replace("[0.3, 0.6]", "[0.3]"), folder="warm")).run()  # compiles what is not cached
    address = request.getfixturevalue("postgresql") if kind == "postgresql" else Address.of_file(tmp_path / "shared.db")
    # One is killed in the middle of a trial while others wait, another when no cell is left that nobody began.
    killed = ("all-0000-seed0", "all-0004-seed1")
    opened = access(tmp_path, signalling(MORE_CELLS, f'cells="{" ".join(killed)}",step=1024'), address)
    opened.enqueue()
    study = opened.study
    workers = [start_worker(tmp_path, address) for _ in range(4)]
    outputs = [process.communicate(timeout=120)[0] for process in workers]
    assert sorted(process.returncode for process in workers) == [-signal.SIGKILL] * 2 + [0] * 2, outputs
    states = cell_states(opened.plan, study.get_trials())
    assert len(states) == 10
    assert [state.status for state in states] == ["complete"] * 10
    assert counting(study) == {state.cell.id: 1 for state in states}
    attempts = {state.cell.id: state.attempts for state in states}
    # On a busy machine a living worker may be late with three heartbeats of two seconds, which costs a third attempt.
    assert min(attempts[cell] for cell in killed) >= 2
    assert all(len(state.trial.intermediate_values) == 4 for state in states if state.trial)
    # The password is in no file and no output.
    if kind == "postgresql":
        password = address._url.password
        assert password
        assert not [output for output in outputs if password in output]
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert len(files) > 20
        assert not [file for file in files if password.encode() in file.read_bytes()]


@pytest.mark.slow
def test_run_ends_where_this_machine_cannot_train(tmp_path: Path) -> None:
    opened = access(tmp_path)
    (opened.folder / "CartPole-v1").write_text("in the way of the run folders")
    with pytest.raises(Refusal, match="CartPole-v1 is no folder"):
        run_study(opened, 1, console=Console(quiet=True))
    assert [state.status for state in opened.enqueue()] == ["waiting"] * 4


@pytest.mark.slow
@pytest.mark.usefixtures("_signalling")
def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    text = MORE_CELLS.replace("heartbeat: 2", "heartbeat: 600")
    opened = access(tmp_path, signalling(text, 'cells="all-0002-seed0",step=1024'))
    # With such a heartbeat nobody would miss the worker: the one who started it sees it die.
    states = run_study(opened, 1, modules=["signalling"], console=Console(quiet=True))
    assert [state.status for state in states] == ["complete"] * 10
    assert {state.cell.id: state.attempts for state in states if state.attempts > 1} == {"all-0002-seed0": 2}
    assert set(counting(opened.study).values()) == {1}


@pytest.mark.slow
def test_lock_of_a_server_is_released_by_death(postgresql: Address, tmp_path: Path) -> None:
    assert_released_by_death(postgresql, tmp_path)


@pytest.mark.slow
def test_wrong_password_is_one_line(postgresql: Address, tmp_path: Path) -> None:
    wrong = Address(postgresql._url.set(password="hunter2"))
    with pytest.raises(Refusal, match="password authentication failed") as caught, storage_errors(wrong):
        access(tmp_path, address=wrong)
    assert "hunter2" not in str(caught.value)


def process_id(trial: optuna.trial.FrozenTrial) -> int:
    return int(trial.user_attrs["worker"].split("-")[-2])


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


FOR_TWO = MORE_CELLS.replace("workers: 4", "workers: 2").replace("heartbeat: 2", "heartbeat: 20")
RUN = [sys.executable, str(ROOT / "sweep.py"), "run", "tiny.yaml", "--import", "signalling"]


def start_run(tmp_path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        RUN, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ONE_CORE,
        start_new_session=True,
    )  # fmt: skip


def assert_stopped(run: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Check the end of a run whose whole group got a signal, as from a terminal, and what it says."""
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 128 + number, errors
    assert errors.strip() == "stopped; python sweep.py run tiny.yaml --import signalling goes on"


def stop_in_the_middle(tmp_path: Path, number: signal.Signals) -> StudyAccess:
    """Run a study with two workers that is stopped in the middle of its fourth cell: two at least are complete."""
    opened = access(tmp_path, signalling(FOR_TWO, f'cells="all-0003-seed0",step=1024,number={number:d},to_group=True'))
    assert_stopped(start_run(tmp_path), number)
    trials = opened.study.get_trials(deepcopy=False)
    # The run has waited for its workers.
    assert not [trial for trial in trials if "worker" in trial.user_attrs and is_alive(process_id(trial))]
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
    assert {t.user_attrs.get("interrupted") for t in trials if t.state == TrialState.FAIL} == {True}
    assert 2 <= sum(trial.state == TrialState.COMPLETE for trial in trials) < 10
    return opened


@pytest.mark.slow
@pytest.mark.usefixtures("_signalling")
def test_ctrl_c_stops_a_run_and_it_continues_the_same(tmp_path: Path) -> None:
    whole = Worker(access(tmp_path, FOR_TWO, folder="whole")).run()
    opened = stop_in_the_middle(tmp_path, signal.SIGINT)
    finished = subprocess.run(RUN, cwd=tmp_path, capture_output=True, text=True, env=ONE_CORE, timeout=200, check=False)
    assert finished.returncode == 0, finished.stderr
    states = cell_states(opened.plan, opened.study.get_trials())
    assert outcomes(states) == outcomes(whole)
    assert len(outcomes(states)) == 10
    assert set(counting(opened.study).values()) == {1}


@pytest.mark.slow
@pytest.mark.usefixtures("_signalling")
def test_sigterm_to_the_group_stops_a_run(tmp_path: Path) -> None:
    stop_in_the_middle(tmp_path, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_is_stopped_while_workers_start(number: signal.Signals, tmp_path: Path) -> None:
    opened = access(tmp_path, MORE_CELLS)
    run = start_run(tmp_path)
    wait_until(lambda: bool(spawned(run.pid)))
    workers = spawned(run.pid)
    os.killpg(run.pid, number)
    assert_stopped(run, number)
    assert workers
    assert not [worker for worker in workers if is_alive(worker)]
    assert not opened.study.get_trials(states=(TrialState.RUNNING,))


def spawned(parent: int) -> list[int]:
    """Return the ids of the workers that a process has started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_nobody_is_declared_dead_without_need(tmp_path: Path) -> None:
    opened = access(tmp_path)
    with opened.lock:
        fail_dead(opened.study)
        assert {state.status for state in enqueue_missing(opened.study, opened.plan)} == {"waiting"}
    trial = opened.study.get_trials()[0]
    opened.storage.set_trial_user_attr(trial._trial_id, "worker", "alive")
    opened.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    opened.storage.record_heartbeat(trial._trial_id)
    assert [state.status for state in opened.enqueue()] == ["running", "waiting", "waiting", "waiting"]
    time.sleep(4.2)  # the grace of three heartbeats, in whole seconds
    assert [state.status for state in opened.enqueue()] == ["waiting"] * 4
