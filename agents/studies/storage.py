"""Where the trials of a study are kept: an Optuna database, and the lock that orders its workers.

The database is an SQLite file or a PostgreSQL server. The lock is a file beside the SQLite database or an advisory
lock of the server; the death of its holder releases it. A password in the address is never shown.
"""

import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from agents.extras import missing
from agents.studies import EXAMPLE_ADDRESS
from policies.refusal import Refusal

GRACE = 3
"""A worker that gave no sign of life for this many heartbeats is taken for dead."""
PATIENCE = 180.0
"""Seconds for which a database that does not answer is asked again."""
STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)

_HIDDEN = "***"
_SECRET_QUERIES = ("password", "sslpassword")
_Result = TypeVar("_Result")


class Address:
    """The address of a database, which shows itself without its password."""

    def __init__(self, url: sqlalchemy.URL) -> None:
        self._url = url

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address as given on the command line.

        :raises Refusal: one line that never repeats the address, which may hold a password
        """
        try:
            url = sqlalchemy.make_url(text)
            backend = url.get_backend_name()
            _ = url.port
        except (SQLAlchemyError, ValueError):
            raise Refusal(f"`storage` is no address of a database: {EXAMPLE_ADDRESS} is needed") from None
        if backend == "postgresql":
            if url.drivername == "postgresql":
                url = url.set(drivername="postgresql+psycopg")
            if url.drivername != "postgresql+psycopg":
                raise Refusal(f"`storage` names the driver {url.drivername!r}: {EXAMPLE_ADDRESS} is needed")
        elif url.drivername != "sqlite" or url.database in (None, "", ":memory:") or url.query:
            raise Refusal(
                f"`storage` names a database of kind {url.drivername!r} without a file or of a kind that workers "
                f"cannot share: {EXAMPLE_ADDRESS} or sqlite:///FILE is needed"
            )
        return cls(url)

    @classmethod
    def of_file(cls, path: Path) -> "Address":
        """Return the address of an SQLite file."""
        return cls(sqlalchemy.URL.create("sqlite", database=str(path)))

    @property
    def file(self) -> Path | None:
        """The SQLite file, wherever the process may go later; None for a server."""
        return Path(self._url.database or "").absolute() if self._url.drivername == "sqlite" else None

    def __str__(self) -> str:
        """Return the address without its password."""
        url = self._url.update_query_dict({name: _HIDDEN for name in _SECRET_QUERIES if name in self._url.query})
        return url.render_as_string(hide_password=True)

    __repr__ = __str__

    def without_secrets(self, text: str) -> str:
        """Return a text with this address's passwords blotted out."""
        for secret in (self._url.password, *(self._url.query.get(name) for name in _SECRET_QUERIES)):
            if isinstance(secret, str) and secret:
                text = text.replace(secret, _HIDDEN)
        return text

    def engine(self, **options: object) -> sqlalchemy.Engine:
        """Make an engine for connections of our own."""
        return sqlalchemy.create_engine(self._url, connect_args=self._connect_arguments(), **options)

    def storage(self, heartbeat: int) -> "StudyStorage":
        """Open the database, with its tables made if it is empty; hold the study's lock meanwhile."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            url = self._url if self.file is None else self._url.set(database=str(self.file))
            return StudyStorage(
                # Optuna takes braces in an address for a template.
                url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
                engine_kwargs={"connect_args": self._connect_arguments(), "pool_pre_ping": self.file is None},
                heartbeat_interval=heartbeat,
                grace_period=GRACE * heartbeat,
            )

    def _connect_arguments(self) -> dict[str, object]:
        # SQLite: how long a process waits for the others' writes, in seconds.
        return {"timeout": 60.0} if self.file is not None else {"connect_timeout": 10}


class StudyStorage(RDBStorage):
    """Optuna's database storage whose heartbeats outlive an outage of the database."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Record a sign of life; one that fails is made up for by the next."""
        # An exception here would end the thread and with it all later signs of life.
        try:
            super().record_heartbeat(trial_id)
        except STORAGE_ERRORS:
            warnings.warn("a heartbeat could not be recorded: the database cannot be reached", stacklevel=2)

    @contextmanager
    def heartbeats(self, trial_id: int) -> Iterator[None]:
        """Record signs of life of a trial in a thread, after every interval, until this is left."""
        left = threading.Event()

        def beat() -> None:
            while not left.wait(self.get_heartbeat_interval()):
                self.record_heartbeat(trial_id)

        thread = threading.Thread(target=beat, name="heartbeats")
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()


class StudyLock:
    """The lock under which the workers of a study change its trials' states; one process holds it at a time."""

    def __init__(self, address: Address, study: str) -> None:
        self._server: sqlalchemy.Engine | None = None
        self._connection: sqlalchemy.Connection | None = None
        file = address.file
        if file is not None:
            self._file_lock = FileLock(f"{file}.lock")
        else:
            digest = hashlib.blake2b(study.encode(), digest_size=8).digest()
            self._key = int.from_bytes(digest, "big", signed=True)
            self._server = address.engine(poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")

    def acquire(self) -> None:
        """Wait for the lock."""
        if self._server is None:
            self._file_lock.acquire()
            return
        connection = self._server.connect()
        try:
            # A machine that loses its power must not keep the lock for the hours of the default.
            for setting in ("idle = 20", "interval = 5", "count = 4"):
                connection.execute(sqlalchemy.text(f"SET tcp_keepalives_{setting}"))
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def release(self) -> None:
        """Give the lock back."""
        if self._server is None:
            self._file_lock.release()
            return
        assert self._connection is not None
        # Without a pool, closing ends the session, and that releases its locks.
        connection, self._connection = self._connection, None
        connection.close()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


@contextmanager
def storage_errors(address: Address) -> Iterator[None]:
    """Turn the database's errors into one line that names the address without its password.

    :raises Refusal: if the database cannot be reached or used, or its driver is not installed
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if address.file is None and error.name == "psycopg":
            raise missing("postgresql", "`storage` postgresql") from None
        raise
    except ImportError as error:
        # Optuna wraps what SQLAlchemy raises; psycopg also fails to import where libpq is missing.
        if address.file is None:
            raise missing("postgresql", "`storage` postgresql") from error
        raise
    except STORAGE_ERRORS as error:
        raise Refusal(f"`storage` {address} cannot be used: {address.without_secrets(reason(error))}") from None
    except OSError as error:
        if address.file is None:
            raise
        raise Refusal(f"`storage` {address} cannot be used: {error.strerror or error}") from None


def reason(error: BaseException) -> str:
    """Return the first line of what the driver says about a database error."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def patiently(call: Callable[..., _Result], *arguments: object) -> _Result:
    """Call until the database answers, for `PATIENCE` at most: a server that restarts must not end trainings of hours.

    :raises StorageInternalError, SQLAlchemyError: the last error
    """
    deadline = time.monotonic() + PATIENCE
    pause = 0.5
    while True:
        try:
            return call(*arguments)
        except STORAGE_ERRORS:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 15.0)
