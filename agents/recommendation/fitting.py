"""Fits the Gaussian process of the parent: the variances and lengths under which the table is likeliest."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from agents.recommendation.gaussian_process import GaussianProcess, smooth, squared_distances

CONSTANT = 1.0
"""Variance of the constant."""
START_AND_BOUNDS = {
    "shared_variance": (0.25, 1e-3, 10.0),
    "shared_length": (1.0, 0.2, 20.0),
    "variance": (0.05, 1e-4, 10.0),
    "length": (1.0, 0.2, 20.0),
    "task_length": (1.0, 0.3, 20.0),
    "offset_variance": (0.1, 1e-4, 10.0),
    "noise_variance": (0.02, 1e-4, 1.0),
}
"""Where the search begins, and the least and the largest value. A variance at its bound says that the part is of no
use, a length that nothing depends on what it is of."""


class Fit(NamedTuple):
    """A process, and what it would say of each row if it did not know those of the same task."""

    process: GaussianProcess
    left_out: np.ndarray
    """(n,) float64; variances and lengths are those of the whole"""


class Covariances:
    """Those of scores of trainings: what a `GaussianProcess` expects, an offset of each comparison, and noise.

    :param rows: (n, features), see `networks.features`
    :param comparisons: (n,) whole numbers, of the comparison that a row is from
    """

    def __init__(self, rows: np.ndarray, comparisons: np.ndarray) -> None:
        self._networks, self._tasks = squared_distances(rows, rows)
        self._same = (comparisons[:, None] == comparisons[None]).astype(np.float64)

    def __call__(self, logarithms: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the covariances, (n, n), and their derivatives by the logarithms of `START_AND_BOUNDS`."""
        shared_variance, shared_length, variance, length, task_length, offset, noise = np.exp(logarithms)
        variances, lengths = np.array([shared_variance, variance]), np.array([shared_length, length, task_length])
        shared, together = smooth(self._networks, self._tasks, variances, lengths)
        offsets, noises = offset * self._same, noise * np.eye(len(shared))
        derivatives = [
            shared,
            shared * self._networks / shared_length**2,
            together,
            together * self._networks / length**2,
            together * self._tasks / task_length**2,
            offsets,
            noises,
        ]
        return CONSTANT + shared + together + offsets + noises, derivatives


def unlikelihood(logarithms: np.ndarray, covariances: Covariances, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the negative logarithm of the likelihood, but for a constant, and its gradient (Rasmussen and Williams,
    Gaussian Processes for Machine Learning, equations 5.8 and 5.9)."""
    matrix, derivatives = covariances(logarithms)
    factor = cho_factor(matrix, lower=True)
    weights = cho_solve(factor, targets)
    value = 0.5 * targets @ weights + np.log(np.diagonal(factor[0])).sum()
    slope = np.outer(weights, weights) - cho_solve(factor, np.eye(len(targets)))
    return float(value), np.array([-0.5 * np.sum(slope * derivative) for derivative in derivatives])


def likeliest(covariances: Covariances, targets: np.ndarray) -> np.ndarray:
    """Return the logarithms, (7,), in the order of `START_AND_BOUNDS`, under which the scores are likeliest."""
    start, least, most = np.log(np.array(list(START_AND_BOUNDS.values()))).T
    bounds = list(zip(least, most, strict=True))
    return minimize(unlikelihood, start, (covariances, targets), jac=True, method="L-BFGS-B", bounds=bounds).x


def fit_gaussian_process(rows: np.ndarray, targets: np.ndarray, comparisons: np.ndarray, tasks: np.ndarray) -> Fit:
    """Fit a process to scores.

    :param rows: (n, features), see `networks.features`
    :param targets: (n,)
    :param comparisons: (n,) whole numbers, of the comparison that a row is from
    :param tasks: (n,) whole numbers, of what is left out together
    """
    covariances = Covariances(rows, comparisons)
    found = likeliest(covariances, targets)
    shared_variance, shared_length, variance, length, task_length, _, _ = np.exp(found)

    inverse = np.linalg.inv(covariances(found)[0])
    weights = inverse @ targets
    left_out = np.empty_like(targets)
    for task in np.unique(tasks):
        own = tasks == task
        left_out[own] = targets[own] - np.linalg.solve(inverse[np.ix_(own, own)], weights[own])
    process = GaussianProcess(
        np.ascontiguousarray(rows),
        weights,
        np.array([CONSTANT * weights.sum()]),
        np.array([shared_variance, variance]),
        np.array([shared_length, length, task_length]),
    )
    return Fit(process, left_out)
