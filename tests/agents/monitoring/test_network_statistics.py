"""Figures of the network: the spectral radius against numpy, silent units against a hand-made network."""

import numpy as np
import pytest
import scipy.sparse

from agents.monitoring.network import pattern_picture, spectral_radius
from policies.network.specification import specify
from policies.recurrent.layer import SparseRecurrentLayer


@pytest.mark.parametrize("size", [1, 5, 200, 400, 600])
@pytest.mark.parametrize("density", [0.02, 0.3, 1.0])
def test_spectral_radius_matches_numpy(size: int, density: float) -> None:
    matrix = scipy.sparse.random_array((size, size), density=density, format="csr", rng=size, dtype=np.float64)
    matrix.data -= 0.5
    expected = np.abs(np.linalg.eigvals(matrix.toarray())).max()
    assert spectral_radius(matrix) == pytest.approx(expected, rel=1e-2, abs=1e-6)


def test_spectral_radius_without_a_cycle_is_exactly_zero() -> None:
    upper = scipy.sparse.csr_array(np.triu(np.ones((500, 500)), k=1))
    assert spectral_radius(upper) == 0.0


def test_spectral_radius_of_a_ring() -> None:
    # All eigenvalues share the largest modulus, where the iteration alone has nothing to separate.
    ring = scipy.sparse.csr_array((np.full(700, 0.9), (np.arange(700), (np.arange(700) + 1) % 700)), shape=(700, 700))
    assert spectral_radius(ring) == pytest.approx(0.9, rel=1e-3)


def test_pattern_picture_draws_every_weight() -> None:
    layer = SparseRecurrentLayer(specify(46, 26, 5000, hidden_proportion=0.5))
    figure = pattern_picture(layer, "actor")
    (points,) = figure.axes[0].get_lines()[:1]
    assert len(points.get_xdata()) == 5000
