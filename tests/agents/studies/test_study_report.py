"""The report of a study whose scores follow a known law: the table, the figures, and a page that responds."""

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
import optuna
import pytest
from browser import in_chromium, needs_chromium
from data_files import ROOT
from optuna.trial import TrialState

from agents.studies.charts import charts_of
from agents.studies.definition import read_study
from agents.studies.findings import explained, sentences, standings
from agents.studies.ledger import cell_states, enqueue_missing
from agents.studies.planning import NetworkPlanner, Plan, plan_study
from agents.studies.report import write_report
from agents.studies.results import read_results, results_of
from agents.studies.worker import described_networks
from policies.gru_policy import GruSpecification
from policies.network.architectures import ARCHITECTURES
from policies.network.specification import BLOCKS

STUDY = """
env: CartPole-v1
seeds: [0, 1]
groups:
  drawn: {sampler: random, trials: 16, parameters: {budget: [500, 2000], hidden_proportion: {uniform: [0.1, 0.9]}}}
  densities: {sampler: random, trials: 10, parameters: {budget: [500, 2000], densities: {uniform: [0.1, 1]}}}
  baselines: {sampler: grid, parameters: {budget: [500, 2000], architecture: [dense, lstm, gru]}}
  impossible: {sampler: grid, parameters: {hidden_proportion: [0.99], budget: [500]}}
"""


def law(p: float, seed: int) -> float:
    return 100 - 200 * (p - 0.5) ** 2 + seed


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[optuna.Study, Plan, Path, list[str]]:
    folder = tmp_path_factory.mktemp("report")
    (folder / "law.yaml").write_text(STUDY)
    plan = plan_study(read_study(folder / "law.yaml"))
    study = optuna.create_study(direction="maximize", storage=optuna.storages.InMemoryStorage())
    enqueue_missing(study, plan)
    planner = NetworkPlanner()
    for number, cell in enumerate(plan.cells):
        trial = study.ask()
        assert trial.number == number
        networks = planner.networks(plan.configuration(cell, cell.parameters))
        score = law(networks.actor.hidden_proportion, cell.seed)
        for step in (1000, 2000):
            trial.report(score * step / 2000, step)
        if number == 7:  # one fails, the next dies and is run again
            trial.set_user_attr("error", "OSError: no space left on device")
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.set_user_attr("network", described_networks(networks))
        curve = [{"steps": step, "mean_return": score * step / 2000, "mean_length": 9.0} for step in (1000, 2000)]
        final = {"episodes": 3, "mean_return": score, "success_rate": None}
        outcome = {"final_score": score, "best_score": score + 1, "seconds": 12.5, "final": final, "curve": curve}
        trial.set_user_attr("outcome", outcome)
        if number == 8:
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, score)
    enqueue_missing(study, plan)
    again = study.ask()
    assert again.user_attrs["attempt"] == 2
    for name, value in study.trials[8].user_attrs.items():
        if name in ("network", "outcome"):
            again.set_user_attr(name, value)
    for step, score in study.trials[8].intermediate_values.items():
        again.report(score, step)
    study.tell(again, study.trials[8].user_attrs["outcome"]["final_score"])
    return study, plan, folder / "out", write_report(study, plan, folder / "out")


