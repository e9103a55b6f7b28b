"""The report of a study as one page."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from agents.reporting.charts import Chart, HeatMap
from agents.reporting.estimates import Estimate
from agents.reporting.page import document, escape, figures, table
from agents.studies.definition import StudyDefinition
from agents.studies.findings import BASELINES, Explained, Standing
from policies.network.architectures import ARCHITECTURES

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
        f"<h1>Study {escape(definition.name)}</h1>",
        f'<p class="about">{escape(definition.env)}, score: {escape(score)} of the final '
        f"policy over fresh episodes. {escape(progress)} {datetime.now():%Y-%m-%d %H:%M}.</p>",
        "<h2>Findings</h2>",
        *(f"<p>{escape(sentence)}</p>" for sentence in said or ["No cell is complete yet."]),
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
        *figures(charts),
    ]
    if infeasible:
        parts += ["<h2>Infeasible configurations, not run</h2>", table(("configuration", "why"), infeasible)]
    if failed:
        parts += ["<h2>Cells that failed</h2>", table(("cell", "why"), failed)]
    return document(f"Study {definition.name}", parts)


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
    return table(header, rows)


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
    return table(header, rows)
