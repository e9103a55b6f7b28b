"""The task: its course, its statistics, what it accepts and refuses, and its pictures."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from data_files import DIGITS
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from scipy import stats
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs  # noqa: F401 registers RandomAnomaly-v0
from envs.random_anomaly.digits import SPLITS, load_digit_images
from envs.random_anomaly.environment import RandomAnomalyEnv
from envs.random_anomaly.strip import episode_strip
from envs.random_anomaly.task import AnomalyEpisode, RandomAnomalyTask, choose_distinct
from envs.random_anomaly.transformations import TRANSFORMATIONS


def draw(task: RandomAnomalyTask, generator: np.random.Generator) -> tuple[AnomalyEpisode, np.ndarray]:
    images = np.full((task.sequence_length, task.image_size, task.image_size), np.nan, dtype=np.float32)
    return task.draw_episode(generator, images), images


def examples_of(images: np.ndarray, digit: int, split: str, size: int) -> list[int]:
    """Find images that were not transformed among a digit's examples."""
    pool = load_digit_images("digits", split, size)
    flat = pool.images[pool.digits.index(digit)].reshape(-1, size * size)
    distances = np.abs(flat[None] - (images.reshape(-1, 1, size * size) * 0.3081 + 0.1307)).max(axis=2)
    return [int(row.argmin()) if row.min() < 1e-5 else -1 for row in distances]


@pytest.mark.parametrize("probability", [1.0, 0.5])
@pytest.mark.filterwarnings("error")
def test_environment_checkers(probability: float) -> None:
    environment = gymnasium.make(
        "RandomAnomaly-v0", anomaly_probability=probability, render_mode="rgb_array", disable_env_checker=True
    )
    gymnasium_check_env(environment.unwrapped)
    sb3_check_env(environment.unwrapped)


def test_course_of_an_episode() -> None:
    environment = gymnasium.make("RandomAnomaly-v0", sequence_length=4, image_size=20)
    assert environment.observation_space.shape == (400,)
    assert environment.observation_space.dtype == np.float32
    assert environment.action_space == gymnasium.spaces.Discrete(4)
    right = 0
    for episode in range(40):
        observation, info = environment.reset(seed=episode if episode < 20 else None)
        observations = [observation]
        assert info == {}
        for _ in range(4):
            observation, reward, terminated, truncated, info = environment.step(environment.action_space.sample())
            assert (reward, terminated, truncated, info) == (0.0, False, False, {})
            observations.append(observation)
        assert all(image.std() > 0.1 for image in observations[:4])
        assert not observations[4].any()
        assert len({id(image) for image in observations}) == 5
        observation, reward, terminated, truncated, info = environment.step(episode % 4)
        assert (terminated, truncated) == (True, False)
        assert set(info) == {"anomaly_index", "normal_kind", "anomaly_kind", "digit", "answer", "is_success"}
        assert info["answer"] == episode % 4
        assert info["is_success"] is (info["anomaly_index"] == episode % 4)
        assert reward == float(info["is_success"])
        assert info["normal_kind"] != info["anomaly_kind"]
        right += info["is_success"]
        assert observation in environment.observation_space
    assert 0 < right < 40
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.unwrapped.step(0)


def test_only_the_answer_at_the_blank_image_counts() -> None:
    environment = RandomAnomalyEnv(sequence_length=3, image_size=10)
    for early in range(3):
        environment.reset(seed=1)
        for _ in range(3):
            environment.step(early)
        _, reward, _, _, info = environment.step(0)
        assert reward == (info["anomaly_index"] == 0)
        assert info["answer"] == 0


def test_draws_are_uniform_and_independent() -> None:
    generator, n = np.random.default_rng(0), 20_000
    task = RandomAnomalyTask(image_size=8)
    episodes = [draw(task, generator)[0] for _ in range(n)]
    for values, outcomes in (
        ([episode.anomaly_index for episode in episodes], list(range(10))),
        ([episode.digit for episode in episodes], list(range(10))),
        ([(e.normal_kind, e.anomaly_kind) for e in episodes], list(itertools.permutations(TRANSFORMATIONS, 2))),
        ([(e.anomaly_index, e.digit) for e in episodes], list(itertools.product(range(10), range(10)))),
        ([(e.anomaly_index, e.normal_kind) for e in episodes], list(itertools.product(range(10), TRANSFORMATIONS))),
        ([(e.digit, e.anomaly_kind) for e in episodes], list(itertools.product(range(10), TRANSFORMATIONS))),
    ):
        counts = Counter(values)
        assert set(counts) == set(outcomes)
        assert stats.chisquare([counts[outcome] for outcome in outcomes]).pvalue > 1e-3


