"""The same seed gives the same run as before, bit by bit."""

import json
from pathlib import Path

import pytest

from tests.same_runs import RECORDS, RUNS, check, figures_of, train


@pytest.mark.parametrize("name", RUNS)
def test_same_seed_gives_the_recorded_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = json.loads(RECORDS.read_text())
    check(figures_of(train(name, tmp_path, monkeypatch)), records["runs"][name], records["machine"])
