"""What the figures of a comparison show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from agents.comparison.findings import Curve, Range, Standing, curve_over_steps, curve_over_time
from agents.comparison.runs import Run
from agents.reporting.charts import Chart, Intervals, Series

COLOURS = (
    *("#20639b", "#d1495b", "#edae49", "#3a8f6b", "#8e5ea2", "#6b7280"),
    *("#17a2b8", "#e07b39", "#a0522d", "#b5bd00", "#e377c2", "#2f2f2f"),
)
"""Of the best configurations that have curves; the others are grey."""
GREY = "#b0b7c0"


def charts_of(found: Sequence[Standing], score: str, ranges: Mapping[str, Range]) -> list[Chart | Intervals]:
    """Return the figures: final scores, and curves over steps and over time where there are any."""
    learning = [one for one in found if any(len(run.evaluations) > 1 for run in one.group.all_runs)]
    best = (learning or found)[: len(COLOURS)]
    colours = {one.name: GREY for one in found} | {one.name: colour for one, colour in zip(best, COLOURS, strict=False)}
    among = f" of the best {len(best)} configurations" if len(best) < len(learning) else ""
    label = score.replace("_", " ")
    charts: list[Chart | Intervals] = [_final_scores(found, label, ranges, colours)]
    courses: tuple[tuple[str, str, Callable[[Sequence[Run], str], Curve | None], float, str], ...] = (
        ("curves_over_steps", "environment steps", curve_over_steps, 1, ""),
        ("curves_over_time", "minutes of training", curve_over_time, 60, "; of runs whose clock is in progress.csv"),
    )
    for name, x_label, curve_of, unit, limits in courses:
        panels = []
        for env in ranges:
            curves = {one.name: curve_of(one.group.runs[env], score) for one in best if env in one.group.runs}
            series = [_series(which, colours[which], curve, unit) for which, curve in curves.items() if curve]
            if series:
                panels.append((env, tuple(series)))
        if panels:
            note = (
                f"Interquartile means over runs{among}, with 95 % bootstrap intervals over seeds; between evaluations "
                f"straight lines, and only as far as all runs of a configuration go{limits}."
            )
            title = f"{label.capitalize()} over {x_label}{among}"
            charts.append(Chart(name, title, x_label, label, tuple(panels), shared_scale=False, note=note))
    return charts


def one_panel_each(charts: Sequence[Chart | Intervals]) -> list[Chart | Intervals]:
    """Return a chart for each panel, which fit a window that is narrow."""
    single: list[Chart | Intervals] = []
    for chart in charts:
        last = len(chart.panels) - 1
        titles = list(chart.panels) if isinstance(chart, Intervals) else [title for title, _ in chart.panels]
        for place, title in enumerate(titles):
            panel: Chart | Intervals
            if isinstance(chart, Intervals):
                panel = replace(chart, panels={"": chart.panels[title]})
            else:
                panel = replace(chart, panels=(("", chart.panels[place][1]),))
            note = chart.note if place == last else ""
            single.append(replace(panel, name=f"{chart.name}_{place}", title=f"{chart.title}<br>{title}", note=note))
    return single


def _final_scores(
    found: Sequence[Standing], label: str, ranges: Mapping[str, Range], colours: Mapping[str, str]
) -> Intervals:
    panels = {env: {one.name: one.iqm[env] for one in found if env in one.iqm} for env in ranges}
    if len(ranges) > 1:
        overall = {one.name: one.overall for one in found if one.overall is not None}
        panels = ({"all, normalized": overall} if overall else {}) | panels
    return Intervals(
        "final_scores",
        f"Interquartile mean of the final {label}",
        label,
        colours,
        panels,
        note="95 % bootstrap intervals over seeds, drawn within each environment; a single run has none.",
    )


def _series(name: str, colour: str, curve: Curve, unit: float) -> Series:
    has_intervals = all(estimate.interval for estimate in curve.estimates)
    low, high = zip(*(estimate.interval or (np.nan, np.nan) for estimate in curve.estimates), strict=True)
    return Series(
        name=name,
        colour=colour,
        x=tuple((curve.x / unit).tolist()),
        y=tuple(estimate.value for estimate in curve.estimates),
        low=low if has_intervals else (),
        high=high if has_intervals else (),
        texts=tuple(map(str, curve.estimates)),
        line=True,
    )