def test_examples_are_different_ones_and_uniform() -> None:
    size, generator = 16, np.random.default_rng(0)
    task = RandomAnomalyTask(image_size=size, split="test", kinds=("none", "erase"))
    counts: Counter[int] = Counter()
    places: Counter[int] = Counter()
    for _ in range(3000):
        episode, images = draw(task, generator)
        examples = examples_of(images, episode.digit, "test", size)
        plain = [example for example in examples if example >= 0]
        odd = {episode.anomaly_index} if episode.anomaly_kind == "erase" else set(range(10)) - {episode.anomaly_index}
        # An erased rectangle may lie where nothing was.
        assert {place for place, example in enumerate(examples) if example < 0} <= odd
        assert len(set(plain)) == len(plain)
        if episode.digit == 8 and episode.normal_kind == "none":
            expected = [place for place in range(10) if place != episode.anomaly_index]
            counts.update(examples[place] for place in expected)
            places.update(place for place in expected if examples[place] == 0)
    pool = len(load_digit_images("digits", "test", size).images[8])
    assert stats.chisquare([counts[example] for example in range(pool)]).pvalue > 1e-3
    assert len(places) >= 8  # an example is not tied to a place


def test_distinct_choices_are_uniform() -> None:
    generator = np.random.default_rng(0)
    counts = Counter(tuple(choose_distinct(4, generator.random(3).tolist())) for _ in range(24_000))
    assert set(counts) == set(itertools.permutations(range(4), 3))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    assert sorted(choose_distinct(500, [1 - 2**-53] * 500)) == list(range(500))
    assert choose_distinct(500, [0.0] * 3) == [0, 1, 2]


@pytest.mark.parametrize(("normal", "anomaly"), [("none", "sharpen"), ("sharpen", "none")])
def test_kinds_are_where_they_are_said_to_be(normal: str, anomaly: str) -> None:
    task, generator, size = RandomAnomalyTask(kinds="none,sharpen", image_size=24), np.random.default_rng(0), 24
    seen = 0
    for _ in range(50):
        episode, images = draw(task, generator)
        if (episode.normal_kind, episode.anomaly_kind) != (normal, anomaly):
            continue
        seen += 1
        plain = [example >= 0 for example in examples_of(images, episode.digit, "train", size)]
        assert plain == [(place == episode.anomaly_index) == (anomaly == "none") for place in range(10)]
    assert seen > 10


def test_images_are_clipped_to_the_range_before_the_transformation(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = 0.25 + 0.5 * generator.random((40, 12, 12))
    x[:, 0, 0], x[:, 1, 0] = 0.25, 0.75
    np.savez(tmp_path / "narrow.npz", x=x, y=np.zeros(40, dtype=int))
    reached = set()
    for kinds in (("noise", "none"), ("erase", "strong-perspective"), ("sharpen", "erase-perspective")):
        task = RandomAnomalyTask(4, 12, tmp_path / "narrow.npz", kinds=kinds)
        for _ in range(20):
            _, images = draw(task, generator)
            pixels = images * 0.3081 + 0.1307
            assert pixels.min() > 0.25 - 1e-6
            assert pixels.max() < 0.75 + 1e-6
            reached |= {kinds for edge in (0.25, 0.75) if np.isclose(pixels, edge, atol=1e-6).sum() > 8}
    assert len(reached) == 3


def test_anomaly_probability() -> None:
    task, generator = RandomAnomalyTask(5, 8, anomaly_probability=0.7), np.random.default_rng(0)
    assert task.action_space.n == 6
    episodes = [draw(task, generator)[0] for _ in range(6000)]
    places = Counter(episode.anomaly_index for episode in episodes)
    expected = [0.14 * 6000] * 5 + [0.3 * 6000]
    assert stats.chisquare([places[place] for place in range(6)], expected).pvalue > 1e-3
    for episode in episodes:
        assert (episode.anomaly_kind == episode.normal_kind) == (episode.anomaly_index == 5)
    environment = RandomAnomalyEnv(5, 8, anomaly_probability=1e-9)
    environment.reset(seed=0)
    for _ in range(5):
        environment.step(0)
    _, reward, terminated, _, info = environment.step(5)
    assert (reward, terminated, info["is_success"], info["anomaly_index"]) == (1.0, True, True, 5)


def test_splits_give_different_examples() -> None:
    size = 16
    for split in SPLITS:
        environment = RandomAnomalyEnv(2, size, split=split, kinds=("none", "noise"))
        for seed in range(20):
            first, _ = environment.reset(seed=seed)
            second, *_ = environment.step(0)
            environment.step(0)
            info = environment.step(0)[4]
            unchanged = info["anomaly_index"] if info["anomaly_kind"] == "none" else 1 - info["anomaly_index"]
            plain = (first, second)[unchanged][None]
            for other in SPLITS:
                found = examples_of(plain, info["digit"], other, size)
                assert (found != [-1]) == (other == split)


@pytest.mark.parametrize(("source", "length"), [("digits", 10), (DIGITS, 5)])
def test_observations_stay_within_the_space_in_100_000_images(source: Any, length: int) -> None:
    task, generator = RandomAnomalyTask(length, source=source), np.random.default_rng(0)
    low, high = task.observation_space.low[0], task.observation_space.high[0]
    assert (low, high) == pytest.approx((-0.1307 / 0.3081, 0.8693 / 0.3081))
    for _ in range(100_000 // length):
        _, images = draw(task, generator)
        # Comparisons with NaN are false.
        assert images.min() >= low
        assert images.max() <= high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 1}, "sequence_length 1 does not fit: a whole number of at least 2"),
        ({"sequence_length": 2.0}, "sequence_length 2.0"),
        ({"sequence_length": True}, "sequence_length True"),
        ({"sequence_length": "10"}, "sequence_length '10'"),
        ({"sequence_length": 18}, "sequence_length 18 does not fit: source 'digits' has only 17 .* split 'validation'"),
        ({"image_size": 7}, "image_size 7 does not fit: a whole number of at least 8"),
        ({"image_size": None}, "image_size None"),
        ({"source": "letters"}, "source 'letters' is unknown"),
        ({"split": "all"}, "split 'all' is unknown"),
        ({"kinds": "none"}, "kinds 'none' do not fit: at least two"),
        ({"kinds": ()}, "at least two"),
        ({"kinds": ("blur", "blur")}, "once"),
        ({"kinds": "none,swirl"}, "'swirl' is unknown, names of none, mild-perspective"),
        ({"kinds": ("none", 3)}, "3 is unknown"),
        ({"kinds": 3}, "kinds 3 do not fit"),
        ({"anomaly_probability": 0.0}, "anomaly_probability 0.0 does not fit: a number above 0 and at most 1"),
        ({"anomaly_probability": 1.5}, "anomaly_probability 1.5"),
        ({"anomaly_probability": float("nan")}, "anomaly_probability nan"),
        ({"anomaly_probability": "half"}, "anomaly_probability 'half'"),
        ({"render_mode": "human"}, "render_mode 'human' is unknown"),
    ],
)
def test_refusals_are_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        RandomAnomalyEnv(**arguments)
    assert "\n" not in str(error.value)


