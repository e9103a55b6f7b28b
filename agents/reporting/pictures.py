"""Charts as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agents.reporting.charts import Chart, HeatMap, Intervals, Series
from agents.reporting.estimates import number

_MARKERS = {"circle": "o", "triangle-up": "^", "square": "s", "diamond": "D", "cross": "P", "star": "*"}


def draw(chart: Chart | HeatMap, folder: Path) -> Path:
    """Draw a chart into a folder and return its file."""
    if isinstance(chart, HeatMap):
        figure = _heat_map(chart)
    else:
        figure = Figure(figsize=(_width(chart), 4.4), dpi=110, layout="constrained")
        _draw_chart(figure, chart)
    file = folder / f"{chart.name}.png"
    figure.savefig(file)
    return file


def draw_sheet(charts: Sequence[Chart | Intervals], file: Path) -> None:
    """Draw several charts into one file, one below the other."""
    heights = [_height(chart) for chart in charts]
    width = max(7.0, *(_width(chart) for chart in charts))
    figure = Figure(figsize=(width, sum(heights)), dpi=110, layout="constrained")
    parts = figure.subfigures(len(charts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, chart in zip(parts, charts, strict=True):
        if isinstance(chart, Chart):
            _draw_chart(part, chart)
        else:
            _draw_intervals(part, chart)
    figure.savefig(file)


def _width(chart: Chart | Intervals) -> float:
    labels = 0.07 * max(map(len, chart.colours)) if isinstance(chart, Intervals) else 2.2
    return min(labels + 4.4 * max(len(chart.panels), 1), 16)


def _height(chart: Chart | Intervals) -> float:
    if isinstance(chart, Intervals):
        return 1.4 + 0.22 * len(chart.colours)
    return 4.0 + 0.2 * len({one.name for _, series in chart.panels for one in series})


def _draw_chart(figure: Any, chart: Chart) -> None:
    panels = figure.subplots(1, max(len(chart.panels), 1), squeeze=False, sharey=chart.shared_scale)[0]
    handles: dict[str, Any] = {}
    for axes, (title, series) in zip(panels, chart.panels, strict=False):
        handles |= draw_panel(axes, chart, title, series)
    panels[0].set_ylabel(chart.y_label)
    if handles:
        columns = max(1, min(3, int(12 * _width(chart) / max(map(len, handles)))))
        figure.legend(handles.values(), handles, fontsize=8, loc="outside lower center", ncols=columns)
    figure.suptitle(chart.title, fontsize=11)


def _draw_intervals(figure: Any, chart: Intervals) -> None:
    places = {label: -place for place, label in enumerate(chart.colours)}
    panels = figure.subplots(1, len(chart.panels), squeeze=False, sharey=True)[0]
    for axes, (title, estimates) in zip(panels, chart.panels.items(), strict=True):
        for label, estimate in estimates.items():
            low, high = estimate.interval or (estimate.value, estimate.value)
            axes.plot((low, high), [places[label]] * 2, color=chart.colours[label], linewidth=5, alpha=0.35)
            axes.plot(estimate.value, places[label], "o", color=chart.colours[label], markersize=5)
        axes.set(title=title, xlabel=chart.x_label, ylim=(0.6 - len(places), 0.6))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(alpha=0.25)
    panels[0].set_yticks(list(places.values()), list(places), fontsize=8)
    figure.suptitle(chart.title, fontsize=11)


def draw_panel(axes: Any, chart: Chart, title: str, series: Sequence[Series]) -> dict[str, Any]:
    """Draw a panel of a chart into Matplotlib axes and return a legend's handles by name."""
    handles = {one.name: _draw_series(axes, one) for one in series}
    axes.set(title=title, xlabel=chart.x_label)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.ticks:
        axes.set_xticks(chart.ticks, [f"{tick:,.0f}" for tick in chart.ticks])
        axes.minorticks_off()
    axes.grid(alpha=0.25)
    return handles


def _draw_series(axes: Any, series: Series) -> Any:
    if series.line:
        (handle,) = axes.plot(series.x, series.y, color=series.colour, marker="o" if len(series.x) == 1 else None)
        if series.low:
            axes.fill_between(series.x, series.low, series.high, color=series.colour, alpha=0.18, linewidth=0)
        return handle
    bars = np.abs(np.array([series.low, series.high]) - np.array(series.y)) if series.low else None
    return axes.errorbar(
        series.x, series.y, bars, linestyle="none", marker=_MARKERS[series.marker], markersize=5, capsize=2,
        elinewidth=0.8, color=series.colour, alpha=0.85,
    )  # fmt: skip


def _heat_map(chart: HeatMap) -> Figure:
    rows, columns = chart.values.shape
    figure = Figure(figsize=(2.8 + 0.95 * max(columns, 3), 1.8 + 0.6 * max(rows, 1)), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set(title=chart.title, xlabel="hidden proportion", ylabel="budget")
    axes.title.set_fontsize(10)
    if not chart.values.size:
        return figure
    image = axes.imshow(chart.values, aspect="auto", cmap="viridis", origin="lower")
    axes.set_xticks(range(columns), chart.columns, fontsize=7, rotation=20)
    axes.set_yticks(range(rows), chart.rows)
    middle = (np.nanmin(chart.values) + np.nanmax(chart.values)) / 2
    for (row, column), value in np.ndenumerate(chart.values):
        if np.isfinite(value):
            text = f"{number(value)}\n{chart.counts[row, column]}"
            axes.text(
                column, row, text, ha="center", va="center", fontsize=7, color="black" if value > middle else "white"
            )
    figure.colorbar(image, ax=axes)
    return figure
