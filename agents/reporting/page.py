"""Pages that need nothing else: text, tables, and charts that respond."""

import html
import math
import textwrap
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.io import to_html
from plotly.subplots import make_subplots

from agents.reporting.charts import Chart, HeatMap, Intervals, Series
from agents.reporting.estimates import number

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.about, .note { color: #52606d; } .note { font-size: 0.88rem; }
table { border-collapse: collapse; font-size: 0.88rem; margin: 0.6rem 0; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #e4e7eb; white-space: nowrap; }
th { border-bottom: 2px solid #9aa5b1; } td:first-child, th:first-child { text-align: left; }
.scroll { overflow-x: auto; }
"""


def document(title: str, parts: Sequence[str]) -> str:
    """Return a whole page.

    :param parts: of its body, HTML
    """
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def escape(value: object) -> str:
    """Return any value as text that HTML shows as it is."""
    return html.escape(str(value))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table that scrolls where the window is narrow."""
    lines = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def figures(charts: Sequence[Chart | HeatMap | Intervals]) -> list[str]:
    """Return charts with their notes as HTML; the first brings what draws them all."""
    parts = []
    for index, chart in enumerate(charts):
        options = {"div_id": chart.name, "full_html": False, "config": {"responsive": True}}
        parts += [
            to_html(_drawn(chart), include_plotlyjs=index == 0, **options),
            f'<p class="note">{escape(chart.note)}</p>',
        ]
    return parts


def _drawn(chart: Chart | HeatMap | Intervals) -> go.Figure:
    if isinstance(chart, Chart):
        return _figure(chart)
    return _heat_map(chart) if isinstance(chart, HeatMap) else _intervals(chart)


def _figure(chart: Chart) -> go.Figure:
    n = max(len(chart.panels), 1)
    figure = make_subplots(
        rows=1,
        cols=n,
        shared_yaxes=chart.shared_scale,
        horizontal_spacing=0.03 if chart.shared_scale else 0.07,
        subplot_titles=[title for title, _ in chart.panels],
    )
    named: set[str] = set()
    for column, (_, series) in enumerate(chart.panels, start=1):
        for one in series:
            for trace in _traces(one, shown=one.name not in named):
                figure.add_trace(trace, row=1, col=column)
            named.add(one.name)
    figure.update_xaxes(title_text=chart.x_label, type="log" if chart.log_x else "linear")
    if chart.ticks:
        figure.update_xaxes(tickvals=chart.ticks, ticktext=[f"{tick:,.0f}" for tick in chart.ticks])
    figure.update_yaxes(title_text=chart.y_label, col=1)
    figure.update_layout(
        # Below plotly's own buttons and above ours, which in a narrow window it would run into.
        title={"text": chart.title, "font": {"size": 15}, "y": 1, "yanchor": "top", "pad": {"t": 44}},
        height=540,
        template="simple_white",
        hovermode="closest",
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
        updatemenus=[_axis_buttons(n, log_first=chart.log_x)],
        margin={"t": 130},
    )
    return figure


def _axis_buttons(panels: int, log_first: bool) -> dict[str, object]:
    axes = [f"xaxis{index if index > 1 else ''}.type" for index in range(1, panels + 1)]
    buttons = [
        {"label": f"{kind} axis", "method": "relayout", "args": [dict.fromkeys(axes, kind)]}
        for kind in (("log", "linear") if log_first else ("linear", "log"))
    ]
    return {"type": "buttons", "direction": "left", "x": 1.0, "xanchor": "right", "y": 1.16, "buttons": buttons}


def _traces(series: Series, shown: bool) -> list[go.Scatter]:
    common = {"name": _wrapped(series.name, 48), "legendgroup": series.name}
    if not series.line:
        return [_points(series, showlegend=shown, **common)]
    line = go.Scatter(x=series.x, y=series.y, mode="lines", line={"color": series.colour}, showlegend=shown, **common)
    if not series.low:
        return [line]
    band = go.Scatter(
        x=[*series.x, *reversed(series.x)],
        y=[*series.high, *reversed(series.low)],
        mode="lines",
        fill="toself",
        fillcolor=_translucent(series.colour),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        **common,
    )
    return [band, line]


def _points(series: Series, **common: object) -> go.Scatter:
    bars = None
    if series.low != series.high:
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [high - y for high, y in zip(series.high, series.y, strict=True)],
            "arrayminus": [y - low for low, y in zip(series.low, series.y, strict=True)],
            "thickness": 1,
        }
    return go.Scatter(
        x=series.x,
        y=series.y,
        mode="markers",
        marker={"color": series.colour, "symbol": series.marker, "size": 9, "opacity": 0.85},
        error_y=bars,
        text=[escape(text) for text in series.texts],
        hovertemplate="%{text}<extra>%{fullData.name}</extra>" if series.texts else None,
        **common,
    )


def _heat_map(chart: HeatMap) -> go.Figure:
    figure = go.Figure(
        go.Heatmap(
            z=[[None if math.isnan(value) else value for value in row] for row in chart.values.tolist()],
            x=chart.columns,
            y=chart.rows,
            customdata=chart.counts.tolist(),
            text=[
                [f"{number(value)}<br>{count}" if count else "" for value, count in zip(*row, strict=True)]
                for row in zip(chart.values.tolist(), chart.counts.tolist(), strict=True)
            ],
            texttemplate="%{text}",
            hovertemplate="p %{x}, budget %{y}: %{z:,.4~r} over %{customdata} configurations<extra></extra>",
            hoverongaps=False,
            colorscale="Viridis",
        )
    )
    figure.update_layout(
        title=chart.title,
        height=260 + 60 * max(len(chart.rows), 1),
        template="simple_white",
        xaxis={"title": {"text": "hidden proportion"}, "type": "category"},
        yaxis={"title": {"text": "budget"}, "type": "category"},
    )
    return figure


def _intervals(chart: Intervals) -> go.Figure:
    n = len(chart.panels)
    figure = make_subplots(
        rows=1, cols=n, shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=list(chart.panels)
    )
    for column, estimates in enumerate(chart.panels.values(), start=1):
        for label, estimate in estimates.items():
            low, high = estimate.interval or (estimate.value, estimate.value)
            trace = go.Scatter(
                x=[estimate.value],
                y=[_wrapped(label, 32)],
                mode="markers",
                marker={"color": chart.colours[label], "size": 9},
                error_x={
                    "type": "data", "symmetric": False, "array": [high - estimate.value],
                    "arrayminus": [estimate.value - low], "thickness": 2,
                },
                text=[escape(estimate)],
                hovertemplate="%{text}<extra>%{y}</extra>",
                showlegend=False,
            )  # fmt: skip
            figure.add_trace(trace, row=1, col=column)
    names = [_wrapped(label, 32) for label in chart.colours]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1], automargin=True)
    figure.update_xaxes(title_text=chart.x_label)
    figure.update_layout(
        title=chart.title,
        height=190 + 13 * sum(2 + name.count("<br>") for name in names),
        template="simple_white",
        hovermode="closest",
    )
    return figure


def _wrapped(text: str, width: int) -> str:
    return "<br>".join(map(escape, textwrap.wrap(text, width, break_long_words=False)))


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.18)"
