"""Checkpoints evaluated as their policies were, and the table of what wins after how many steps."""

import dataclasses
from pathlib import Path

import pytest
from test_learned_proportion import result

from agents.configuration import configure
from agents.training import train
from benchmarks import training_length
from benchmarks.training_length import evaluate_checkpoints, read_checkpoints, report

SMALL = {
    "env_arguments": {"image_size": 8, "sequence_length": 4},
    "budget": 2_000,
    "total_timesteps": 3 * 160,
    "n_envs": 32,
    "n_steps": 5,
    "batch_size": 40,
    "eval_every": 160,
    "eval_episodes": 64,
    "final_episodes": 256,
    "checkpoint_every": 160,
    "progress": False,
}


def test_checkpoints_are_evaluated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = train(configure("RandomAnomaly-v0", **SMALL, log_dir=str(tmp_path / "runs"), run_name="cell"))
    for name, value in {
        "STUDY": tmp_path,
        "CHECKPOINTS": tmp_path / "c.csv",
        "STEPS": (300, 480),
        "EPISODES": 256,
    }.items():
        monkeypatch.setattr(training_length, name, value)
    evaluate_checkpoints(tmp_path / "runs")
    found = read_checkpoints()
    assert found.keys() == {("cell", 300), ("cell", 480)}
    # The policy of the last checkpoint is the final one, over the same episodes of the test split.
    assert found["cell", 480] == done.final.success_rate
    before = (tmp_path / "c.csv").read_text()
    evaluate_checkpoints(tmp_path / "runs")
    assert (tmp_path / "c.csv").read_text() == before


def test_table_and_picture() -> None:
    def run(trial: int, p: float, scores: tuple[float, ...]):
        made = result(trial, p, scores[-1])
        evaluations = tuple({"steps": 2_000_000 * i, "success_rate": score} for i, score in enumerate(scores, 1))
        parameters = dict(made.hyperparameters) | {"env": "RandomAnomaly-v0", "env_arguments": {}, "demos": None}
        return dataclasses.replace(made, evaluations=evaluations, hyperparameters=parameters, seconds=600.0)

    results = [run(0, 0.5, (0.4, 0.5, 0.6)), run(1, 0.5, (0.3, 0.46, 0.58)), run(2, 0.1, (0.1, 0.1, 0.2))]
    table, figure = report(results, {("cell-0", 1_200_000): 0.31, ("cell-1", 1_200_000): 0.29})
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert rows[0][4:] == ["after 1.2 M", "after 3 M", "after 6 M", "first at 0.45"]
    assert rows[2][0] == "varied, p = 0.1"
    assert rows[2][4:] == ["", "", "0.2", "never"]
    assert rows[3][4].startswith("0.3")
    assert rows[3][5] == ""
    assert rows[3][7] == "4.0 M, 400 s"
    assert [line.get_label() for line in figure.axes[0].get_lines()][:2] == ["varied, p = 0.1", "varied, p = 0.5"]
