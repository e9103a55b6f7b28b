"""progress.csv and TensorBoard's event files of a run that may be interrupted: continued where a checkpoint left them.

Stable-Baselines3's CSV writer empties its file when it opens it, and rewrites it in place when a column is new.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import (
    Figure,
    FormatUnsupportedError,
    HParam,
    Image,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
    Video,
    filter_excluded_keys,
)

from agents.resumption.checkpoint import Checkpoint
from agents.runs.files import flush_file, write_whole
from envs.vectorized.state_tree import StateTree
from policies.refusal import Refusal

CSV = "progress.csv"
EVENTS = "events.out.tfevents.*"


class AppendedCsv(KVWriter):
    """Writes rows as Stable-Baselines3's CSVOutputFormat does, but goes on below those that are there.

    :param path: of the file; made if it does not exist
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.keys = lines[0].split(",") if lines else []
        self.rows = max(0, len(lines) - 1)
        self._file = path.open("a", encoding="utf-8")

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append a row; where a column is new, the file is replaced by one that has it."""
        values = filter_excluded_keys(key_values, key_excluded, "csv")
        for value in values.values():
            if isinstance(value, Video | Figure | Image | HParam):
                raise FormatUnsupportedError(["csv"], type(value).__name__.lower())
        new = [key for key in values if key not in self.keys]
        if new:
            lines = self.path.read_text(encoding="utf-8").splitlines()[1:]
            self.keys += new
            self._file.close()
            widened = [",".join(self.keys), *(line + "," * len(new) for line in lines)]
            write_whole(self.path, "".join(f"{line}\n" for line in widened))
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(",".join(_cell(values.get(key)) for key in self.keys) + "\n")
        self._file.flush()
        self.rows += 1

    def close(self) -> None:
        self._file.close()


@contextmanager
def continued_logger(run: Path, checkpoint: Checkpoint | None) -> Iterator[Logger]:
    """Yield a logger that writes progress.csv and TensorBoard events into a run folder, and close it.

    :param checkpoint: what was written after it is removed first; None for a start, before which all is
    :raises Refusal: if the checkpoint holds no such positions
    """
    rows, sizes = (0, {}) if checkpoint is None else _positions(checkpoint.tree().table("logs"))
    with _quiet_writer_threads():
        try:
            if checkpoint is None:
                (run / CSV).unlink(missing_ok=True)
            _cut_csv(run / CSV, rows)
            _cut_events(run, sizes)
            logger = Logger(str(run), [AppendedCsv(run / CSV), TensorBoardOutputFormat(str(run))])
        except OSError as error:
            raise Refusal(f"{error.filename or run} cannot be written: {error.strerror}") from None
        try:
            yield logger
        finally:
            with suppress(OSError):  # raised before, where it mattered
                logger.close()


def flush_logs(logger: Logger, run: Path) -> None:
    """Flush the logs to disk.

    :raises OSError: if they cannot be written
    """
    for output in logger.output_formats:
        if isinstance(output, AppendedCsv):
            flush_file(output.path)
        elif isinstance(output, TensorBoardOutputFormat):
            output.writer.flush()
    for path in run.glob(EVENTS):
        flush_file(path)


def log_positions(logger: Logger, run: Path) -> dict[str, Any]:
    """Return where the logs end, as far as they are flushed.

    :return: `rows` of progress.csv below its header, and the size in bytes of each file of `events`
    """
    rows = sum(output.rows for output in logger.output_formats if isinstance(output, AppendedCsv))
    return {"rows": rows, "events": {path.name: path.stat().st_size for path in run.glob(EVENTS)}}


@contextmanager
def _quiet_writer_threads() -> Iterator[None]:
    """Keep TensorBoard's writer thread from printing the traceback of an OSError that it hands over as well."""
    previous = threading.excepthook

    def hook(arguments: "threading.ExceptHookArgs") -> None:
        if not isinstance(arguments.exc_value, OSError):
            previous(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = previous


def _cell(value: Any) -> str:
    if isinstance(value, str):
        quoted = " ".join(value.splitlines()).replace('"', '""')
        return f'"{quoted}"'
    return "" if value is None else str(value)


def _positions(tree: StateTree) -> tuple[int, dict[str, int]]:
    events = tree.table("events")
    return tree.whole("rows"), {name: events.whole(name) for name in events}


def _cut_csv(path: Path, rows: int) -> None:
    """Keep the header and so many rows of a file."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        write_whole(path, "".join(f"{line}\n" for line in lines[: rows + 1] if line))


def _cut_events(run: Path, sizes: dict[str, int]) -> None:
    for path in run.glob(EVENTS):
        size = sizes.get(path.name)
        if size is None:
            path.unlink()
        elif path.stat().st_size > size:
            with path.open("r+b") as file:
                file.truncate(size)
