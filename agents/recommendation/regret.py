"""What a choice of networks falls short of the best ones, on the scaled score."""

from collections.abc import Sequence

import numpy as np

from agents.recommendation.records import Comparison

RESAMPLES = 10_000


def regrets(found: Sequence[Comparison], scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean regret on each task, kin as one, in the order of their names.

    :param scores: for each comparison those of its networks, (n,), of which the highest is the choice
    """
    by_task: dict[str, list[float]] = {}
    for one, own in zip(found, scores, strict=True):
        by_task.setdefault(one.kin, []).append(float(one.means.max() - one.means[int(np.argmax(own))]))
    return np.array([np.mean(by_task[kin]) for kin in sorted(by_task)])


def least_mean(values: np.ndarray) -> float:
    """Return the lower end of the 95 % interval of a mean, by the bootstrap.

    :param values: (n,), one of each task
    :return: -inf if the tasks are too few to say
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return -np.inf
    resamples = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    return float(np.percentile(values[resamples].mean(axis=1), 2.5))
