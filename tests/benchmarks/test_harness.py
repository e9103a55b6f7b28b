import json
from pathlib import Path

import pytest

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
