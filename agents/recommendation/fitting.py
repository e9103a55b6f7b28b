"""Fits the Gaussian process of the parent; needs scikit-learn."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel

from agents.recommendation.gaussian_process import GaussianProcess
from agents.recommendation.networks import N_FEATURES, N_NETWORK_FEATURES

APART = 1e3
"""Between the numbers of two comparisons, so that their offsets have nothing to do with each other."""
CONSTANT = 1.0
"""Variance of the constant: it is learned as the rest is."""


class Fit(NamedTuple):
    """A process, and what it would say of each row if it did not know those of the same task."""

    process: GaussianProcess
    left_out: np.ndarray
    """(n,) float64; lengths and variances are those of the whole"""


class Columns(Kernel):
    """A kernel of some columns alone, from `start` to before `stop`."""

    def __init__(self, kernel: Kernel, start: int, stop: int) -> None:
        self.kernel, self.start, self.stop = kernel, start, stop

    @property
    def theta(self) -> np.ndarray:
        return self.kernel.theta

    @theta.setter
    def theta(self, theta: np.ndarray) -> None:
        self.kernel.theta = theta

    @property
    def bounds(self) -> np.ndarray:
        return self.kernel.bounds

    @property
    def hyperparameters(self) -> list[Any]:
        return self.kernel.hyperparameters

    def __call__(self, X: np.ndarray, Y: np.ndarray | None = None, eval_gradient: bool = False) -> Any:
        chosen = slice(self.start, self.stop)
        return self.kernel(X[:, chosen], None if Y is None else Y[:, chosen], eval_gradient)

    def diag(self, X: np.ndarray) -> np.ndarray:
        return self.kernel.diag(X[:, self.start : self.stop])

    def is_stationary(self) -> bool:
        return True


def fit_gaussian_process(rows: np.ndarray, targets: np.ndarray, comparisons: np.ndarray, tasks: np.ndarray) -> Fit:
    """Fit a process to scores; variances and lengths are those of the largest likelihood.

    Beside what `GaussianProcess` expects, each comparison has an offset of its own, and each score noise.

    :param rows: (n, features), see `networks.features`
    :param targets: (n,)
    :param comparisons: (n,) whole numbers, of the comparison that a row is from
    :param tasks: (n,) whole numbers, of what is left out together
    """
    split, end = N_NETWORK_FEATURES, N_FEATURES
    shared = ConstantKernel(0.25, (1e-3, 10)) * Columns(RBF(1.0, (0.2, 20)), 0, split)
    alike = Columns(RBF(1.0, (0.2, 20)), 0, split) * Columns(RBF(1.0, (0.3, 20)), split, end)
    together = ConstantKernel(0.05, (1e-4, 10)) * alike
    offsets = ConstantKernel(0.1, (1e-4, 10)) * Columns(RBF(1.0, "fixed"), end, end + 1)
    kernel = ConstantKernel(CONSTANT, "fixed") + shared + together + offsets + WhiteKernel(0.02, (1e-4, 1))

    numbered = np.column_stack([rows, APART * comparisons])
    regressor = GaussianProcessRegressor(kernel, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of values at a bound: one may well be of no use
        kernel = regressor.fit(numbered, targets).kernel_
    # In the order in which they occur in the sum.
    shared_variance, shared_length, variance, length, task_length, _, _ = np.exp(kernel.theta)

    inverse = np.linalg.inv(kernel(numbered))
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
