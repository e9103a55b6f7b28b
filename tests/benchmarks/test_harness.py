import json
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from benchmarks import harness


@pytest.fixture
def readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "README.md"
    page.write_text("# Benchmarks\n\nIntroduction.\n")
    monkeypatch.setattr(harness, "README", page)
    return page


def test_alternate_measures_the_contenders_in_turn() -> None:
    order: list[str] = []

    def measurement(name: str) -> float:
        order.append(name)
        return float(len(order))

    figures = harness.alternate({name: lambda name=name: measurement(name) for name in "ab"}, rounds=3)  # type: ignore[misc]
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert figures == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}


def test_median_ratio_pairs_the_rounds() -> None:
    # The ratio of the medians would be 30 / 20 = 1.5.
    assert harness.median_ratio([10.0, 30.0, 90.0], [20.0, 10.0, 90.0]) == 1.0


def test_median_ratio_refuses_unequal_rounds() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        harness.median_ratio([1.0, 2.0], [1.0])


def test_markdown_table_aligns_figures_right() -> None:
    assert harness.markdown_table(("contender", "ms"), [("ours", 1.5), ("theirs", "20")]).splitlines() == [
        "| contender | ms |",
        "| --- | ---: |",
        "| ours | 1.5 |",
        "| theirs | 20 |",
    ]


def test_columns_of_a_table_may_share_a_title() -> None:
    table = harness.tabulate((1, 2), ("n", lambda n: n), ("target", lambda n: f"≤ {n}"), ("target", lambda n: f"≥ {n}"))
    assert table.splitlines()[0] == "| n | target | target |"
    assert table.splitlines()[2:] == ["| 1 | ≤ 1 | ≥ 1 |", "| 2 | ≤ 2 | ≥ 2 |"]


def test_seconds_sets_the_threads_for_the_work_alone() -> None:
    before, during = torch.get_num_threads(), []
    mean = harness.seconds(lambda: during.append(torch.get_num_threads()), repeats=3, threads=before + 1)
    assert during == [before + 1] * 3
    assert torch.get_num_threads() == before
    assert mean >= 0


def small_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *options: str) -> dict[str, int]:
    """Run a benchmark of two kinds of rounds, and return how many of each it was asked for."""
    asked: dict[str, int] = {}

    def measure(**rounds: int) -> harness.Finding:
        asked.update(rounds)
        pictures = {tmp_path / "figures" / "ms.png": Figure()}
        return harness.Finding({"ms": [1.5]}, ["Table.", "Notes."], pictures, packages=("onnx",))

    monkeypatch.setattr("sys.argv", ["small_one", *options])
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    more = {"slow_rounds": "rounds of the slow one"}
    harness.run_benchmark("small_one", "A small one", "It measures.", measure, rounds=3, more_rounds=more)
    return asked


def test_benchmark_writes_figures_picture_and_section(
    readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small_benchmark(monkeypatch, tmp_path, "--slow-rounds", "1") == {"rounds": 3, "slow_rounds": 1}
    result = json.loads((tmp_path / "results" / "small_one.json").read_text())
    assert list(result) == ["machine", "rounds", "slow_rounds", "ms"]
    assert "onnx" in result["machine"]
    assert (tmp_path / "figures" / "ms.png").stat().st_size > 0
    assert readme.read_text().endswith(
        "<!-- begin small one -->\n### A small one\n\n`python -m benchmarks.small_one --rounds 3 --slow-rounds 1`\n\n"
        f"Table.\n\nNotes. {harness.describe(result['machine'])}\n<!-- end small one -->\n"
    )


def test_benchmark_only_prints_if_told_so(
    readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = readme.read_text()
    assert small_benchmark(monkeypatch, tmp_path, "--rounds", "2", "--no-write") == {"rounds": 2, "slow_rounds": 2}
    assert "Table." in capsys.readouterr().out
    assert readme.read_text() == before
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "figures").exists()


def test_write_section_appends_a_new_section(readme: Path) -> None:
    harness.write_section("layer", "\nTable one.\n")
    assert readme.read_text() == (
        "# Benchmarks\n\nIntroduction.\n\n<!-- begin layer -->\nTable one.\n<!-- end layer -->\n"
    )


def test_write_section_replaces_its_own_section_alone(readme: Path) -> None:
    for name in ("layer", "layer speed", "scaling"):
        harness.write_section(name, f"Old {name}.")
    before = readme.read_text()
    harness.write_section("layer speed", "New.")
    assert readme.read_text() == before.replace("Old layer speed.", "New.")
    harness.write_section("layer speed", "New.")
    assert readme.read_text().count("New.") == 1


def test_write_result_makes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    content = {"machine": harness.machine(), "rounds": 1, "figures": {"ours": [0.5]}}
    harness.write_result("layer", content)
    assert json.loads((tmp_path / "results" / "layer.json").read_text()) == content


def test_description_names_the_machine_and_the_versions() -> None:
    facts = harness.machine()
    line = harness.describe(facts)
    assert "\n" not in line
    for expected in (facts["processor"], f"{facts['threads']} threads", f"torch {facts['torch']}"):
        assert expected in line
