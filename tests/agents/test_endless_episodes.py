"""Episodes that do not end: an evaluation counts what it has seen of them, says so, and nothing trained is lost."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import strange_environments

from agents import evaluation
from agents.configuration import configure
from agents.evaluation import play_episodes
from agents.resumption.checkpoint import checkpoint_files
from agents.resumption.options import configuration_to_resume
from agents.runs.folder import RunFolder
from agents.studies.definition import read_study
from agents.studies.planning import plan_study
from agents.studies.results import read_results, results_of, write_results
from agents.studies.worker import StudyAccess, Worker
from agents.trained import recording
from agents.trained.policy import load_trained_policy
from agents.trained.recording import record
from agents.trained.report import evaluate_policy
from agents.training import TrainingResult, train
from envs.vectorized.make import make_vec_env
from policies.refusal import Refusal

MakeRun = Callable[..., Path]
SHORT: dict[str, Any] = {
    "n_envs": 2,
    "n_steps": 16,
    "batch_size": 32,
    "n_epochs": 1,
    "budget": 200,
    "total_timesteps": 64,
    "eval_every": 32,
    "eval_episodes": 3,
    "progress": False,
    "run_name": "run",
}


class Still:
    """A policy."""

    def predict(
        self, observation: np.ndarray, state: Any, episode_start: np.ndarray, deterministic: bool = True
    ) -> Any:
        return np.zeros(len(observation), int), None


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (evaluation, recording):
        monkeypatch.setattr(module, "LONGEST_EPISODE", 12)


def train_for_ever(folder: Path, **options: Any) -> TrainingResult:
    arguments = {"habit": "endless"}
    return train(configure("Strange-v0", **{**SHORT, "env_arguments": arguments, "log_dir": str(folder), **options}))


@pytest.mark.parametrize("vectorization", ["serial", "threads", "processes", "batched"])
def test_those_that_end_count_as_ever(vectorization: str) -> None:
    arguments = {"habit": "endless", "seed": 8}
    environments = make_vec_env(
        "Strange-v0", arguments=arguments, n_envs=2, seed=0, vectorization=vectorization, training=False
    )
    try:
        found = evaluation.evaluate(Still(), environments, episodes=5, first_seed=7)
        played = play_episodes(Still(), environments, episodes=5, first_seed=7, keep=5)
    finally:
        environments.close()
    np.testing.assert_array_equal(found.returns, [5, 12, 5, 5, 5])
    np.testing.assert_array_equal(found.lengths, [5, 12, 5, 5, 5])
    assert (found.cut, found.summary()["cut_episodes"]) == (1, 1)
    assert [episode.over for episode in played] == [True, False, True, True, True]
    assert [len(episode.actions) for episode in played] == [5, 12, 5, 5, 5]


def test_a_training_keeps_all_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = train_for_ever(tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("warning: 3 of 3 episodes of an evaluation were not over after 12 steps")
    assert "--env-arg max_episode_steps=N" in said[0]
    record = json.loads((result.path / "result.json").read_text())
    for summary in (record["final"], record["best"], *record["curve"]):
        assert (summary["cut_episodes"], summary["mean_return"], summary["mean_length"]) == (3, 12.0, 12.0)
    assert (result.path / "final" / "policy.safetensors").is_file()
    rows = list(csv.DictReader((result.path / "progress.csv").open()))
    assert {row["eval/cut_episodes"] for row in rows if row["eval/mean_reward"]} == {"3"}


def test_the_cure_is_taken_when_the_run_goes_on(tmp_path: Path) -> None:
    run = train_for_ever(tmp_path).path
    limit = {"env_arguments": {"max_episode_steps": 7}}

    # Of a finished run, the final policy is evaluated anew.
    folder, configuration = configuration_to_resume(run, limit)
    assert configuration.env_arguments == {"habit": "endless", "max_episode_steps": 7}
    again = train(configuration, resume=folder)
    np.testing.assert_array_equal(again.final.lengths, [7, 7, 7])
    assert again.final.cut == 0
    with pytest.raises(Refusal, match="is finished"):
        configuration_to_resume(run, limit)

    folder, configuration = configuration_to_resume(run, {"total_timesteps": 128})
    longer = train(configuration, resume=folder)
    assert [(point.steps, point.evaluation.cut) for point in longer.curve] == [(32, 3), (64, 3), (96, 0), (128, 0)]
    resumptions = json.loads((run / "result.json").read_text())["resumptions"]
    assert [entry["changed"] for entry in resumptions] == [
        {"env_arguments": "max_episode_steps=7"},
        {"total_timesteps": 128},
    ]
    assert RunFolder.open(run).read_configuration().env_arguments["max_episode_steps"] == 7


class Counting(strange_environments.Strange):
    """One whose exact state is part of a checkpoint."""

    def get_state(self) -> dict[str, Any]:
        return {"time": self.time}

    def set_state(self, state: dict[str, Any]) -> None:
        self.time = int(state["time"])


gymnasium.register("Counting-v0", Counting)


def test_a_limit_comes_with_new_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**SHORT, "env_arguments": {"habit": "endless"}, "log_dir": str(tmp_path)}
    run = train(configure("Counting-v0", **options)).path
    capsys.readouterr()
    # Its state was taken of environments in one wrapper less.
    options = {"env_arguments": {"max_episode_steps": 7}, "total_timesteps": 96}
    folder, configuration = configuration_to_resume(run, options)
    np.testing.assert_array_equal(train(configuration, resume=folder).final.lengths, [7, 7, 7])
    assert "new episodes begin" in capsys.readouterr().err


@pytest.mark.parametrize("given", [{"habit": ""}, {"habit": "", "max_episode_steps": 7}, {"at": 1}, {}])
def test_other_arguments_may_not_change(given: dict[str, Any], tmp_path: Path) -> None:
    run = train_for_ever(tmp_path).path
    with pytest.raises(Refusal, match="max_episode_steps of env_arguments may change"):
        configuration_to_resume(run, {"env_arguments": given})


def test_a_limit_stays_where_the_others_are_given_again(tmp_path: Path) -> None:
    arguments = {"habit": "endless", "max_episode_steps": 7}
    run = train_for_ever(tmp_path, env_arguments=arguments).path
    options = {"env_arguments": {"habit": "endless"}, "total_timesteps": 96}
    assert configuration_to_resume(run, options)[1].env_arguments == arguments


def test_evaluation_of_a_trained_policy(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = load_trained_policy(make_run(tmp_path, "Strange-v0", env_arguments={"habit": "endless", "seed": 8}))
    report = evaluate_policy(policy, episodes=4, first_seed=7)
    assert report.to_dict()["cut_episodes"] == 1
    assert str(report).splitlines()[-2].split() == ["cut", "episodes", "1"]
    assert capsys.readouterr().err.startswith("warning: 1 of 4 episodes of an evaluation were not over")
    without = load_trained_policy(policy.source.parent, env_arguments={"max_episode_steps": 7})
    assert "cut_episodes" not in evaluate_policy(without, episodes=4, first_seed=7).to_dict()
    assert capsys.readouterr().err == ""


def test_films_end(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("imageio_ffmpeg")
    policy = load_trained_policy(make_run(tmp_path, "Strange-v0", env_arguments={"habit": "endless", "seed": 8}))
    record(policy, tmp_path / "film.gif", episodes=3, first_seed=7)
    assert (tmp_path / "film.gif").stat().st_size > 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the episode of seed 8 is not over after 12 steps" in said


@pytest.mark.parametrize("habit", ["endless success", "endless counted"])
def test_success_is_that_of_the_last_step_seen(habit: str, tmp_path: Path) -> None:
    result = train_for_ever(tmp_path, env_arguments={"habit": habit})
    assert result.final.success_rate == 1.0


def test_a_cell_counts_and_its_study_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    options = {name: value for name, value in SHORT.items() if name not in ("progress", "run_name")}
    file.write_text(
        json.dumps(
            {
                "env": "Strange-v0",
                "seeds": [0],
                "options": {**options, "env_arguments": {"habit": "endless"}},
                "groups": {"all": {"sampler": "grid", "parameters": {"learning_rate": [1e-3, 1e-4]}}},
            }
        )
    )
    states = Worker(StudyAccess(plan_study(read_study(file)), tmp_path / "studies")).run()
    assert [state.status for state in states] == ["complete", "complete"]
    write_results(results_of(states), tmp_path)
    for result in read_results(tmp_path):
        assert (result.final["cut_episodes"], result.final_score) == (3, 12.0)


def test_there_is_a_checkpoint_of_every_update_before(tmp_path: Path) -> None:
    run = train_for_ever(tmp_path, checkpoint_every=32).path
    assert [int(file.stem) for file in checkpoint_files(run)] == [0, 32, 64]
