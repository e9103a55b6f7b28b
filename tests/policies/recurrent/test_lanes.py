import hashlib
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from policies.recurrent import kernels, lanes
from policies.recurrent.lanes import add, add_lanes, broadcast, load, multiply, multiply_add, store


def test_kernels_are_compiled_anew_when_lanes_change():
    assert hashlib.sha256(Path(lanes.__file__).read_bytes()).hexdigest()[:16] == kernels.LANES_VERSION


@njit
def combine(x, y, out, scalar, lanes):  # type: ignore[no-untyped-def]
    """out = [scalar * x + y, x * y + scalar], from index 1 of x and y on; return scalar + sum of x * y."""
    L = len(lanes)
    a, b = load(x, 1, lanes), load(y, 1, lanes)
    store(out, 0, multiply_add(scalar, a, b))
    product = multiply(a, b)
    store(out, L, add(product, broadcast(scalar, lanes)))
    return add_lanes(scalar, product)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_lanes", [1, 2, 8, 16])
def test_primitives_equal_array_operations(dtype: type, n_lanes: int) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, n_lanes + 1)).astype(dtype)
    out, scalar = np.full((3, n_lanes), np.nan, dtype), dtype(1.5)
    total = combine(x, y, out, scalar, (0,) * n_lanes)
    np.testing.assert_allclose(out[0], scalar * x[1:] + y[1:], rtol=1e-5)
    np.testing.assert_allclose(out[1], x[1:] * y[1:] + scalar, rtol=1e-5)
    assert np.isnan(out[2]).all()
    assert total == pytest.approx(scalar + np.dot(x[1:], y[1:]), rel=1e-5)
    assert np.isnan(combine(np.full_like(x, np.nan), y, out, scalar, (0,) * n_lanes))
