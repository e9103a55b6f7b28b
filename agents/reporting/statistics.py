"""Aggregates of the scores of several runs, of one task or of several.

They are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", arXiv
2108.13264 (the library rliable). Of several tasks, the runs of each are a sample of its own, so that the bootstrap
draws within tasks, which the paper calls stratified.
"""

import numpy as np
from scipy import stats


def interquartile_mean(*scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean of the middle half: the lowest and the highest quarter, rounded down, are left out.

    :param scores: (..., n) of each task, on one scale; the runs of all tasks are taken together, along the axis
    """
    return stats.trim_mean(np.concatenate(scores, axis=axis), 0.25, axis=axis)


def probability_of_improvement(*scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the probability that a run of one method scores above a run of another; a tie counts half.

    Of several tasks it is the mean over tasks, so that their scales do not matter.

    :param scores: (..., n) of the one method in each task, then (..., m) of the other in the same tasks
    :param axis: of the runs, the last
    """
    tasks = len(scores) // 2
    above = (
        np.sign(np.expand_dims(own, axis) - np.expand_dims(others, axis - 1)).mean(axis=(axis - 1, axis))
        for own, others in zip(scores[:tasks], scores[tasks:], strict=True)
    )
    return 0.5 + 0.5 * np.mean(list(above), axis=0)
