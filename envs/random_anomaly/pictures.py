"""Pictures of what an agent cannot tell apart in the Random Anomaly task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from gymnasium import spaces
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from envs.episode import PlayedEpisode
from envs.random_anomaly.strip import GAP, episode_strip
from envs.random_anomaly.task import AnomalyEpisode
from envs.random_anomaly.transformations import TRANSFORMATIONS

RIGHT, WRONG, FAINT = "#1a9641", "#d7191c", "#777777"
TRUE_PLACE, WRONG_ANSWER = (RIGHT, "-"), (WRONG, (0, (2, 1)))
"""The marks: colour and style of a frame."""


@dataclass(frozen=True)
class AnsweredEpisode:
    """An episode as it was shown, the truth about it, and the answer."""

    observations: np.ndarray
    """(T + 1, image_size²) float32, normalized; the last one is blank. Empty if the episode is not drawn itself"""
    anomaly_index: int
    """place of the odd image, from 0; T if there is none"""
    normal_kind: str
    anomaly_kind: str
    """equals normal_kind if no image is odd"""
    digit: int
    answer: int
    """the place that was named, or T for none"""

    @classmethod
    def of(cls, played: PlayedEpisode) -> "AnsweredEpisode":
        """Return what is drawn of an episode."""
        truth = {name: played.info[name] for name in AnomalyEpisode._fields}
        return cls(played.observations, **truth, answer=int(played.info["answer"]))

    @property
    def is_right(self) -> bool:
        """Whether the odd place was named."""
        return self.answer == self.anomaly_index


def training_pictures(episodes: Sequence[PlayedEpisode], action_space: spaces.Discrete) -> dict[str, Figure]:
    """Draw a few episodes with their answers, those that hold observations, and the accuracy per pair of kinds."""
    answered = [AnsweredEpisode.of(episode) for episode in episodes]
    choices = int(action_space.n)
    return {
        "anomaly/episodes": episodes_picture([episode for episode in answered if len(episode.observations)], choices),
        "anomaly/accuracy_by_kinds": accuracy_picture(answered, choices),
    }


def accuracy_by_kinds(episodes: Sequence[AnsweredEpisode]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Count the episodes of each pair of kinds and the right answers among them.

    :return: the k kinds that occur, and two (k, k) int64 arrays, normal kinds in rows and anomaly kinds in columns:
        right answers and episodes. The diagonal holds episodes without an odd image
    """
    occurring = {kind for episode in episodes for kind in (episode.normal_kind, episode.anomaly_kind)}
    kinds = tuple(kind for kind in TRANSFORMATIONS if kind in occurring)
    right, played = np.zeros((2, len(kinds), len(kinds)), dtype=np.int64)
    for episode in episodes:
        cell = kinds.index(episode.normal_kind), kinds.index(episode.anomaly_kind)
        played[cell] += 1
        right[cell] += episode.is_right
    return kinds, right, played


