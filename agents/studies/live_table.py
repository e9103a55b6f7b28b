"""How a study stands, while it runs: a live table on a terminal, a line at every change elsewhere."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.studies.ledger import DONE, CellState

SHOWN_RUNNING = 16
SHOWN_NOTES = 3
Show = Callable[[Sequence[CellState], Sequence[str]], None]


@dataclass(frozen=True)
class Progress:
    """The figures of a study at one moment."""

    counts: dict[str, int]
    """done, running, waiting, failed -> number of cells"""
    best: CellState | None
    end: datetime | None
    """when the last cell is expected to end; None while no cell is done"""

    @classmethod
    def of(cls, states: Sequence[CellState], now: datetime) -> "Progress":
        """Count cells, and expect those left to take as long as those done took, by as many workers as run now."""
        statuses = Counter(state.status for state in states)
        counts = {
            "done": sum(statuses[status] for status in DONE),
            "running": statuses["running"],
            "waiting": statuses["waiting"] + statuses["missing"],
            "failed": statuses["failed"],
        }
        best = max((state for state in states if state.status == "complete"), key=_score, default=None)
        durations = [_elapsed(state, now) for state in states if state.status in ("complete", "pruned")]
        if not durations:
            return cls(counts, best, None)
        mean = statistics.mean(durations)
        under_way = sum(max(mean - _elapsed(state, now), 0.0) for state in states if state.status == "running")
        seconds = (mean * counts["waiting"] + under_way) / max(counts["running"], 1)
        return cls(counts, best, now + timedelta(seconds=seconds))

    def line(self) -> str:
        """Return the figures in one line."""
        parts = [f"{number} {name}" for name, number in self.counts.items()]
        if self.best is not None:
            parts.append(f"best {_score(self.best):.4g} ({self.best.cell.id})")
        if self.counts["running"] + self.counts["waiting"]:
            parts.append("expected end " + (f"{self.end:%d %b %H:%M}" if self.end else "not known yet"))
        return ", ".join(parts)


@contextmanager
def live_table(name: str, console: Console) -> Iterator[Show]:
    """Yield a function that shows how the cells of a study stand, and below it the notes so far, the last few of them.

    The last table is left standing. Elsewhere than on a terminal each note is written once.
    """
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda states, notes: live.update(_table(name, states, notes), refresh=True)
        return
    last, n_written = None, 0

    def print_changes(states: Sequence[CellState], notes: Sequence[str]) -> None:
        nonlocal last, n_written
        standing = Progress.of(states, now := datetime.now())
        change = (standing.counts, standing.best and standing.best.cell.id)  # not the expected end's minutes
        new = notes[n_written:]
        if change != last or new:
            last, n_written = change, len(notes)
            lines = [f"{now:%H:%M:%S}  {standing.line()}", *(f"          {note}" for note in new)]
            console.print("\n".join(lines), highlight=False, soft_wrap=True)

    yield print_changes


def _table(name: str, states: Sequence[CellState], notes: Sequence[str]) -> Group:
    now = datetime.now()
    table = Table(title=f"study {name}: {len(states)} cells", title_justify="left", expand=False)
    for column in ("cell", "worker", "minutes", "step", "score"):
        table.add_column(column, justify="left" if column in ("cell", "worker") else "right")
    running = [(state, state.trial) for state in states if state.status == "running" and state.trial]
    for state, trial in running[:SHOWN_RUNNING]:
        attempt = f" (attempt {state.attempts})" if state.attempts > 1 else ""
        step = max(trial.intermediate_values, default=None)
        evaluated = () if step is None else (f"{step:,}", f"{trial.intermediate_values[step]:.4g}")
        minutes = f"{_elapsed(state, now) / 60:.1f}"
        table.add_row(state.cell.id + attempt, str(trial.user_attrs.get("worker", "")), minutes, *evaluated)
    if len(running) > SHOWN_RUNNING:
        table.add_row(f"and {len(running) - SHOWN_RUNNING} more")
    return Group(table, Text(Progress.of(states, now).line()), *map(Text, notes[-SHOWN_NOTES:]))


def _score(state: CellState) -> float:
    assert state.trial is not None
    assert state.trial.value is not None
    return state.trial.value


def _elapsed(state: CellState, now: datetime) -> float:
    """Return the seconds a cell has taken."""
    assert state.trial is not None
    if "outcome" in state.trial.user_attrs:
        return float(state.trial.user_attrs["outcome"]["seconds"])
    return ((state.trial.datetime_complete or now) - (state.trial.datetime_start or now)).total_seconds()
