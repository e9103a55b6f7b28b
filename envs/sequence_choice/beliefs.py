"""What an agent believes of a sequence while it reads it, as a picture and as a film."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax

from envs.episode import Outputs, PlayedEpisode
from envs.rendering import figure_pixels
from envs.sequence_choice.pictures import MOST_CHANNELS, answers_at_end, readings, shortened, verdict

MOST_POINTS = 48
"""Steps at which a belief is asked for, evenly spaced over a sequence."""
FRAMES_PER_SECOND = 8.0
LAST_FRAMES = 12
"""Frames for which an episode's end is shown."""


@dataclass(frozen=True)
class BelievedEpisode:
    """An episode and what the agent would have answered in the course of it."""

    played: PlayedEpisode
    steps: np.ndarray
    """(P,) int64, ascending: how many observations were seen; the last is all T"""
    beliefs: np.ndarray
    """(P, classes) float64, each row sums to 1"""


def still(episodes: Sequence[PlayedEpisode], outputs: Outputs) -> Figure:
    """Draw sequences with the beliefs below them; see `envs.task.Task`."""
    return belief_picture([beliefs(episode, outputs) for episode in episodes])


def film(episodes: Sequence[PlayedEpisode], outputs: Outputs) -> tuple[Iterator[np.ndarray], float]:
    """Draw sequences as they are read; see `envs.task.Task`."""
    return _frames([beliefs(episode, outputs) for episode in episodes]), FRAMES_PER_SECOND


def beliefs(episode: PlayedEpisode, outputs: Outputs) -> BelievedEpisode:
    """Return what the agent would answer if the sequence ended after each of some steps.

    Where it answers at the end alone it is shown the extra step there, which repeats the last readings.
    """
    seen = episode.observations
    length = len(seen) - answers_at_end(episode)
    steps = np.unique(np.linspace(1, length, min(length, MOST_POINTS)).round().astype(np.int64))
    if not answers_at_end(episode):
        logits = outputs(seen[:, None])[steps - 1, 0]
    else:
        # One column for each: the sequence, whose step number `steps` is the extra one.
        columns = np.repeat(seen[:, None], len(steps), axis=1)
        places = np.arange(len(steps))
        columns[steps, places] = seen[steps - 1]
        columns[steps, places, -1] = 1.0
        logits = outputs(columns)[steps, places]
    return BelievedEpisode(episode, steps, softmax(logits.astype(np.float64), axis=-1))


def belief_picture(episodes: Sequence[BelievedEpisode], points: int | None = None) -> Figure:
    """Draw episodes one below the other: the readings, and below each the beliefs.

    :param episodes: at least one
    :param points: beliefs that are drawn, and the steps up to the last of them; the answer is hidden. Default: all
    """
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.2, 3.2 * len(episodes)), dpi=100)
        grid = figure.subplots(2 * len(episodes), 1, squeeze=False)[:, 0]
        # In inches from the edges, so that the frames of a film do not move against each other.
        inch = 1 / (3.2 * len(episodes))
        figure.subplots_adjust(left=0.1, right=0.97, top=1 - 0.3 * inch, bottom=0.3 * inch, hspace=0.55)
        for upper, lower, episode in zip(grid[::2], grid[1::2], episodes, strict=True):
            shown = len(episode.steps) if points is None else points
            read, length = int(episode.steps[shown - 1]), int(episode.steps[-1])
            values = readings(episode.played)[:, :MOST_CHANNELS]
            window = len(values) // length
            upper.plot(1 + np.arange(read * window) / window, values[: read * window], linewidth=1)
            margin = 0.05 * float(np.ptp(values)) or 1.0
            upper.set_ylim(values.min() - margin, values.max() + margin)
            words, colour = verdict(episode.played) if points is None else (f"{read} of {length} steps", "black")
            upper.set_title(words, loc="left", size=9, color=colour)
            lower.plot(episode.steps[:shown], episode.beliefs[:shown], linewidth=1.5)
            lower.set(ylim=(-0.03, 1.03), ylabel="belief")
            for label, belief in zip(episode.played.info["labels"], episode.beliefs[shown - 1], strict=True):
                if belief > 0.15:
                    above = "bottom" if belief < 0.8 else "top"
                    lower.text(read, belief, shortened(label), ha="right", va=above, size=8)
            for axes in (upper, lower):
                axes.set_xlim(0.5, length + 1.5)
                axes.spines[["top", "right"]].set_visible(False)
    return figure


def _frames(episodes: Sequence[BelievedEpisode]) -> Iterator[np.ndarray]:
    for episode in episodes:
        for points in range(1, len(episode.steps) + 1):
            yield figure_pixels(belief_picture([episode], points))
        answer = figure_pixels(belief_picture([episode]))
        for _ in range(LAST_FRAMES):
            yield answer
