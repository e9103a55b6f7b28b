"""The pictures of the Random Anomaly task say what was played."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from envs.random_anomaly.pictures import AnsweredEpisode, accuracy_by_kinds, accuracy_picture, episodes_picture


def episode(normal: str, anomaly: str, place: int, answer: int, images: int = 5) -> AnsweredEpisode:
    return AnsweredEpisode(np.zeros((images + 1, 64), np.float32), place, normal, anomaly, 7, answer)


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
