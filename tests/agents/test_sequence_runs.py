"""Trainings on labelled sequences: what is counted, gone on with, drawn and exported."""

from pathlib import Path

import numpy as np
import pytest

from agents.configuration import configure
from agents.evaluation import FRESH_SEED
from agents.export.export import export_policy
from agents.resumption.options import configuration_to_resume
from agents.trained.policy import load_trained_policy
from agents.trained.recording import record
from agents.trained.report import evaluate_policy
from agents.training import TrainingResult, train
from policies.refusal import Refusal

SMALL = {
    "env": "SequenceChoice-v0",
    "budget": 500,
    "n_envs": 4,
    "n_steps": 32,
    "batch_size": 64,
    "learning_rate_schedule": "constant",  # the linear one depends on where the training ends
    "eval_every": 256,
    "checkpoint_every": 128,
    "progress": False,
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two channels and unequal lengths, as a user has them; the odd ones rise."""
    folder = tmp_path_factory.mktemp("recordings")
    generator = np.random.default_rng(0)
    for label, slope in (("normal", 0.0), ("odd", 1.0)):
        (folder / label).mkdir()
        for index in range(20):
            length = generator.integers(10, 20)
            rows = 500 + generator.normal(size=(length, 2)) + slope * np.arange(length)[:, None]
            np.savetxt(folder / label / f"{index}.csv", rows, delimiter=",", header="left,right", comments="")
    return folder


def run(recordings: Path, folder: Path, name: str, steps: int, **options: object) -> TrainingResult:
    place = {"log_dir": str(folder), "run_name": name, "env_arguments": {"source": str(recordings)}}
    return train(configure(**(SMALL | place | options), total_timesteps=steps))


@pytest.fixture(scope="module")
def whole(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A training that was never interrupted."""
    return run(recordings, tmp_path_factory.mktemp("logs"), "whole", 768)


def test_evaluations_count_every_sequence_once(whole: TrainingResult) -> None:
    assert len(whole.final.returns) == 8
    assert [len(point.evaluation.returns) for point in whole.curve] == [6, 6, 6]
    policy = load_trained_policy(whole.path, which="final")
    reports = [evaluate_policy(policy, episodes=count, first_seed=FRESH_SEED) for count in (8, 10_000)]
    for report in reports:
        assert len(report.evaluation.returns) == 8
        # Whichever the first seed is, they are the same: all of them.
        assert report.evaluation.success_rate == whole.final.success_rate
    assert len(evaluate_policy(policy, episodes=5, first_seed=0).evaluation.returns) == 5
    assert "accuracy" in str(reports[0])


def test_goes_on_as_if_never_interrupted(whole: TrainingResult, recordings: Path, tmp_path: Path) -> None:
    stopped = run(recordings, tmp_path, "stopped", 384)
    folder, configuration = configuration_to_resume(stopped.path, {"total_timesteps": 768})
    resumed = train(configuration, resume=folder)
    for file in ("final/policy.safetensors", "final/normalization.json"):
        assert (resumed.path / file).read_bytes() == (whole.path / file).read_bytes()
    assert resumed.final.summary() == whole.final.summary()


@pytest.mark.parametrize("answer", ["end", "every"])
def test_pictures_and_films(answer: str, whole: TrainingResult, recordings: Path, tmp_path: Path) -> None:
    path = whole.path
    if answer == "every":
        source = {"source": str(recordings), "answer": "every", "window": 3}
        result = run(recordings, tmp_path, "every", 128, loss_steps="all", gamma=0.0, env_arguments=source)
        assert 0 <= result.final.summary()["mean_right_steps"] <= 1
        path = result.path
    policy = load_trained_policy(path, which="final")
    for name in ("still.png", "film.gif"):
        record(policy, tmp_path / name, episodes=2, first_seed=0)
        assert (tmp_path / name).stat().st_size > 5_000


def test_exported_policy_takes_readings_as_they_are(whole: TrainingResult, tmp_path: Path) -> None:
    """Their normalization is in the file: a program needs no statistics of the source."""
    export_policy(whole.path, tmp_path / "policy.onnx", "final")
    policy = load_trained_policy(tmp_path / "policy.onnx")
    report = evaluate_policy(policy, episodes=8, first_seed=0)
    assert report.evaluation.success_rate == whole.final.success_rate


def test_a_source_of_other_labels_does_not_fit_a_policy(whole: TrainingResult) -> None:
    with pytest.raises(Refusal):
        load_trained_policy(whole.path, env_arguments={"source": "digits"})


@pytest.mark.slow
def test_a_folder_of_recordings_becomes_a_detector(recordings: Path, tmp_path: Path) -> None:
    source = {"source": str(recordings)}
    options = configure("SequenceChoice-v0", env_arguments=source, log_dir=str(tmp_path), progress=False)
    result = train(options.model_copy(update={"total_timesteps": 200_000, "budget": 2_000}))
    assert result.final.success_rate == 1.0
