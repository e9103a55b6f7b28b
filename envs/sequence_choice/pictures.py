"""Pictures of what an agent takes for what in Sequence Choice."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from gymnasium import spaces
from matplotlib.figure import Figure

from envs.episode import PlayedEpisode

RIGHT, WRONG = "#1a9641", "#d7191c"
MOST_CHANNELS = 12
"""Curves that are drawn of a sequence, the first ones."""


def training_pictures(episodes: Sequence[PlayedEpisode], action_space: spaces.Discrete) -> dict[str, Figure]:
    """Draw a few sequences with their answers, those that hold observations, and which label was taken for which."""
    return {
        "sequences/episodes": episodes_picture([episode for episode in episodes if len(episode.observations)]),
        "sequences/confusion": confusion_picture(episodes),
    }


def confusion(episodes: Sequence[PlayedEpisode]) -> tuple[tuple[str, ...], np.ndarray]:
    """Count the answers to the sequences of each label.

    :return: the k labels, and how often each answer was given, (k, k) int64: true labels in rows, answers in columns
    """
    labels: tuple[str, ...] = episodes[0].info["labels"]
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for episode in episodes:
        counts[labels.index(episode.info["label"]), labels.index(episode.info["answer"])] += 1
    return labels, counts


def confusion_picture(episodes: Sequence[PlayedEpisode]) -> Figure:
    """Draw which label was taken for which.

    :param episodes: at least one
    """
    labels, counts = confusion(episodes)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, where=totals > 0, out=np.zeros(counts.shape))
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(6.4, 5.8), dpi=100, layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="YlGnBu", vmin=0.0, vmax=1.0)
        if len(labels) <= 20:
            for row, column in np.argwhere(counts):
                colour = "white" if shares[row, column] > 0.55 else "black"
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
            names = [shortened(label) for label in labels]
            axes.set_xticks(range(len(labels)), names, rotation=35, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(labels)), names)
        axes.set(xlabel="answer", ylabel="label")
        right = counts.trace()
        axes.set_title(f"accuracy {right / counts.sum():.3f} over {counts.sum():,} sequences", size=11)
    return figure


def episodes_picture(episodes: Sequence[PlayedEpisode]) -> Figure:
    """Draw sequences one below the other, each with its label and its answer.

    :param episodes: with their observations, at least one
    """
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.0, 1.6 * len(episodes)), dpi=100, layout="constrained")
        for axes, episode in zip(figure.subplots(len(episodes), 1, squeeze=False)[:, 0], episodes, strict=True):
            axes.plot(
                readings(episode)[:, :MOST_CHANNELS], linewidth=1, marker="." if len(readings(episode)) == 1 else ""
            )
            words, colour = verdict(episode)
            axes.set_title(words, loc="left", size=9, color=colour)
            axes.spines[["top", "right"]].set_visible(False)
    return figure


def answers_at_end(episode: PlayedEpisode) -> bool:
    """Tell whether an episode has the extra step at which it is answered."""
    return "right_steps" not in episode.info


def readings(episode: PlayedEpisode) -> np.ndarray:
    """Return what was read, (T, C), of an episode that holds its observations, without the extra step and its entry.

    T counts what was repeated to make the last window full.
    """
    seen = episode.observations[:-1, :-1] if answers_at_end(episode) else episode.observations
    return seen.reshape(-1, len(episode.info["channels"]))


def verdict(episode: PlayedEpisode) -> tuple[str, str]:
    """Return what is written beside an episode, and in which colour."""
    label, answer = shortened(episode.info["label"]), shortened(episode.info["answer"])
    return (f"{label}: right", RIGHT) if episode.info["is_success"] else (f"{label}, answered {answer}", WRONG)


def shortened(label: str) -> str:
    """Return a label, or its beginning, as plain text for a picture."""
    shown = label if len(label) <= 20 else f"{label[:19]}…"
    return shown.replace("$", r"\$")  # matplotlib would take what stands between two for a formula
