"""Pictures beside a training: they show what was played, and training does not notice them."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from stable_baselines3.common.logger import configure as configure_logger
from stable_baselines3.common.vec_env import VecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.configuration import TrainingConfiguration, configure
from agents.evaluation import evaluate, play_episodes
from agents.monitoring.episode_pictures import EPISODES_SHOWN, PICTURES_SEED, EpisodePicturesCallback, pictures_for
from agents.ppo.sequence_ppo import SequencePPO
from agents.training import build_algorithm, held_out_environments, plan_training, train, training_environments
from envs.episode import PlayedEpisode
from envs.random_anomaly.pictures import training_pictures
from envs.rendering import figure_pixels
from policies.sequence_policy import SequencePolicy

LENGTH = 3
ARGUMENTS = {"image_size": 12, "sequence_length": LENGTH}
DRAW = "envs.random_anomaly.pictures:training_pictures"
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
    yield environments, play_episodes(policy, environments, episodes=90, first_seed=PICTURES_SEED, keep=EPISODES_SHOWN)
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
        pictures = EpisodePicturesCallback(environments_of(configuration), DRAW, every=200, episodes=40)
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
    result = train(tiny(tmp_path, total_timesteps=128, eval_every=64, eval_episodes=8))
    events = EventAccumulator(str(result.path)).Reload()
    for tag in TAGS:
        assert [image.step for image in events.Images(tag)] == [64, 128]


def test_nothing_is_played_without_tensorboard(tmp_path: Path) -> None:
    configuration = tiny(tmp_path, total_timesteps=64)
    algorithm = build_algorithm(configuration, plan_training(configuration), training_environments(configuration))
    algorithm.set_logger(configure_logger(str(tmp_path), ["csv"]))
    environments = environments_of(configuration)
    algorithm.learn(64, callback=EpisodePicturesCallback(environments, DRAW, every=64, episodes=8))
    with pytest.raises(ResetNeeded):
        environments.step(np.zeros(environments.num_envs, dtype=np.int64))


def test_callback_draws_from_no_global_generator(policy: SequencePolicy) -> None:
    environments = environments_of(tiny(Path("unused")))
    before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 it is what must not change
    episodes = play_episodes(policy, environments, episodes=30, first_seed=PICTURES_SEED, keep=EPISODES_SHOWN)
    for picture in training_pictures(episodes, environments.action_space).values():
        figure_pixels(picture)
    after = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    np.testing.assert_equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_only_a_task_that_draws_has_pictures() -> None:
    configuration = tiny(Path("unused"))
    environments = environments_of(configuration)
    (callback,) = pictures_for(configuration, environments)
    assert isinstance(callback, EpisodePicturesCallback)
    assert (callback.every, callback.episodes) == (256, 24)
    assert pictures_for(configure("CartPole-v1"), environments) == []


def test_plays_the_same_episodes_as_an_evaluation(
    played: tuple[VecEnv, list[PlayedEpisode]], policy: SequencePolicy
) -> None:
    environments, episodes = played
    evaluation = evaluate(policy, environments, episodes=90, first_seed=PICTURES_SEED)
    np.testing.assert_array_equal([episode.info["is_success"] for episode in episodes], evaluation.successes)
    assert 0 < evaluation.returns.sum() < 90
    again = play_episodes(policy, environments, episodes=90, first_seed=PICTURES_SEED, keep=EPISODES_SHOWN)
    assert [episode.info["answer"] for episode in again] == [episode.info["answer"] for episode in episodes]
    for one, other in zip(again[:EPISODES_SHOWN], episodes, strict=False):
        np.testing.assert_array_equal(one.observations, other.observations)


def test_observations_are_those_of_the_first_episodes(played: tuple[VecEnv, list[PlayedEpisode]]) -> None:
    environments, episodes = played
    for index, episode in enumerate(episodes[:EPISODES_SHOWN]):
        assert episode.observations.shape == (LENGTH + 1, 144)
        assert not episode.observations[-1].any()
        assert episode.actions.shape == (LENGTH + 1,)
        assert episode.actions[-1] == episode.info["answer"]
        environments.seed(PICTURES_SEED + index)
        np.testing.assert_array_equal(episode.observations[0], environments.reset()[0])
    assert all(episode.observations.size == episode.actions.size == 0 for episode in episodes[EPISODES_SHOWN:])


def test_fewer_environments_than_episodes_shown(policy: SequencePolicy) -> None:
    few = environments_of(tiny(Path("unused"), eval_episodes=3))
    many = environments_of(tiny(Path("unused")))
    assert few.num_envs == 3 < EPISODES_SHOWN < many.num_envs
    episodes = [
        play_episodes(policy, each, episodes=10, first_seed=PICTURES_SEED, keep=EPISODES_SHOWN) for each in (few, many)
    ]
    assert [len(each) for each in episodes] == [10, 10]
    for one, other in zip(*episodes, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        assert one.info.keys() == other.info.keys()
        for name in ("anomaly_index", "answer"):
            assert one.info[name] == other.info[name]
