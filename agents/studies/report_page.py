"""The report as one HTML page that needs nothing else: text, tables, and charts that respond."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import plotly.graph_objects as go
from plotly.io import to_html
from plotly.subplots import make_subplots

from agents.studies.charts import Chart, HeatMap, Series
from agents.studies.definition import StudyDefinition
from agents.studies.findings import BASELINES, Estimate, Explained, Standing, number
from policies.network.architectures import ARCHITECTURES

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.about, .note { color: #52606d; } .note { font-size: 0.88rem; }
table { border-collapse: collapse; font-size: 0.88rem; margin: 0.6rem 0; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #e4e7eb; white-space: nowrap; }
th { border-bottom: 2px solid #9aa5b1; } td:first-child, th:first-child { text-align: left; }
.scroll { overflow-x: auto; }
"""
_BEST: Mapping[str, Callable[[Standing], object]] = {
    "configuration": lambda standing: standing.best[0].configuration,
    "p": lambda standing: f"{standing.best[0].hidden_proportion:.3g}",
    "n_h": lambda standing: f"{standing.best[0].network['n_hidden']:,}",
    "seeds": lambda standing: len(standing.best),
    "mean": lambda standing: standing.best_mean,
    "IQM": lambda standing: standing.best_iqm,
}
_OVERALL: Mapping[str, Callable[[Standing], object]] = {
    "configurations": lambda standing: standing.n_configurations,
    "runs": lambda standing: len(standing.runs),
    "IQM": lambda standing: standing.overall_iqm,
}


def render(
    definition: StudyDefinition,
    said: Sequence[str],
    standings: Sequence[Standing],
    explanations: Sequence[Explained],
    charts: Sequence[Chart | HeatMap],
    progress: str,
    infeasible: Sequence[tuple[str, str]],
    failed: Sequence[tuple[str, str]],
) -> str:
    """Return the page.

    :param said: the findings as sentences
    :param progress: how far the study is
    :param infeasible: configuration and why no network fits it
    :param failed: cell and why it failed
    """
    score = definition.score.replace("_", " ")
    parts = [
        f"<h1>Study {_escape(definition.name)}</h1>",
        f'<p class="about">{_escape(definition.env)}, score: {_escape(score)} of the final '
        f"policy over fresh episodes. {_escape(progress)} {datetime.now():%Y-%m-%d %H:%M}.</p>",
        "<h2>Findings</h2>",
        *(f"<p>{_escape(sentence)}</p>" for sentence in said or ["No cell is complete yet."]),
        "<h2>The best configuration of each architecture</h2>",
        _standings_table(standings, _BEST, lambda standing: standing.improvement),
        '<p class="note">The best has the highest mean final score over its seeds. It is chosen by the scores shown, '
        "which flatters it, the more so the more configurations there are. Intervals: 95 % percentile bootstrap over "
        "seeds; one seed has none. IQM: interquartile mean. P(&gt; …): probability that a run scores above a run of "
        "that architecture's best configuration, ties half (arXiv 2108.13264).</p>",
        "<h2>All configurations of each architecture</h2>",
        _standings_table(standings, _OVERALL, lambda standing: standing.overall_improvement),
        '<p class="note">The same over the runs of all configurations, which are what the bootstrap draws.</p>',
        "<h2>How much the hidden proportion explains</h2>",
        _explained_table(explanations),
        '<p class="note">R² of linear models by 5-fold cross-validation over configurations, all seeds of one in the '
        "same fold, mean over 20 random partitions. 0 is as good as the mean score of the other folds; below 0 the "
        "model misleads, as where a few networks lie far from all others or parameters are many and networks few. "
        "Networks of six blocks alone.</p>",
        "<h2>Figures</h2>",
    ]
    for index, chart in enumerate(charts):
        figure = _heat_map(chart) if isinstance(chart, HeatMap) else _figure(chart)
        options = {"div_id": chart.name, "full_html": False, "config": {"responsive": True}}
        parts += [
            to_html(figure, include_plotlyjs=index == 0, **options),
            f'<p class="note">{_escape(chart.note)}</p>',
        ]
    if infeasible:
        parts += ["<h2>Infeasible configurations, not run</h2>", _table(("configuration", "why"), infeasible)]
    if failed:
        parts += ["<h2>Cells that failed</h2>", _table(("cell", "why"), failed)]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Study {_escape(definition.name)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _standings_table(
    standings: Sequence[Standing],
    columns: Mapping[str, Callable[[Standing], object]],
    improvement: Callable[[Standing], Mapping[str, Estimate]],
) -> str:
    """Return a table with a row for each architecture at each budget.

    :param columns: title -> what of the row
    :param improvement: of the row over each baseline
    """
    compared = [other for other in BASELINES if any(other in improvement(standing) for standing in standings)]
    header = ["budget and architecture", *columns, *(f"P(> {ARCHITECTURES[other].title})" for other in compared)]
    rows = [
        [
            f"{standing.budget:,} {standing.title}",
            *(column(standing) for column in columns.values()),
            *(improvement(standing).get(other, "") for other in compared),
        ]
        for standing in standings
    ]
    return _table(header, rows)


def _explained_table(explanations: Sequence[Explained]) -> str:
    header = ("budget and group", "configurations", "p + p²", "log n_h and six densities", "all of them")
    rows = [
        (
            f"{part.budget:,} {part.group}",
            part.n_configurations,
            *("too few" if r2 is None else f"{r2:.2f}" for r2 in (part.proportion, part.size, part.both)),
        )
        for part in explanations
    ]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{_escape(name)}</th>" for name in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{_escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def _figure(chart: Chart) -> go.Figure:
    n = max(len(chart.panels), 1)
    figure = make_subplots(
        rows=1, cols=n, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=[title for title, _ in chart.panels]
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
        title=chart.title,
        height=500,
        template="simple_white",
        hovermode="closest",
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
        updatemenus=[_axis_buttons(n, log_first=chart.log_x)],
        margin={"t": 90},
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
    common = {"name": series.name, "legendgroup": series.name}
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
        text=[_escape(text) for text in series.texts],
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


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.18)"


def _escape(value: object) -> str:
    return html.escape(str(value))
