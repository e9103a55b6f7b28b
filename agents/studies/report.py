"""The report of a study, from what the database holds: results.csv, evaluations.csv, figures/ and report.html."""

from collections import Counter
from pathlib import Path

import optuna

from agents.reporting.pictures import draw
from agents.studies.charts import charts_of
from agents.studies.findings import explained, sentences, standings
from agents.studies.ledger import DONE, cell_states
from agents.studies.planning import Plan
from agents.studies.report_page import render
from agents.studies.results import results_of, write_results


def write_report(study: optuna.Study, plan: Plan, folder: Path) -> list[str]:
    """Write the report into a folder and return the findings as sentences.

    :raises OSError: if the folder cannot be written
    """
    states = cell_states(plan, study.get_trials(deepcopy=False))
    results = results_of(states)
    definition = plan.definition
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    write_results(results, folder)
    found, explanations = standings(results), explained(results)
    charts = charts_of(results, found, definition.score)
    for chart in charts:
        draw(chart, folder / "figures")
    said = sentences(found, explanations, definition.score)
    counts = Counter(state.status for state in states)
    done = sum(counts[status] for status in DONE)
    progress = f"{done} of {len(states)} cells are done"
    if counts["pruned"]:
        progress += f", {counts['pruned']} of them pruned"
    if counts["failed"]:
        progress += f"; {counts['failed']} failed"
    infeasible = list(plan.infeasible.items())
    infeasible += [
        (state.cell.id, str(state.trial.user_attrs["infeasible"]))
        for state in states
        if state.status == "infeasible" and state.trial is not None
    ]
    failed = [(state.cell.id, state.trouble) for state in states if state.status == "failed"]
    page = render(definition, said, found, explanations, charts, f"{progress}.", infeasible, failed)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return [f"{progress}.", *said]
