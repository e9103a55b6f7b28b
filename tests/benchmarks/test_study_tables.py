"""The tables of finished studies, from their committed results."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from data_files import ROOT

from agents.studies.charts import Chart
from agents.studies.results import read_results
from benchmarks import study_tables


@pytest.mark.parametrize("name", study_tables.REPORTS)
def test_readme_shows_what_the_results_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []
    draw = study_tables.draw

    def elsewhere(charts: Sequence[Chart], file: Path) -> None:
        drawn.append(tmp_path / file.name)
        draw(charts, drawn[-1])

    monkeypatch.setattr(study_tables, "draw", elsewhere)
    section = f"<!-- begin {name} -->\n{study_tables.report(name)}\n<!-- end {name} -->"
    assert section in (ROOT / "benchmarks" / "README.md").read_text()
    assert len(drawn) == (study_tables.REPORTS[name][1] is not None)
    assert all(file.stat().st_size > 30_000 for file in drawn)


def test_interval_is_over_runs_or_over_the_episodes_of_one() -> None:
    runs = [run for run in read_results(ROOT / "benchmarks" / "studies" / "random_anomaly_digits")
            if run.architecture == "dense"]  # fmt: skip
    low, high = study_tables.interval(runs)
    assert (low, high) == (min(run.score for run in runs), max(run.score for run in runs))
    # 0.4432 ± 1.96 √(0.4432 · 0.5568 / 5120)
    assert study_tables.interval(runs[:1]) == pytest.approx((0.4296, 0.4568), abs=1e-3)
