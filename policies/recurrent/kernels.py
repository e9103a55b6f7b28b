"""Compiled CPU kernels of the recurrent layer.

All of them release the GIL, leave threading to the caller and give the same bits however the work is shared out. Two
memory layouts occur. *Rows* are (time x batch, unit); a dense matrix is applied to them unit by unit. *Columns* are
(unit, time x batch); a sparse matrix is applied to several of them at once, so that every weight is one vector
operation. Columns are stored in blocks of CHUNK, (blocks, unit, CHUNK), because rows of full length would lie on as
many memory pages as there are units. Inside the loop over time the columns of one step are the `lanes`, a compile-time
constant that is passed as the length of a tuple.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from policies.recurrent.kept_code import keep
from policies.recurrent.lanes import add, add_lanes, broadcast, load, multiply, multiply_add, store

# Sums may be reordered, but NaN and infinity keep their meaning: a diverging network must show.
_FAST = {"reassoc", "contract", "nsz"}
_compile: Callable[..., Any] = njit(nogil=True, fastmath=_FAST, error_model="numpy")
# Parts of kernels, put in place before anything is compiled: as functions of their own they were up to 6 % slower.
_part: Callable[..., Any] = njit(nogil=True, fastmath=_FAST, error_model="numpy", inline="always")

LANES_VERSION = "1b1dc44944dae741"
"""Digest of lanes.py. A change there has to change this file as well, or numba goes on with what it compiled before."""


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    return keep(_compile(function), function)


CHUNK = 64
"""Columns in a block; the last block is padded with zeros."""

_QUARTER = (0,) * (CHUNK // 4)
# Unsigned indices spare the test for places counted from the end.
_1, _2, _3, _4 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)


@_part
def _row_product(values, columns, first, last, x, base, base_at, out, at, lanes):  # type: ignore[no-untyped-def]
    """out[at : at + L] = base[base_at : base_at + L] + sum over entries k of values[k] * x[columns[k] * L : + L]."""
    L = len(lanes)
    a = b = c = d = broadcast(values.dtype.type(0), lanes)  # Independent sums hide the latency of the additions.
    k, whole, end = np.uint64(first), np.uint64(last - (last - first & 3)), np.uint64(last)
    while k < whole:  # Not over a range: counting its steps beforehand costs short rows 5 %.
        a = multiply_add(values[k], load(x, columns[k] * L, lanes), a)
        b = multiply_add(values[k + _1], load(x, columns[k + _1] * L, lanes), b)
        c = multiply_add(values[k + _2], load(x, columns[k + _2] * L, lanes), c)
        d = multiply_add(values[k + _3], load(x, columns[k + _3] * L, lanes), d)
        k += _4
    while k < end:
        a = multiply_add(values[k], load(x, columns[k] * L, lanes), a)
        k += _1
    store(out, at, add(load(base, base_at, lanes), add(add(a, b), add(c, d))))


@_part
def _chunk_product(values, columns, first, last, x, bias, out, row):  # type: ignore[no-untyped-def]
    """out[row] = bias[row] + sum over entries k of values[k] * x[columns[k]], rows of CHUNK columns."""
    a = b = c = d = broadcast(bias[row], _QUARTER)
    for k in range(np.uint64(first), np.uint64(last)):
        at = np.int64(columns[k]) * CHUNK
        a = multiply_add(values[k], load(x, at, _QUARTER), a)
        b = multiply_add(values[k], load(x, at + 16, _QUARTER), b)
        c = multiply_add(values[k], load(x, at + 32, _QUARTER), c)
        d = multiply_add(values[k], load(x, at + 48, _QUARTER), d)
    at = row * CHUNK
    store(out, at, a)
    store(out, at + 16, b)
    store(out, at + 32, c)
    store(out, at + 48, d)


@_part
def _chunk_gradient(gradient, columns, first, last, left, row, right):  # type: ignore[no-untyped-def]
    """gradient[k] += left[row] . right[columns[k]] for the entries k of a row, rows of CHUNK columns."""
    at = row * CHUNK
    a, b = load(left, at, _QUARTER), load(left, at + 16, _QUARTER)
    c, d = load(left, at + 32, _QUARTER), load(left, at + 48, _QUARTER)
    for k in range(np.uint64(first), np.uint64(last)):
        at = np.int64(columns[k]) * CHUNK
        ab = add(multiply(a, load(right, at, _QUARTER)), multiply(b, load(right, at + 16, _QUARTER)))
        cd = add(multiply(c, load(right, at + 32, _QUARTER)), multiply(d, load(right, at + 48, _QUARTER)))
        gradient[k] = add_lanes(gradient[k], add(ab, cd))


@_kernel
def fill_dense(weights, row_starts, columns, order, matrix, first, last):  # type: ignore[no-untyped-def]
    """Write the weights of rows first to last into a matrix of zeros."""
    for i in range(first, last):
        for k in range(row_starts[i], row_starts[i + 1]):
            matrix[i, columns[k]] = weights[order[k]]


@_kernel
def gather_dense(matrix, row_starts, columns, order, weights, first, last):  # type: ignore[no-untyped-def]
    """Read the weights of rows first to last back from a matrix that begins with row first."""
    for i in range(first, last):
        for k in range(row_starts[i], row_starts[i + 1]):
            weights[order[k]] = matrix[i - first, columns[k]]


@_kernel
def _add_dense_product(out, x, transposed, places, values):  # type: ignore[no-untyped-def]
    """out += x @ transposed for vectors; sources that are zero (silent units, half of them) cost nothing."""
    n = len(out)
    m = 0
    for j in range(len(x)):
        places[m] = j
        values[m] = x[j]
        m += x[j] != 0
    whole = m - m % 8
    for k in range(0, whole, 8):
        a0, a1, a2, a3 = values[k], values[k + 1], values[k + 2], values[k + 3]
        a4, a5, a6, a7 = values[k + 4], values[k + 5], values[k + 6], values[k + 7]
        r0, r1 = transposed[places[k]], transposed[places[k + 1]]
        r2, r3 = transposed[places[k + 2]], transposed[places[k + 3]]
        r4, r5 = transposed[places[k + 4]], transposed[places[k + 5]]
        r6, r7 = transposed[places[k + 6]], transposed[places[k + 7]]
        for i in range(n):
            out[i] += ((a0 * r0[i] + a1 * r1[i]) + (a2 * r2[i] + a3 * r3[i])) + (
                (a4 * r4[i] + a5 * r5[i]) + (a6 * r6[i] + a7 * r7[i])
            )
    for k in range(whole, m):
        a0 = values[k]
        r0 = transposed[places[k]]
        for i in range(n):
            out[i] += a0 * r0[i]


@_kernel
def _activate(out, n_hidden, relu):  # type: ignore[no-untyped-def]
    if relu:
        for i in range(n_hidden):
            out[i] = 0 if out[i] < 0 else out[i]
    else:
        for i in range(n_hidden):  # tanh by way of exp, exact to a rounding of 1 and twice as fast as the library's.
            decay = np.exp(-2 * abs(out[i]))
            size = (1 - decay) / (1 + decay)
            out[i] = size if out[i] >= 0 else -size


@_kernel
def _deactivate(delta, z, n_hidden, relu):  # type: ignore[no-untyped-def]
    if relu:
        for i in range(n_hidden):
            delta[i] = 0 if z[i] <= 0 else delta[i]
    else:
        for i in range(n_hidden):
            delta[i] *= 1 - z[i] * z[i]


@_kernel
def scan_dense(states, transposed, starts, n_hidden, relu, first, last):  # type: ignore[no-untyped-def]
    """Run the recurrence in place for the batch columns first to last.

    :param states: (T + 1, B, n); [0] the initial state, [1:] holds U x + b and receives the states
    :param transposed: (n, n), the recurrent matrix transposed
    :param starts: (T, B) bool
    """
    n = states.shape[2]
    places, values = np.empty(n + 1, np.int64), np.empty(n + 1, states.dtype)
    for b in range(first, last):
        for t in range(len(starts)):
            if not starts[t, b]:
                _add_dense_product(states[t + 1, b], states[t, b], transposed, places, values)
            _activate(states[t + 1, b], n_hidden, relu)


@_kernel
def backpropagate_dense(deltas, grad_state, states, matrix, starts, n_hidden, relu, first, last):  # type: ignore[no-untyped-def]
    """Turn the states' gradients into those before the activation, for the batch columns first to last.

    :param deltas: (T, B, n), gradients on entry, overwritten
    :param grad_state: (B, n) zeros, receives the gradient of the initial state
    :param states: (T + 1, B, n)
    :param matrix: (n, n), the recurrent matrix
    :param starts: (T, B) bool
    """
    n = states.shape[2]
    places, values = np.empty(n + 1, np.int64), np.empty(n + 1, states.dtype)
    for b in range(first, last):
        for t in range(len(starts) - 1, -1, -1):
            _deactivate(deltas[t, b], states[t + 1, b], n_hidden, relu)
            if not starts[t, b]:
                target = deltas[t - 1, b] if t else grad_state[b]
                _add_dense_product(target, deltas[t, b], matrix, places, values)


@_kernel
def _copy_lanes(compact, wide, left, width, starts, lanes):  # type: ignore[no-untyped-def]
    """Copy a group's lanes out of (n, width), those at a start (none if `starts` is empty) as zeros."""
    L = len(lanes)
    for i in range(len(compact) // L):
        for lane in range(L):
            compact[i * L + lane] = wide[i * width + left + lane]
    for lane in range(min(L, len(starts) - left)):
        if starts[left + lane]:
            for i in range(len(compact) // L):
                compact[i * L + lane] = 0


@_kernel
def scan_sparse(values, row_starts, columns, projected, state, states, previous, starts, n_hidden, relu, group, lanes):  # type: ignore[no-untyped-def]
    """Run the recurrence for one group of lanes: batch columns group * L to group * L + L.

    :param values, row_starts, columns: the recurrent matrix in compressed rows
    :param projected: (blocks, n, CHUNK), U x + b, columns ordered by group, time, lane
    :param state: (n, P), the initial state, P the batch size padded to whole groups
    :param states: (T, n, P), receives the states
    :param previous: (blocks, n, CHUNK), receives the states that the steps started from
    :param starts: (T, P) bool
    """
    L = len(lanes)
    T, n, P = states.shape
    left = group * L
    compact = np.empty(n * L, states.dtype)
    _copy_lanes(compact, state.reshape(-1), left, P, starts[0], lanes)
    source = compact
    for t in range(T):
        block, at = divmod((group * T + t) * L, CHUNK)
        out = states[t].reshape(-1)
        for i in range(n):
            for lane in range(L):
                previous[block, i, at + lane] = source[i * L + lane]
            first, last = row_starts[i], row_starts[i + 1]
            _row_product(values, columns, first, last, source, projected[block, i], at, out, i * P + left, lanes)
        if P == L:
            _activate(out, n_hidden * L, relu)
        else:
            for i in range(n_hidden):
                _activate(out[i * P + left : i * P + left + L], L, relu)
        if t + 1 < T:
            if P == L and not starts[t + 1].any():
                source = out
            else:
                _copy_lanes(compact, out, left, P, starts[t + 1], lanes)
                source = compact


@_kernel
def backpropagate_sparse(values, row_starts, columns, deltas, grad_state, states, starts, n_hidden, relu, group, lanes):  # type: ignore[no-untyped-def]
    """Turn the states' gradients into those before the activation, for one group of lanes.

    :param values, row_starts, columns: the transposed recurrent matrix in compressed rows
    :param deltas: (blocks, n, CHUNK), gradients on entry, overwritten; columns ordered by group, time, lane
    :param grad_state: (n, P), receives the gradient of the initial state
    :param states: (T, n, P)
    :param starts: (T, P) bool
    """
    L = len(lanes)
    T, n, P = states.shape
    left = group * L
    source, out, z = np.zeros(n * L, states.dtype), np.empty(n * L, states.dtype), np.empty(n * L, states.dtype)
    for t in range(T - 1, -1, -1):
        block, at = divmod((group * T + t) * L, CHUNK)
        for i in range(n):
            first, last = row_starts[i], row_starts[i + 1]
            _row_product(values, columns, first, last, source, deltas[block, i], at, out, i * L, lanes)
        if P == L:
            z = states[t].reshape(-1)
        else:
            _copy_lanes(z, states[t].reshape(-1), left, P, starts[t, :0], lanes)
        _deactivate(out, z, n_hidden * L, relu)
        for i in range(n):
            for lane in range(L):
                deltas[block, i, at + lane] = out[i * L + lane]
        for lane in range(L):
            if starts[t, left + lane]:
                for i in range(n):
                    out[i * L + lane] = 0
        source, out = out, source
    nothing = np.zeros(L, states.dtype)
    flat = grad_state.reshape(-1)
    for i in range(n):
        _row_product(values, columns, row_starts[i], row_starts[i + 1], source, nothing, 0, flat, i * P + left, lanes)


@_kernel
def multiply_sparse(values, row_starts, columns, x, bias, out, first, last):  # type: ignore[no-untyped-def]
    """Write bias + matrix @ x to rows first to last; x (blocks, n_columns, CHUNK) and out (blocks, n_rows, CHUNK)."""
    for block in range(len(x)):
        for i in range(first, last):
            _chunk_product(values, columns, row_starts[i], row_starts[i + 1], x[block], bias, out[block], i)


@_kernel
def gradient_sparse(row_starts, columns, left, right, gradient, first, last):  # type: ignore[no-untyped-def]
    """Add left @ right.T to the gradient at the entries of rows first to last; both (blocks, ., CHUNK)."""
    for block in range(len(left)):
        for i in range(first, last):
            _chunk_gradient(gradient, columns, row_starts[i], row_starts[i + 1], left[block], i, right[block])


@_kernel
def step_dense(out, x, transposed, starts, n_hidden, relu):  # type: ignore[no-untyped-def]
    """out += x @ transposed, with x at a start taken as zero; then activate n_hidden units. (B, n) and (B, n_x)."""
    places, values = np.empty(x.shape[1] + 1, np.int64), np.empty(x.shape[1] + 1, out.dtype)
    for b in range(len(out)):
        if not starts[b]:
            _add_dense_product(out[b], x[b], transposed, places, values)
        _activate(out[b], n_hidden, relu)


@_kernel
def step_sparse(out, x, values, row_starts, columns, lanes, starts, n_hidden, relu):  # type: ignore[no-untyped-def]
    """out += x @ matrix.T, with x at a start taken as zero; then activate n_hidden units. (B, n) and (B, n_x)."""
    L = len(lanes)
    B, n = out.shape
    source, total = np.zeros(x.shape[1] * L, out.dtype), np.empty(L, out.dtype)
    nothing = np.zeros(L, out.dtype)
    for first in range(0, B, L):
        width = min(L, B - first)
        for lane in range(width):
            for j in range(x.shape[1]):
                source[j * L + lane] = 0 if starts[first + lane] else x[first + lane, j]
        for i in range(n):
            _row_product(values, columns, row_starts[i], row_starts[i + 1], source, nothing, 0, total, 0, lanes)
            for lane in range(width):
                out[first + lane, i] += total[lane]
        for lane in range(width):
            _activate(out[first + lane], n_hidden, relu)
