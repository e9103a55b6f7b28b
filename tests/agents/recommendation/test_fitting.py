"""The Gaussian process of the parent, against the textbook's formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal
from sklearn.metrics.pairwise import rbf_kernel

from agents.recommendation.fitting import (
    START_AND_BOUNDS,
    Covariances,
    fit_gaussian_process,
    likeliest,
    unlikelihood,
)
from agents.recommendation.networks import N_FEATURES, N_NETWORK_FEATURES

COMPARISONS = np.repeat(np.arange(12), 8)
TASKS = COMPARISONS // 2


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Return rows of twelve comparisons of six tasks, and their scores."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(96, N_FEATURES))
    rows[:, N_NETWORK_FEATURES:] = rows[COMPARISONS * 8, N_NETWORK_FEATURES:]
    targets = np.sin(rows[:, 0]) + 0.3 * rows[:, 1] * rows[:, -1] + 0.2 * generator.normal(size=12)[COMPARISONS]
    return rows, targets + 0.05 * generator.normal(size=96)


def between(one: np.ndarray, other: np.ndarray, logarithms: np.ndarray) -> np.ndarray:
    """Return the covariances of scores of different comparisons."""
    shared, shared_length, variance, length, task_length, _, _ = np.exp(logarithms)
    networks, tasks = slice(0, N_NETWORK_FEATURES), slice(N_NETWORK_FEATURES, None)

    def alike(columns: slice, length: float) -> np.ndarray:
        return rbf_kernel(one[:, columns], other[:, columns], gamma=1 / (2 * length**2))

    together = alike(networks, length) * alike(tasks, task_length)
    return 1 + shared * alike(networks, shared_length) + variance * together


def expected(places: np.ndarray, asked: np.ndarray, logarithms: np.ndarray) -> np.ndarray:
    """Return what is expected of rows by a process that was given those at some places."""
    rows, targets = drawn()
    known = rows[places]
    offset, noise = np.exp(logarithms[-2:])
    same = COMPARISONS[places][:, None] == COMPARISONS[places]
    matrix = between(known, known, logarithms) + offset * same + noise * np.eye(len(known))
    return between(asked, known, logarithms) @ np.linalg.solve(matrix, targets[places])


def test_process_expects_what_follows_from_the_table() -> None:
    rows, targets = drawn()
    logarithms = likeliest(Covariances(rows, COMPARISONS), targets)
    found, left_out = fit_gaussian_process(rows, targets, COMPARISONS, TASKS)
    fresh = np.random.default_rng(1).normal(size=(50, N_FEATURES))
    np.testing.assert_allclose(found.predict(fresh), expected(np.arange(96), fresh, logarithms), rtol=1e-6, atol=1e-8)
    assert np.ptp(found.predict(fresh)) > 0.1
    for task in range(6):
        own = task == TASKS
        without = expected(np.flatnonzero(~own), rows[own], logarithms)
        np.testing.assert_allclose(left_out[own], without, rtol=1e-6, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_likelihood_is_that_of_a_normal_distribution_and_so_is_its_gradient(seed: int) -> None:
    rows, targets = drawn()
    covariances = Covariances(rows, COMPARISONS)
    _, least, most = np.log(np.array(list(START_AND_BOUNDS.values()))).T
    logarithms = np.random.default_rng(seed).uniform(np.maximum(least, -3), np.minimum(most, 1))
    value, gradient = unlikelihood(logarithms, covariances, targets)
    density = multivariate_normal(np.zeros(96), covariances(logarithms)[0]).logpdf(targets)
    assert value == pytest.approx(-density - 48 * np.log(2 * np.pi), rel=1e-6)
    error = check_grad(
        lambda at: unlikelihood(at, covariances, targets)[0],
        lambda at: unlikelihood(at, covariances, targets)[1],
        logarithms,
        epsilon=1e-6,
    )
    assert error < 1e-3 * (1 + np.linalg.norm(gradient))


def test_what_is_found_is_likelier_than_what_lies_around() -> None:
    rows, targets = drawn()
    covariances = Covariances(rows, COMPARISONS)
    found = likeliest(covariances, targets)
    _, least, most = np.log(np.array(list(START_AND_BOUNDS.values()))).T
    best, _ = unlikelihood(found, covariances, targets)
    for place in range(len(found)):
        for step in (-0.1, 0.1):
            near = found.copy()
            near[place] = np.clip(near[place] + step, least[place], most[place])
            assert unlikelihood(near, covariances, targets)[0] >= best - 1e-4
