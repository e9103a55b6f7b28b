"""Beliefs of an agent of the Random Anomaly task, and the pictures of them."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from scipy.special import softmax

from agents.trained.policy import TrainedPolicy, load_trained_policy
from agents.trained.recording import play
from agents.trained.report import evaluate_policy
from envs.random_anomaly.beliefs import (
    LAST_FRAMES,
    BelievedEpisode,
    belief_frames,
    belief_picture,
    beliefs,
    with_beliefs,
)
from envs.random_anomaly.pictures import RIGHT, WRONG

MakeRun = Callable[..., Path]
LENGTH = 4


@pytest.fixture(scope="module", params=["always odd", "perhaps none"])
def policy(
    request: pytest.FixtureRequest, make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory
) -> TrainedPolicy:
    arguments = {"image_size": 12, "sequence_length": LENGTH}
    if request.param == "perhaps none":
        arguments["anomaly_probability"] = 0.5
    return load_trained_policy(make_run(tmp_path_factory.mktemp("logs"), "RandomAnomaly-v0", env_arguments=arguments))


@pytest.fixture(scope="module")
def episodes(policy: TrainedPolicy) -> list[BelievedEpisode]:
    return with_beliefs(play(policy, episodes=12, first_seed=3), policy.parameters)


def test_episodes_are_those_of_the_evaluation(policy: TrainedPolicy, episodes: list[BelievedEpisode]) -> None:
    evaluation = evaluate_policy(policy, episodes=12, first_seed=3).evaluation
    np.testing.assert_array_equal([episode.played.is_right for episode in episodes], evaluation.successes)


def test_last_belief_is_the_answer(policy: TrainedPolicy, episodes: list[BelievedEpisode]) -> None:
    choices = policy.policy.action_space.n
    for episode in episodes:
        assert episode.beliefs.shape == (LENGTH, choices)
        np.testing.assert_allclose(episode.beliefs.sum(axis=1), 1.0)
        answer = softmax(policy.parameters(episode.played.observations[:, None])[-1, 0])
        np.testing.assert_allclose(episode.beliefs[-1], answer, atol=1e-5)
        assert episode.beliefs[-1].argmax() == episode.played.answer


def test_beliefs_know_nothing_of_what_is_to_come(policy: TrainedPolicy, episodes: list[BelievedEpisode]) -> None:
    played = next(episode.played for episode in episodes if episode.played.anomaly_index == 2)
    observations = played.observations.copy()
    observations[2] = 1.0 - observations[2]
    before, after = (
        beliefs(policy.parameters, played),
        beliefs(policy.parameters, dataclasses.replace(played, observations=observations)),
    )
    np.testing.assert_array_equal(before[:2], after[:2])
    assert (abs(before - after).max(axis=1)[2:] > 1e-3).all()


def test_beliefs_are_always_the_same(policy: TrainedPolicy, episodes: list[BelievedEpisode]) -> None:
    again = with_beliefs(play(policy, episodes=3, first_seed=3), policy.parameters)
    for one, other in zip(again, episodes, strict=False):
        np.testing.assert_array_equal(one.beliefs, other.beliefs)


def marks(axes: Axes) -> set[tuple[float, tuple[float, ...]]]:
    """Return the places that are framed, and in which colour."""
    return {(patch.get_x(), to_rgba(patch.get_edgecolor())) for patch in axes.patches if isinstance(patch, Rectangle)}


def test_picture_shows_truth_answer_and_beliefs(episodes: list[BelievedEpisode]) -> None:
    wrong = next(episode for episode in episodes if not episode.played.is_right)
    right = next(episode for episode in episodes if episode.played.is_right)
    upper, lower = belief_picture([wrong, right]).axes
    place, green, red = wrong.played.anomaly_index, to_rgba(RIGHT), to_rgba(WRONG)
    assert marks(upper) == {(place, green), (wrong.played.answer, red)}
    assert marks(lower) == {(right.played.answer, green)}
    assert any(text.get_text().startswith("answer") for text in upper.texts)
    np.testing.assert_array_equal(upper.images[1].get_array(), wrong.beliefs)
    percentages = [text.get_text() for text in lower.texts if text.get_text().endswith("%")]
    assert percentages == [f"{belief:.0%}" for belief in right.beliefs.flatten() if belief >= 0.095]


def test_what_has_not_been_seen_is_hidden(episodes: list[BelievedEpisode]) -> None:
    episode = next(episode for episode in episodes if episode.played.anomaly_index == 2)
    for seen in (1, 2, 3):
        (axes,) = belief_picture([episode], seen).axes
        assert bool(marks(axes)) == (seen == 3)
        assert not any(text.get_text().startswith("answer") for text in axes.texts)
        strip, shown = (np.ma.filled(image.get_array(), np.nan) for image in axes.images)
        assert len(np.unique(strip[:, 2 + 14 * seen :])) == 1
        assert len(np.unique(strip[:, 2 + 14 * (seen - 1) : 14 * seen])) > 1
        np.testing.assert_array_equal(np.isnan(shown).all(axis=1), np.arange(LENGTH) >= seen)


def test_frames(episodes: list[BelievedEpisode]) -> None:
    frames = list(belief_frames(episodes[:2]))
    assert len(frames) == 2 * (LENGTH + LAST_FRAMES)
    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert frames[0].dtype == np.uint8
    assert frames[0].shape[2] == 3
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    changes = [not np.array_equal(one, other) for one, other in itertools.pairwise(frames)]
    assert changes[: LENGTH + LAST_FRAMES] == [True] * LENGTH + [False] * (LAST_FRAMES - 1) + [True]
