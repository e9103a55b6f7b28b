"""How a study stands, while it runs: a live table on a terminal, a line at every change elsewhere."""

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.studies.ledger import DONE, CellState

SHOWN_RUNNING = 16


@dataclass(frozen=True)
class Standing:
    """The figures of a study at one moment."""

    counts: dict[str, int]
    """done, running, waiting, failed -> number of cells"""
    best: CellState | None
    end: datetime | None
    """when the last cell is expected to end; None while no cell is done"""

    @classmethod
    def of(cls, states: Sequence[CellState], now: datetime) -> "Standing":
        """Count cells, and expect those left to take as long as those done took, by as many workers as run now."""
        statuses = Counter(state.status for state in states)
        counts = {
            "done": sum(statuses[status] for status in DONE),
            "running": statuses["running"],
            "waiting": statuses["waiting"] + statuses["missing"],
            "failed": statuses["failed"],
        }
        complete = [state for state in states if state.status == "complete"]
        best = max(complete, key=final_score, default=None)
        durations = [_elapsed(state, now) for state in states if state.status in ("complete", "pruned")]
        end = None
        if durations:
            mean = statistics.mean(durations)
            left = mean * counts["waiting"]
            left += sum(max(mean - _elapsed(state, now), 0.0) for state in states if state.status == "running")
            end = now + timedelta(seconds=left / max(counts["running"], 1))
        return cls(counts, best, end)

    def line(self) -> str:
        """Return the figures in one line."""
        parts = [f"{number} {name}" for name, number in self.counts.items()]
        if self.best is not None:
            parts.append(f"best {final_score(self.best):.4g} ({self.best.cell.id})")
        if self.counts["running"] + self.counts["waiting"]:
            parts.append("expected end " + (f"{self.end:%d %b %H:%M}" if self.end else "not known yet"))
        return ", ".join(parts)


def final_score(state: CellState) -> float:
    """Return the final score of a complete cell."""
    assert state.trial is not None
    value = state.trial.value
    assert value is not None
    return value


class LiveTable:
    """Shows a study until it is left; `update` is called with every new look at it."""

    def __init__(self, name: str, console: Console) -> None:
        self.name = name
        self.console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> "LiveTable":
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the last table standing."""
        if self._live is not None:
            self._live.stop()

    def update(self, states: Sequence[CellState], notes: Sequence[str] = ()) -> None:
        """Show how the cells stand."""
        now = datetime.now()
        standing = Standing.of(states, now)
        if self._live is not None:
            self._live.update(self._table(states, standing, now, notes), refresh=True)
            return
        # An expected end that moves by a minute is no change.
        key = f"{standing.counts} {standing.best.cell.id if standing.best else ''} {list(notes)}"
        if key != self._last:
            self._last = key
            self.console.print(f"{time.strftime('%H:%M:%S')}  {standing.line()}", highlight=False, soft_wrap=True)
            for note in notes:
                self.console.print(f"          {note}", highlight=False, soft_wrap=True)

    def _table(self, states: Sequence[CellState], standing: Standing, now: datetime, notes: Sequence[str]) -> Group:
        table = Table(title=f"study {self.name}: {len(states)} cells", title_justify="left", expand=False)
        for column in ("cell", "worker", "minutes", "step", "score"):
            table.add_column(column, justify="left" if column in ("cell", "worker") else "right")
        running = [state for state in states if state.status == "running"]
        for state in running[:SHOWN_RUNNING]:
            assert state.trial is not None
            values = state.trial.intermediate_values
            step = max(values, default=None)
            table.add_row(
                state.cell.id + (f" (attempt {state.attempts})" if state.attempts > 1 else ""),
                str(state.trial.user_attrs.get("worker", "")),
                f"{_elapsed(state, now) / 60:.1f}",
                "" if step is None else f"{step:,}",
                "" if step is None else f"{values[step]:.4g}",
            )
        if len(running) > SHOWN_RUNNING:
            table.add_row(f"and {len(running) - SHOWN_RUNNING} more", "", "", "", "")
        return Group(table, Text(standing.line()), *(Text(note) for note in notes))


def _elapsed(state: CellState, now: datetime) -> float:
    """Return the seconds a cell has taken."""
    assert state.trial is not None
    outcome = state.trial.user_attrs.get("outcome")
    if outcome is not None:
        return float(outcome["seconds"])
    start = state.trial.datetime_start
    if start is None:
        return 0.0
    return ((state.trial.datetime_complete or now) - start).total_seconds()
