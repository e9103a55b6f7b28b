"""What an agent of the Random Anomaly task believes after each image: as one picture, or as a film of it.

The outputs before the blank image are no belief yet. They are part of the network's state, only the answer is ever
trained, and a trained agent passes the odd place along them from step to step. So the belief after an image is asked
for by going on: what the agent would answer, on average, if nothing odd followed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from envs.episode import Outputs, PlayedEpisode
from envs.random_anomaly.pictures import FAINT, AnsweredEpisode, add_legend, describe, frame, marks, place_names
from envs.random_anomaly.strip import BACKGROUND, GAP, episode_strip
from envs.rendering import figure_pixels

CONTINUATIONS = 64
"""Ways in which an episode goes on that a belief is averaged over."""
FRAMES_PER_SECOND = 2.0
LAST_FRAMES = 5
"""Frames for which an episode's end is shown."""

_TOP, _ROW = 1.2, 0.32
"""Where the beliefs begin below the top of the strip, and the height of a row of them, in images."""


@dataclass(frozen=True)
class BelievedEpisode:
    """An episode and what the agent believed while it went on."""

    played: AnsweredEpisode
    beliefs: np.ndarray
    """(T, n_y) probabilities of the answers after each of the T images; the last row's are those of the answer"""


def still(episodes: Sequence[PlayedEpisode], outputs: Outputs) -> Figure:
    """Draw whole episodes with the beliefs in them; see `envs.task.Task`."""
    return belief_picture(with_beliefs(episodes, outputs))


def film(episodes: Sequence[PlayedEpisode], outputs: Outputs) -> tuple[Iterator[np.ndarray], float]:
    """Draw a frame per image: the images so far, and the belief after them; see `envs.task.Task`."""
    return belief_frames(with_beliefs(episodes, outputs)), FRAMES_PER_SECOND


def with_beliefs(episodes: Sequence[PlayedEpisode], outputs: Outputs) -> list[BelievedEpisode]:
    """Ask for the beliefs in episodes that hold their observations."""
    answered = [AnsweredEpisode.of(episode) for episode in episodes]
    return [BelievedEpisode(episode, beliefs(outputs, episode)) for episode in answered]


def beliefs(outputs: Outputs, episode: AnsweredEpisode) -> np.ndarray:
    """Return what the agent would answer after each image if nothing odd followed.

    After image t the episode goes on with images drawn from those of it that are not odd, and ends with the blank one;
    the belief is the mean probability of each answer over 64 such continuations, always the same ones.

    :return: (T, n_y) float64, each row sums to 1
    """
    observations, length = episode.observations, len(episode.observations) - 1
    even = np.delete(np.arange(length), episode.anomaly_index) if episode.anomaly_index < length else np.arange(length)
    generator = np.random.default_rng(0)
    rows = []
    for seen in range(1, length + 1):
        images = np.tile(np.arange(length + 1)[:, None], CONTINUATIONS)
        images[seen:length] = generator.choice(even, (length - seen, CONTINUATIONS))
        answers = softmax(outputs(observations[images])[-1].astype(np.float64), axis=-1)
        rows.append(answers.mean(axis=0))
    return np.stack(rows)


def belief_picture(episodes: Sequence[BelievedEpisode], seen: int | None = None) -> Figure:
    """Draw episodes one below the other: the images, and below each how much it was believed to be the odd one.

    :param episodes: at least one
    :param seen: images seen so far; the rest, and the answer, are still hidden. Default: the whole episodes
    """
    rows, columns = episodes[0].beliefs.shape
    # Laid out in inches, so that the frames of a film do not move against each other.
    left, image, legend, below = 2.2, 0.72, 0.32, 0.45
    picture_height = image * (_TOP + _ROW * rows)
    width, height = left + image * columns + 0.15, legend + len(episodes) * (picture_height + below)
    width, height = math.ceil(width * 50) / 50, math.ceil(height * 50) / 50  # an even number of pixels, for videos
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(width, height), dpi=100)
        for index, episode in enumerate(episodes):
            bottom = height - legend - index * (picture_height + below) - picture_height
            box = (left / width, bottom / height, image * columns / width, picture_height / height)
            _draw(figure.add_axes(box), episode, rows if seen is None else seen, answered=seen is None)
        add_legend(figure, loc="upper right", borderaxespad=0)
    return figure


def belief_frames(episodes: Sequence[BelievedEpisode]) -> Iterator[np.ndarray]:
    """Draw the frames of a film: one per image, and the answer for a while; (height, width, 3) uint8."""
    for episode in episodes:
        for seen in range(1, len(episode.beliefs) + 1):
            yield figure_pixels(belief_picture([episode], seen))
        answer = figure_pixels(belief_picture([episode]))
        for _ in range(LAST_FRAMES):
            yield answer


def _draw(axes: Axes, episode: BelievedEpisode, seen: int, answered: bool) -> None:
    played, rows, columns = episode.played, *episode.beliefs.shape
    strip = episode_strip(played.observations[:columns])
    pitch = strip.shape[0] - GAP
    gap = GAP / pitch
    if not answered:
        strip[:, GAP + seen * pitch :] = BACKGROUND
    # An image and the frame it shares with the next are one unit wide; the beliefs follow below, column by column.
    axes.imshow(strip, cmap="gray", vmin=0, vmax=255, extent=(-gap / 2, columns + gap / 2, 1 + gap, 0))
    bottom = _TOP + _ROW * rows
    shown = np.full_like(episode.beliefs, np.nan)
    shown[:seen] = episode.beliefs[:seen]
    axes.imshow(shown, cmap="YlGnBu", vmin=0, vmax=1, extent=(0, columns, bottom, _TOP))
    for row, column in np.argwhere(shown >= 0.095):
        colour = "white" if shown[row, column] > 0.55 else "black"
        axes.text(
            column + 0.5,
            _TOP + _ROW * (row + 0.5),
            f"{shown[row, column]:.0%}",
            color=colour,
            size=7,
            ha="center",
            va="center_baseline",
        )
    axes.hlines(_TOP + _ROW * np.arange(rows + 1), 0, columns, color="#dddddd", linewidth=0.6)
    axes.vlines(np.arange(columns + 1), _TOP, bottom, color="#dddddd", linewidth=0.6)

    shown_marks = marks(played) if answered else [mark for mark in marks(played)[:1] if mark[0] < seen]
    for place, mark in shown_marks:
        for top, size in ((gap / 2, 1), (_TOP, bottom - _TOP)):
            axes.add_patch(frame((place, top), 1, size, mark, linewidth=2.5, clip_on=False, zorder=3))

    names = place_names(played)
    labels = [f"{names[row]} image{'s' * (row > 0)} seen" for row in range(rows)]
    axes.set_xticks(np.arange(columns) + 0.5, names[:columns], color=FAINT, size=8)
    axes.set_yticks(_TOP + _ROW * (np.arange(rows) + 0.5), labels, color=FAINT, size=8)
    axes.set_xlabel("belief in each place, if nothing odd followed", color=FAINT, size=8, labelpad=1)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    for line, (words, colour, weight) in enumerate(describe(played) if answered else describe(played)[:-1]):
        axes.text(-0.1, 0.14 + 0.25 * line, words, color=colour, weight=weight, ha="right", va="center")
    axes.set(xlim=(0, columns), ylim=(bottom, 0), aspect="auto")
