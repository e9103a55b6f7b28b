"""The pictures of the Random Anomaly task: they show what was played, and training does not notice them."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from stable_baselines3.common.logger import configure as configure_logger
from stable_baselines3.common.vec_env import VecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.configuration import TrainingConfiguration, configure
from agents.evaluation import evaluate
from agents.monitoring.episode_pictures import (
    EPISODES_SHOWN,
    PICTURES_SEED,
    AnomalyPicturesCallback,
    PlayedEpisode,
    accuracy_by_kinds,
    accuracy_picture,
    episodes_picture,
    pictures_for,
    play_episodes,
)
from agents.ppo.sequence_ppo import SequencePPO
from agents.training import build_algorithm, held_out_environments, plan_training, train, training_environments
from policies.sequence_policy import SequencePolicy

LENGTH = 3
ARGUMENTS = {"image_size": 12, "sequence_length": LENGTH}
TAGS = {"anomaly/episodes", "anomaly/accuracy_by_kinds"}


def tiny(log_dir: Path, **options: object) -> TrainingConfiguration:
    fixed = {
        "env_arguments": ARGUMENTS,
        "budget": 400,
        "total_timesteps": 512,
        "n_envs": 8,
        "n_steps": 8,
        "batch_size": 32,
        "loss_steps": "last",
        "eval_every": 256,
        "eval_episodes": 24,
        "progress": False,
        "log_dir": str(log_dir),
        "run_name": "run",
    }
    return configure("RandomAnomaly-v0", **(fixed | options))


def environments_of(configuration: TrainingConfiguration) -> VecEnv:
    return held_out_environments(configuration, "validation")


@pytest.fixture(scope="module")
def policy() -> SequencePolicy:
    configuration = tiny(Path("unused"), seed=3)
    policy = build_algorithm(configuration, plan_training(configuration), environments_of(configuration)).policy
    assert isinstance(policy, SequencePolicy)
    return policy


@pytest.fixture(scope="module", params=["batched", "serial"])
def played(request: pytest.FixtureRequest, policy: SequencePolicy) -> Iterator[tuple[VecEnv, list[PlayedEpisode]]]:
    environments = environments_of(tiny(Path("unused"), vectorization=request.param))
    yield environments, play_episodes(policy, environments, episodes=90, first_seed=PICTURES_SEED)
    environments.close()


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, SequencePPO]]]:
    """Two trainings that differ in the pictures alone: where they logged, and what they learned."""
    runs = {}
    for name in ("with", "without"):
        folder = tmp_path_factory.mktemp(name)
        configuration = tiny(folder, seed=5)
        algorithm = build_algorithm(configuration, plan_training(configuration), training_environments(configuration))
        algorithm.set_logger(configure_logger(str(folder), ["csv", "tensorboard"]))
        pictures = AnomalyPicturesCallback(environments_of(configuration), every=200, episodes=40)
        algorithm.learn(configuration.total_timesteps, callback=[pictures] if name == "with" else [])
        algorithm.logger.close()
        runs[name] = folder, algorithm
    yield runs
    for _, algorithm in runs.values():
        algorithm.get_env().close()


def test_training_is_the_same_to_the_bit(pictured: dict[str, tuple[Path, SequencePPO]]) -> None:
    weights = [algorithm.policy.state_dict() for _, algorithm in pictured.values()]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    tables = [list(csv.DictReader((folder / "progress.csv").open())) for folder, _ in pictured.values()]
    assert len(tables[0]) == 8
    for row in (row for rows in tables for row in rows):
        del row["time/fps"], row["time/time_elapsed"]
    assert tables[0] == tables[1]


def test_pictures_come_when_due_and_at_the_end(pictured: dict[str, tuple[Path, SequencePPO]]) -> None:
    # Rollouts have 64 steps: after the updates that pass 200 and 400, and at the end.
    events = {name: EventAccumulator(str(folder)).Reload() for name, (folder, _) in pictured.items()}
    assert not TAGS & set(events["without"].Tags()["images"])
    for tag in TAGS:
        assert [image.step for image in events["with"].Images(tag)] == [256, 448, 512]


def test_pictures_beside_a_whole_training(tmp_path: Path) -> None:
    configuration = tiny(tmp_path, total_timesteps=128)
    result = train(
        configuration, callbacks=[AnomalyPicturesCallback(environments_of(configuration), every=64, episodes=8)]
    )
    assert set(EventAccumulator(str(result.path)).Reload().Tags()["images"]) >= TAGS


def test_nothing_is_played_without_tensorboard(tmp_path: Path) -> None:
    configuration = tiny(tmp_path, total_timesteps=64)
    algorithm = build_algorithm(configuration, plan_training(configuration), training_environments(configuration))
    algorithm.set_logger(configure_logger(str(tmp_path), ["csv"]))
    environments = environments_of(configuration)
    algorithm.learn(64, callback=AnomalyPicturesCallback(environments, every=64, episodes=8))
    with pytest.raises(ResetNeeded):
        environments.step(np.zeros(environments.num_envs, dtype=np.int64))


def test_callback_draws_from_no_global_generator(policy: SequencePolicy) -> None:
    environments = environments_of(tiny(Path("unused")))
    before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 it is what must not change
    episodes = play_episodes(policy, environments, episodes=30, first_seed=PICTURES_SEED)
    for picture in (episodes_picture(episodes[:EPISODES_SHOWN], LENGTH), accuracy_picture(episodes, LENGTH)):
        FigureCanvasAgg(picture).draw()
    after = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    np.testing.assert_equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_only_random_anomaly_has_pictures() -> None:
    configuration = tiny(Path("unused"))
    environments = environments_of(configuration)
    (callback,) = pictures_for(configuration, environments)
    assert isinstance(callback, AnomalyPicturesCallback)
    assert (callback.every, callback.episodes) == (256, 24)
    assert pictures_for(configure("CartPole-v1"), environments) == []


def test_plays_the_same_episodes_as_an_evaluation(
    played: tuple[VecEnv, list[PlayedEpisode]], policy: SequencePolicy
) -> None:
    environments, episodes = played
    evaluation = evaluate(policy, environments, episodes=90, first_seed=PICTURES_SEED)
    np.testing.assert_array_equal([episode.is_right for episode in episodes], evaluation.successes)
    assert 0 < evaluation.returns.sum() < 90
    again = play_episodes(policy, environments, episodes=90, first_seed=PICTURES_SEED)
    assert [episode.answer for episode in again] == [episode.answer for episode in episodes]
    for one, other in zip(again[:EPISODES_SHOWN], episodes, strict=False):
        np.testing.assert_array_equal(one.observations, other.observations)


def test_observations_are_those_of_the_first_episodes(played: tuple[VecEnv, list[PlayedEpisode]]) -> None:
    environments, episodes = played
    for index, episode in enumerate(episodes[:EPISODES_SHOWN]):
        assert episode.observations.shape == (LENGTH + 1, 144)
        assert not episode.observations[-1].any()
        environments.seed(PICTURES_SEED + index)
        np.testing.assert_array_equal(episode.observations[0], environments.reset()[0])
    assert all(episode.observations.size == 0 for episode in episodes[EPISODES_SHOWN:])


def test_fewer_environments_than_episodes_shown(policy: SequencePolicy) -> None:
    few = environments_of(tiny(Path("unused"), eval_episodes=3))
    many = environments_of(tiny(Path("unused")))
    assert few.num_envs == 3 < EPISODES_SHOWN < many.num_envs
    episodes = [play_episodes(policy, each, episodes=10, first_seed=PICTURES_SEED) for each in (few, many)]
    assert [len(each) for each in episodes] == [10, 10]
    for one, other in zip(*episodes, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        assert (one.anomaly_index, one.answer) == (other.anomaly_index, other.answer)


def episode(normal: str, anomaly: str, place: int, answer: int, images: int = 5) -> PlayedEpisode:
    return PlayedEpisode(np.zeros((images + 1, 64), np.float32), place, normal, anomaly, 7, answer)


EPISODES = [
    episode("blur", "none", 1, 1),
    episode("blur", "none", 2, 0),
    episode("none", "blur", 0, 0),
    episode("erase", "blur", 4, 3),
    episode("erase", "erase", 5, 5),
]


def test_accuracy_by_kinds() -> None:
    kinds, right, count = accuracy_by_kinds(EPISODES)
    assert kinds == ("none", "erase", "blur")
    np.testing.assert_array_equal(right, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(count, [[0, 0, 1], [0, 1, 1], [2, 0, 0]])


def test_accuracy_picture_says_numbers_and_chance() -> None:
    picture = accuracy_picture(EPISODES, choices=6)
    axes = picture.axes[0]
    assert axes.get_title() == "accuracy 0.600 over 5 episodes (chance 0.167)"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "erase", "blur"]
    assert [text.get_text() for text in axes.texts] == [
        *("1.00", "of 1"),
        *("1.00", "of 1"),
        *("0.00", "of 1"),
        *("0.50", "of 2"),
    ]
    assert axes.get_ylabel() == "kind of the others"
    assert "diagonal" in axes.get_xlabel()
    assert "diagonal" not in accuracy_picture(EPISODES[:4], choices=5).axes[0].get_xlabel()


def frames(picture: Figure, row: int) -> list[tuple[int, tuple[float, ...]]]:
    """Return the image that each frame of a strip lies around, and its colour."""
    patches = [patch for patch in picture.axes[2 * row + 1].patches if isinstance(patch, Rectangle)]
    return [(int((patch.get_x() + patch.get_width() / 2) // 10), to_rgba(patch.get_edgecolor())) for patch in patches]


def test_episodes_picture_frames_the_true_place_and_a_wrong_answer() -> None:
    picture = episodes_picture(EPISODES, choices=6)
    green, red = to_rgba("#1a9641"), to_rgba("#d7191c")
    assert frames(picture, 0) == [(1, green)]
    assert frames(picture, 1) == [(2, green), (0, red)]
    assert frames(picture, 4) == [(5, green)]
    said = [[text.get_text() for text in axes.texts] for axes in picture.axes[::2]]
    assert said[1] == ["digit 7", "others: blur", "odd: none", "answer 1: wrong, true: 3"]
    assert said[4] == ["digit 7", "all: erase", "no odd image", "answer none: right"]


@pytest.mark.parametrize(("choices", "names"), [(5, ["1", "2", "3", "4", "5"]), (6, ["1", "2", "3", "4", "5", "none"])])
def test_blank_image_is_drawn_where_none_is_an_answer(choices: int, names: list[str]) -> None:
    strip = episodes_picture(EPISODES[:1], choices).axes[1]
    assert [label.get_text() for label in strip.get_xticklabels()] == names
    assert strip.images[0].get_array().shape == (12, 10 * choices + 2)  # type: ignore[union-attr]
