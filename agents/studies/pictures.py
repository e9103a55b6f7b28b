"""The charts of a report as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from agents.studies.charts import Chart, HeatMap, Series
from agents.studies.findings import number

_MARKERS = {"circle": "o", "triangle-up": "^", "square": "s", "diamond": "D", "cross": "P", "star": "*"}


def draw(chart: Chart | HeatMap, folder: Path) -> Path:
    """Draw a chart into a folder and return its file."""
    figure = _heat_map(chart) if isinstance(chart, HeatMap) else _chart(chart)
    file = folder / f"{chart.name}.png"
    figure.savefig(file)
    return file


def _chart(chart: Chart) -> Figure:
    n = max(len(chart.panels), 1)
    figure = Figure(figsize=(min(2.2 + 4.4 * n, 16), 4.4), dpi=110, layout="constrained")
    panels = figure.subplots(1, n, squeeze=False, sharey=True)[0]
    handles: dict[str, Any] = {}
    for axes, (title, series) in zip(panels, chart.panels, strict=False):
        handles = draw_panel(axes, chart, title, series) | handles
    panels[0].set_ylabel(chart.y_label)
    if handles:
        figure.legend(handles.values(), handles, fontsize=8, loc="outside lower center", ncols=3)
    figure.suptitle(chart.title, fontsize=11)
    return figure


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
