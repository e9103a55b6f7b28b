import hashlib
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from policies.recurrent import group_kernels, kernels, lanes
from policies.recurrent.lanes import (
    add,
    add_lanes,
    broadcast,
    interleave,
    load,
    multiply,
    multiply_add,
    prefetch,
    store,
)


def test_kernels_are_compiled_anew_when_lanes_change():
    version = hashlib.sha256(Path(lanes.__file__).read_bytes()).hexdigest()[:16]
    assert version == kernels.LANES_VERSION == group_kernels.LANES_VERSION


@njit
def combine(x, y, out, scalar, lanes):  # type: ignore[no-untyped-def]
    """out = [s x + y, x y + s, x and y interleaved], from index 1 of x and y on, s the scalar; return s + x . y."""
    L = len(lanes)
    prefetch(x, 1)
    a, b = load(x, 1, lanes), load(y, 1, lanes)
    store(out, 0, multiply_add(scalar, a, b))
    product = multiply(a, b)
    store(out, L, add(product, broadcast(scalar, lanes)))
    store(out, 2 * L, interleave(a, b))
    return add_lanes(scalar, product)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_lanes", [1, 2, 8, 16])
def test_primitives_equal_array_operations(dtype: type, n_lanes: int) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, n_lanes + 1)).astype(dtype)
    out, scalar = np.full((5, n_lanes), np.nan, dtype), dtype(1.5)
    total = combine(x, y, out, scalar, (0,) * n_lanes)
    np.testing.assert_allclose(out[0], scalar * x[1:] + y[1:], rtol=1e-5)
    np.testing.assert_allclose(out[1], x[1:] * y[1:] + scalar, rtol=1e-5)
    np.testing.assert_array_equal(out[2:4].ravel(), np.stack([x[1:], y[1:]], axis=1).ravel())
    assert np.isnan(out[4]).all()
    assert total == pytest.approx(scalar + np.dot(x[1:], y[1:]), rel=1e-5)
    assert np.isnan(combine(np.full_like(x, np.nan), y, out, scalar, (0,) * n_lanes))
