"""The studies' files: each can be planned, or lacks data that come from elsewhere."""

from pathlib import Path

import pytest
from data_files import ROOT

from agents.studies.definition import read_study
from agents.studies.planning import plan_study
from policies.refusal import Refusal

STUDIES = sorted((ROOT / "benchmarks").glob("s*/*.yaml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_study_can_be_planned(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        plan = plan_study(read_study(file))
    except Refusal as refused:
        assert "source='" in str(refused)
        return
    assert plan.cells
