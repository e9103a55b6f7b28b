"""A study that goes on from a report: what is known is not trained again, and the next report has it unchanged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.studies.definition import read_study
from agents.studies.known_results import known_results
from agents.studies.ledger import CellState
from agents.studies.planning import plan_study
from agents.studies.results import read_results, results_of, write_results
from agents.studies.worker import StudyAccess, Worker
from policies.refusal import Refusal

STUDY = """
name: tiny
env: CartPole-v1
seeds: [0]
options: {budget: 300, total_timesteps: 128, n_envs: 4, n_steps: 16, batch_size: 64, n_epochs: 1, eval_every: 64,
          eval_episodes: 1, env_arguments: {sutton_barto_reward: true}}
groups:
  proportions: {sampler: grid, parameters: {hidden_proportion: [0.3, 0.6]}}
  gated: {sampler: grid, parameters: {architecture: [lstm]}}
"""


def access(folder: Path, text: str = STUDY) -> StudyAccess:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(text)
    return StudyAccess(plan_study(read_study(folder / "tiny.yaml")), folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    write_results(results_of(Worker(access(folder)).run()), folder)
    return folder


def refuse_to_train() -> Callable[[], None]:
    """Return a worker's check that lets it look at the study and leave, but not take a step."""
    looks = iter([None])

    def check() -> None:
        next(looks)

    return check


def statuses(states: list[CellState]) -> list[str]:
    return [state.status for state in states]


def test_a_study_known_whole_trains_nothing_and_reports_the_same(tmp_path: Path, report: Path) -> None:
    opened = access(tmp_path)
    assert opened.adopt(known_results(report)) == []
    states = Worker(opened, check=refuse_to_train()).run()
    assert statuses(states) == ["complete"] * 3
    write_results(results_of(states), tmp_path)
    assert read_results(tmp_path) == read_results(report)
    assert opened.adopt(known_results(report)) == []
    assert len(opened.study.get_trials()) == 3


def test_what_the_report_lacks_is_trained(tmp_path: Path, report: Path) -> None:
    opened = access(tmp_path, STUDY.replace("[0]", "[0, 1]"))
    assert opened.adopt(known_results(report)) == []
    assert statuses(opened.enqueue()) == ["complete"] * 3 + ["waiting"] * 3


def test_results_of_another_configuration_do_not_count_and_are_named(tmp_path: Path, report: Path) -> None:
    opened = access(tmp_path, STUDY.replace("[0.3, 0.6]", "[0.3, 0.7]").replace("[lstm]", "[gru]"))
    proportion, gated = opened.adopt(known_results(report))
    assert proportion == (
        "proportions-0001-seed0 was trained with hidden_proportion 0.6 where the study has 0.7: it is trained again"
    )
    assert gated.startswith("gated-0000-seed0 was trained with architecture 'lstm' where the study has 'gru'")
    assert statuses(opened.enqueue()) == ["complete", "waiting", "waiting"]


def test_results_of_cells_that_are_not_planned_are_named(tmp_path: Path, report: Path) -> None:
    opened = access(tmp_path, STUDY.replace("gated:", "others:"))
    assert opened.adopt(known_results(report)) == ["gated-0000-seed0 is no cell that this study plans"]


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="known .* is no folder of a report: No such file"):
        known_results(tmp_path)
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Refusal, match="are none that sweep.py report wrote: KeyError 'cell'"):
        known_results(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "column missing", "more columns", "twice", "long"])
@pytest.mark.parametrize("table", ["results.csv", "evaluations.csv"])
def test_a_damaged_report_is_one_line(table: str, damage: str, tmp_path: Path, report: Path) -> None:
    for file in report.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    header, *rows = (tmp_path / table).read_text().splitlines()
    damaged = {
        "truncated": [header, *rows[:-1], rows[-1][: len(rows[-1]) // 3]],
        "column missing": [header.replace("cell", "cells"), *rows],
        "more columns": [header, *(f"{row},1" for row in rows)],
        "twice": [header, *rows, *rows],
        "long": [header, f"{'1' * 200_000}{rows[0]}"],
    }
    (tmp_path / table).write_text("\n".join(damaged[damage]))
    with pytest.raises(Refusal, match="its tables are none that sweep.py report wrote: ") as refused:
        known_results(tmp_path)
    assert "\n" not in str(refused.value)
