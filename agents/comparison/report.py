"""A comparison as a table on the terminal, as JSON, as a picture and as a page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from agents.comparison.charts import charts_of, one_panel_each
from agents.comparison.findings import Range, Standing, score_ranges, standings
from agents.comparison.groups import differing_settings, group_runs, repeated_seeds, shown
from agents.comparison.runs import Run, find_runs
from agents.reporting.estimates import Estimate
from agents.reporting.page import document, escape, figures, table
from agents.reporting.pictures import draw_sheet
from policies.refusal import Refusal
from policies.text_table import aligned

MOST_PAIRS = 12
"""Up to so many configurations are compared each with each."""


@dataclass(frozen=True)
class Comparison:
    """Runs, their configurations, and what each came to.

    :ivar found: the best configuration first
    :ivar ranges: environment -> the scores that normalization makes 0 and 1
    :ivar remarks: what a reader has to know of the runs, such as which were left out
    """

    score: str
    runs: Sequence[Run]
    found: Sequence[Standing]
    ranges: Mapping[str, Range]
    remarks: Sequence[str]

    @property
    def label(self) -> str:
        """What the score is called."""
        return self.score.replace("_", " ")

    @cached_property
    def improvements(self) -> Mapping[str, Estimate | None]:
        """Configuration -> probability that one of its runs scores above one of the best configuration.

        Empty if no configuration ran in every environment, so that none is the best.
        """
        best, *others = self.found
        return {} if best.overall is None else {one.name: one.improvement_over(best) for one in others}

    def differences(self) -> list[str]:
        """Say which settings tell the configurations apart, a line each."""
        lines = []
        for name, values in differing_settings(self.runs).items():
            lines.append(f"{name.replace('_', ' ')}: {'; '.join(shown(name, value) for value in values)}")
        return lines

    def columns(self) -> dict[str, Callable[[Standing], object]]:
        """Return what a table says of each configuration."""
        columns: dict[str, Callable[[Standing], object]] = {"configuration": lambda one: one.name}
        columns["runs"] = lambda one: len(one.group.all_runs)
        if len(self.ranges) > 1:
            columns["normalized IQM"] = lambda one: one.overall or ""
            for env in self.ranges:
                columns[env] = lambda one, env=env: one.mean.get(env, "")  # type: ignore[misc]
        else:
            (env,) = self.ranges
            columns["hidden units"] = lambda one: f"{one.group.runs[env][0].n_hidden:,}"
            columns[self.label] = lambda one: one.mean[env]
            columns["IQM"] = lambda one: one.iqm[env]
        if self.improvements:
            columns["P(> best)"] = lambda one: self.improvements.get(one.name) or ""
        columns["minutes"] = _minutes
        return columns

    def notes(self) -> list[str]:
        """Say how the figures of the table are meant."""
        lines = [
            f"{self.label}: mean over runs of the final policy's, each over fresh episodes. In brackets 95 % "
            "intervals: bootstrap over seeds, drawn within each environment; of the mean of a single run, over its "
            "episodes. IQM: interquartile mean.",
        ]
        if self.improvements:
            lines.append(
                "P(> best): probability that a run scores above a run of the first configuration, ties half; mean "
                "over the environments that both ran in."
            )
        if len(self.ranges) > 1:
            scales = ", ".join(f"{env} {low:g} to {high:g}" for env, (low, high) in self.ranges.items())
            lines.append(
                f"Normalized scores are 0 and 1 at: {scales}. Where no range is given, at the lowest and the highest "
                "final score among these runs, so that such figures change with what is compared. A configuration has "
                "one if it ran in every environment."
            )
        return lines

    def __str__(self) -> str:
        columns = self.columns()
        rows = [list(columns), *([str(of(one)) for of in columns.values()] for one in self.found)]
        differences = [f"differs: {line}" for line in self.differences()]
        return "\n".join([*differences, *aligned(rows, left=(0,)), *self.notes()])

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and tables for JSON; intervals are null where there is none."""
        return {
            "score": self.score,
            "differing_settings": differing_settings(self.runs),
            "ranges": self.ranges,
            "remarks": self.remarks,
            "configurations": [
                {
                    "name": one.name,
                    "normalized_iqm": _plain(one.overall) if len(self.ranges) > 1 else None,
                    "improvement_over_best": _plain(self.improvements.get(one.name)),
                    "environments": {
                        env: {
                            "runs": [run.source for run in one.group.runs[env]],
                            "seeds": [run.seed for run in one.group.runs[env]],
                            "scores": one.scores[env].tolist(),
                            "mean": _plain(one.mean[env]),
                            "iqm": _plain(one.iqm[env]),
                        }
                        for env in one.group.runs
                    },
                }
                for one in self.found
            ],
        }

    def write(self, folder: Path) -> None:
        """Write comparison.png and comparison.html into a folder.

        :raises Refusal: if it cannot be written
        """
        charts = charts_of(self.found, self.score, self.ranges)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draw_sheet(charts, folder / "comparison.png")
            parts = [*self._text(), "<h2>Figures</h2>", *figures(one_panel_each(charts))]
            (folder / "comparison.html").write_text(document("Comparison", parts), encoding="utf-8")
        except OSError as error:
            raise Refusal(f"`out` {folder} cannot be written: {error.strerror}") from None

    def _text(self) -> list[str]:
        columns, envs = self.columns(), list(self.ranges)
        parts = [
            "<h1>Comparison</h1>",
            f'<p class="about">{len(self.runs):,} runs of {len(self.found):,} configurations in '
            f"{escape(', '.join(envs))}. {datetime.now():%Y-%m-%d %H:%M}.</p>",
            *(f'<p class="note">{escape(remark)}</p>' for remark in self.remarks),
            "<h2>What differs</h2>",
            "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in self.differences() or ["Seeds alone."]) + "</ul>",
            *(self._common(env) for env in envs),
            "<h2>Final scores</h2>",
            table(list(columns), [[of(one) for of in columns.values()] for one in self.found]),
            *(f'<p class="note">{escape(note)}</p>' for note in self.notes()),
        ]
        if 1 < len(self.found) <= MOST_PAIRS:
            parts += [
                "<h2>Probability of improvement</h2>",
                table(["row scores above column", *(one.name for one in self.found)], self._pairs()),
            ]
        return parts

    def _pairs(self) -> list[list[object]]:
        rows: list[list[object]] = []
        for one in self.found:
            pairs = ("" if one is other else one.improvement_over(other) or "" for other in self.found)
            rows.append([one.name, *pairs])
        return rows

    def _common(self, env: str) -> str:
        """Return the settings that all runs in an environment share, folded away."""
        differing = differing_settings(self.runs)
        settings = next(run.settings for run in self.runs if run.env == env)
        rows = [(name.replace("_", " "), value) for name, value in settings.items() if name not in differing]
        summary = f"<summary>The same in all runs in {escape(env)}</summary>"
        return f"<details>{summary}{table(('setting', 'value'), rows)}</details>"


def compare(
    paths: Sequence[Path], *, score: str = "mean_return", ranges: Mapping[str, Range] | None = None
) -> Comparison:
    """Compare runs by their final scores.

    :param paths: run folders, folders of reports of studies, or folders that hold some of either
    :param score: a figure of evaluations, of which more is better: mean_return, success_rate or another of the task
    :param ranges: environment -> the scores that are 0 and 1 where several environments are averaged
    :raises Refusal: if something does not fit
    """
    runs, left_out = find_runs(paths)
    groups = group_runs(runs)
    scales = score_ranges(groups, score, ranges or {})
    return Comparison(score, runs, standings(groups, score, scales), scales, [*left_out, *repeated_seeds(groups)])


def _minutes(standing: Standing) -> str:
    seconds = [run.seconds for run in standing.group.all_runs if run.seconds is not None]
    return f"{np.median(seconds) / 60:,.1f}" if seconds else ""


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else {"value": estimate.value, "interval": estimate.interval}