def accuracy_picture(episodes: Sequence[AnsweredEpisode], choices: int) -> Figure:
    """Draw the accuracy per pair of kinds.

    :param episodes: at least one
    :param choices: number of possible answers
    """
    kinds, right, played = accuracy_by_kinds(episodes)
    accuracy = np.divide(right, played, where=played > 0, out=np.full(right.shape, np.nan))
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.6, 6.4), dpi=100, layout="constrained")
        axes = figure.subplots()
        axes.set_facecolor("#eeeeee")
        image = axes.imshow(accuracy, cmap="YlGnBu", vmin=0.0, vmax=1.0)
        for row, column in np.argwhere(played > 0):
            colour = "white" if accuracy[row, column] > 0.55 else "black"
            for words, height, text_size in (
                (f"{accuracy[row, column]:.2f}", 5, 11),
                (f"of {played[row, column]}", -10, 7),
            ):
                above: dict[str, Any] = {"xytext": (0, height), "textcoords": "offset points"}
                axes.annotate(words, (column, row), **above, ha="center", va="center", color=colour, size=text_size)
        axes.set_xticks(range(len(kinds)), kinds, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_xticks(np.arange(1, len(kinds)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(kinds)) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("kind of the odd image" + (" (diagonal: no image is odd)" if played.diagonal().any() else ""))
        axes.set_ylabel("kind of the others")
        axes.set_title(
            f"accuracy {right.sum() / played.sum():.3f} over {played.sum():,} episodes (chance {1 / choices:.3f})",
            size=11,
        )
        bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.axhline(1 / choices, color=WRONG, linewidth=1.5)
        bar.set_label("accuracy (red line: chance)")
    return figure


def episodes_picture(episodes: Sequence[AnsweredEpisode], choices: int) -> Figure:
    """Draw episodes one below the other, with the odd place and the answer framed.

    :param episodes: with their observations, at least one
    :param choices: number of possible answers; the blank image is drawn if it is one of them, for "none"
    """
    with matplotlib.rc_context({"font.size": 9}):
        images = min(choices, len(episodes[0].observations))
        figure = Figure(figsize=(2.1 + 0.9 * images, 0.5 + 1.15 * len(episodes)), dpi=100, layout="constrained")
        # Text beside the strips lies in axes of its own, so that the layout leaves room for the longest kinds.
        grid = figure.subplots(len(episodes), 2, squeeze=False, width_ratios=(2.0, 0.9 * images))
        for (text, strip), episode in zip(grid, episodes, strict=True):
            text.axis("off")
            for line, (words, colour, weight) in enumerate(describe(episode)):
                height = 0.86 - 0.24 * line
                text.text(0.0, height, words, color=colour, weight=weight, va="center", transform=text.transAxes)
            _draw_strip(strip, episode, choices)
        add_legend(figure, loc="outside upper right")
    return figure


def frame(corner: tuple[float, float], width: float, height: float, mark: tuple[str, Any], **options: Any) -> Rectangle:
    """Return the frame of a place, in the colour and the style of a mark."""
    colour, style = mark
    return Rectangle(corner, width, height, fill=False, edgecolor=colour, linestyle=style, **options)


def add_legend(figure: Figure, **options: Any) -> None:
    """Say what the two marks mean."""
    frames = [frame((0, 0), 1, 1, mark, linewidth=2.5) for mark in (TRUE_PLACE, WRONG_ANSWER)]
    figure.legend(frames, ["true place", "wrong answer"], ncols=2, frameon=False, **options)


def marks(episode: AnsweredEpisode) -> list[tuple[int, tuple[str, Any]]]:
    """Return the places that are framed, and by which mark: the true one, and a wrong answer."""
    wrong = [] if episode.is_right else [(episode.answer, WRONG_ANSWER)]
    return [(episode.anomaly_index, TRUE_PLACE), *wrong]


def describe(episode: AnsweredEpisode) -> list[tuple[str, str, str]]:
    """Return what is written beside an episode: lines with their colour and weight, the answer last."""
    places = place_names(episode)
    verdict = "right" if episode.is_right else f"wrong, true: {places[episode.anomaly_index]}"
    nothing_odd = episode.anomaly_index == len(places) - 1
    return [
        (f"digit {episode.digit}", "black", "bold"),
        (f"{'all' if nothing_odd else 'others'}: {episode.normal_kind}", "black", "normal"),
        ("no odd image" if nothing_odd else f"odd: {episode.anomaly_kind}", "black", "normal"),
        (f"answer {places[episode.answer]}: {verdict}", RIGHT if episode.is_right else WRONG, "bold"),
    ]


def _draw_strip(axes: Axes, episode: AnsweredEpisode, choices: int) -> None:
    shown = episode.observations[:choices]
    strip = episode_strip(shown)
    size = strip.shape[0] - 2 * GAP
    left_edges = GAP + np.arange(len(shown)) * (size + GAP)
    axes.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for place, mark in marks(episode):
        corner = (left_edges[place] - GAP / 2 - 0.5, GAP / 2 - 0.5)
        axes.add_patch(frame(corner, size + GAP, size + GAP, mark, linewidth=3, clip_on=False))
    axes.set_xticks(left_edges + (size - 1) / 2, place_names(episode)[: len(shown)], color=FAINT, size=8)
    axes.set_yticks([])
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)


def place_names(episode: AnsweredEpisode) -> list[str]:
    """Return what the answers are called: places from 1, as people count, and none."""
    return [str(place) for place in range(1, len(episode.observations))] + ["none"]