def test_table_has_a_row_per_cell(reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    study, plan, folder, _ = reported
    with (folder / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["cell"] for row in rows) == sorted(cell.id for cell in plan.cells)
    assert [row["status"] for row in rows].count("failed") == 1
    by_cell = {row["cell"]: row for row in rows}
    cell = plan.cells[8]
    again = by_cell[cell.id]
    assert (again["attempt"], again["status"], again["trial"]) == ("2", "complete", str(len(plan.cells)))
    for row in rows:
        if row["status"] == "failed":
            assert row["final_score"] == ""
            continue
        assert float(row["final_score"]) == law(float(row["realized_hidden_proportion"]), int(row["seed"]))
        weights = [int(row[name]) for name in row if name.startswith("weights_") and row[name]]
        assert sum(weights) == int(row["total_weights"])
        assert row["total_timesteps"] == "300000"
        gated = row["architecture"] in ("lstm", "gru")
        assert [name for name in row if name.startswith("weights_") and row[name]] == [
            f"weights_{block}" for block in (GruSpecification.blocks if gated else BLOCKS)
        ]
        assert gated or 0 < float(row["density_hh"]) <= 1
        assert float(row["seconds"]) == 12.5


def test_results_are_read_back(reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    study, plan, folder, _ = reported
    written = [result for result in results_of(cell_states(plan, study.get_trials())) if result.status == "complete"]
    read = [result for result in read_results(folder) if result.status == "complete"]
    assert len(read) == len(plan.cells) - 1
    for before, after in zip(written, read, strict=True):
        assert before.final == after.final | {"success_rate": None}
        assert dataclasses.replace(before, final=after.final) == after
        assert [point["mean_length"] for point in after.evaluations] == [9.0, 9.0]


def test_committed_study_says_what_is_published() -> None:
    whole, *_ = explained(read_results(ROOT / "benchmarks" / "studies" / "random_anomaly"))
    assert (whole.budget, whole.group, whole.n_configurations) == (100_000, "all", 62)
    assert (whole.proportion, whole.size) == pytest.approx((0.81, 0.74), abs=0.005)


def test_findings_state_the_law(reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    study, plan, _, said = reported
    results = results_of(cell_states(plan, study.get_trials()))
    for part in explained(results):
        assert part.proportion is not None
        assert part.proportion > 0.99
    whole = [part for part in explained(results) if part.group == "all"]
    assert [part.budget for part in whole] == [500, 2000]
    assert all(part.size is not None and part.size < 0.95 for part in whole)
    assert all(part.both is not None and part.both > 0.98 for part in whole)
    best = {(s.architecture, s.budget): s for s in standings(results)}
    for budget in (500, 2000):
        varied = best["varied", budget]
        runs = [r for r in results if r.budget == budget and r.architecture == "varied" and r.status == "complete"]
        means = {}
        for run in runs:
            means.setdefault(run.configuration, []).append(run.score)
        assert varied.best_mean.value == max(np.mean(scores) for scores in means.values())
        assert varied.best_mean.interval == (varied.best[0].score, varied.best[1].score)
        assert varied.improvement["dense"].value == 1.0
        assert "dense" not in best["dense", budget].improvement
    assert said[0] == f"{len(plan.cells) - 1} of {len(plan.cells)} cells are done; 1 failed."
    text = " ".join(said)
    assert "With 500 weights varied sparsity is best" in text
    assert "chosen by the very scores" in text
    assert re.search(
        r"With 2,000 weights, over 2\d configurations, the hidden proportion alone \(p \+ p²\) explains", text
    )


def test_nothing_done_yet_is_reported_too(tmp_path: Path, reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    _, plan, _, _ = reported
    study = optuna.create_study()
    enqueue_missing(study, plan)
    assert write_report(study, plan, tmp_path) == [f"0 of {len(plan.cells)} cells are done."]
    assert "No cell is complete yet" in (tmp_path / "report.html").read_text()
    assert sentences([], [], "mean_return") == []


def test_pictures(reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    figures = sorted((reported[2] / "figures").iterdir())
    assert [figure.stem for figure in figures] == [
        "learning_curves",
        "proportion_by_budget",
        "score_by_budget",
        "score_by_hidden_proportion",
    ]
    assert all(figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size > 10_000 for figure in figures)


def test_every_architecture_has_its_row_and_colour(reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    study, plan, folder, _ = reported
    results = results_of(cell_states(plan, study.get_trials()))
    found = standings(results)
    ran = ["varied", "dense", "lstm", "gru"]
    assert [standing.architecture for standing in found] == 2 * ran
    gru = found[3]
    assert set(gru.improvement) == {"dense", "lstm"}
    page = (folder / "report.html").read_text()
    assert f"<td>500 GRU</td><td>{gru.best[0].configuration}</td>" in page
    charts = {chart.name: chart for chart in charts_of(results, found, "mean_return")}
    ((_, series),) = charts["score_by_budget"].panels
    assert [(one.name, one.colour) for one in series] == [
        (ARCHITECTURES[name].title, ARCHITECTURES[name].colour) for name in ran
    ]
    six_blocks = {result.configuration for result in results if result.budget == 500 and result.has_six_blocks}
    assert charts["proportion_by_budget"].counts[0].sum() == len(six_blocks)


def test_one_evaluation_makes_no_curve(reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    """A study of imitation alone evaluates each network once."""
    study, plan, _, _ = reported
    results = results_of(cell_states(plan, study.get_trials()))
    single = [dataclasses.replace(result, curve=result.curve[:1]) for result in results]
    names = [chart.name for chart in charts_of(single, standings(single), "mean_return")]
    assert names == ["score_by_hidden_proportion", "score_by_budget", "proportion_by_budget"]


def test_page_needs_nothing_else(reported: tuple[optuna.Study, Plan, Path, list[str]]) -> None:
    page = (reported[2] / "report.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert page.count('class="plotly-graph-div"') == 4
    assert "impossible-0000" in page
    for sentence in reported[3][1:]:
        assert sentence.replace("&", "&amp;") in page


PROBE = """
<pre id="probe">nothing</pre>
<script>
window.addEventListener("load", () => setTimeout(async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const chart = document.getElementById("score_by_hidden_proportion");
  chart.scrollIntoView();
  await wait(300);
  const shown = () => chart._fullData.filter((trace) => trace.visible === true).length;
  const before = shown();
  const found = [];
  // Hover over the first point.
  const point = chart.querySelector(".scatterlayer .trace .points path").getBoundingClientRect();
  const at = {clientX: point.x + point.width / 2, clientY: point.y + point.height / 2, bubbles: true};
  chart.querySelector(".nsewdrag").dispatchEvent(new MouseEvent("mousemove", at));
  await wait(300);
  found.push("hover: " + (chart.querySelector(".hoverlayer .hovertext")?.textContent ?? "none"));
  // Click the first entry of the legend.
  const entry = chart.querySelector(".legendtoggle");
  for (const kind of ["mousedown", "mouseup"]) entry.dispatchEvent(new MouseEvent(kind, {bubbles: true}));
  await wait(1000);
  found.push("legend: " + before + " to " + shown());
  // Press the button of the other axis.
  const axis = chart._fullLayout.xaxis.type;
  const button = chart.querySelectorAll(".updatemenu-button")[1];
  button.dispatchEvent(new MouseEvent("click", {bubbles: true}));
  await wait(500);
  found.push("axis: " + axis + " to " + chart._fullLayout.xaxis.type);
  document.getElementById("probe").textContent = found.join("; ");
}, 500));
</script>
"""


@needs_chromium
def test_charts_respond_in_a_browser(reported: tuple[optuna.Study, Plan, Path, list[str]], tmp_path: Path) -> None:
    page = tmp_path / "probed.html"
    page.write_text((reported[2] / "report.html").read_text().replace("</body>", PROBE + "</body>"))
    dom = in_chromium(["--virtual-time-budget=20000", "--dump-dom", page.as_uri()], tmp_path)
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom)
    assert found
    hover, legend, axis = found.group(1).split("; ")
    assert re.search(r"drawn-\d{4}: p = 0\.\d+", hover)
    before, after = (int(number) for number in re.findall(r"\d+", legend))
    assert after == before - 2  # the group stands in the panels of both budgets
    assert axis == "axis: linear to log"