def test_too_few_examples_of_a_digit_in_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.ones((120, 8, 8)), y=np.repeat([0, 1], [100, 20]))
    RandomAnomalyEnv(2, 8, tmp_path / "few.npz")
    with pytest.raises(ValueError, match=r"few\.npz' has only 2 examples of digit 1 in split 'validation'"):
        RandomAnomalyEnv(3, 8, tmp_path / "few.npz")


def test_kinds_as_text() -> None:
    assert RandomAnomalyTask(kinds="none, blur").kinds == RandomAnomalyTask(kinds=["none", "blur"]).kinds
    assert RandomAnomalyTask().kinds == tuple(TRANSFORMATIONS)
    assert len(TRANSFORMATIONS) == 8


def test_strip() -> None:
    images = np.stack([np.full(9, (value - 0.1307) / 0.3081) for value in (0.0, 0.5, 1.0)])
    strip = episode_strip(images, anomaly_index=1, answer=2)
    assert strip.shape == (7, 17)
    assert strip.dtype == np.uint8
    for index, value in enumerate((0, 128, 255)):
        columns = slice(2 + 5 * index, 5 + 5 * index)
        assert np.abs(strip[2:5, columns].astype(int) - value).max() <= 1
        assert (strip[5:, columns] == (255 if index == 1 else 96)).all()
        assert (strip[:2, columns] == (255 if index == 2 else 96)).all()
    assert (strip[:, [0, 1, 5, 6, 10, 11, 15, 16]] == 96).all()
    assert set(np.unique(episode_strip(images)[[0, 1, -2, -1]])) == {96}
    with pytest.raises(ValueError, match="answer 3 does not fit"):
        episode_strip(images, answer=3)
    with pytest.raises(ValueError, match=r"shape \(3, 8\)"):
        episode_strip(images[:, :8])


def test_render_shows_what_was_seen() -> None:
    environment = RandomAnomalyEnv(3, 10, render_mode="rgb_array")
    seen = [environment.reset(seed=0)[0]]
    blank = np.zeros(100)
    for time in range(4):
        picture = environment.render()
        assert picture is not None
        expected = episode_strip(np.stack(seen + [blank] * (3 - time)))
        np.testing.assert_array_equal(picture, np.repeat(expected[:, :, None], 3, axis=2))
        seen.append(environment.step(0)[0])
    assert environment.render() is not None  # the episode's last picture, for videos
    assert RandomAnomalyEnv(3, 10).render() is None
