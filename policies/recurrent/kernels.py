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
from policies.recurrent.lanes import (
    add,
    add_lanes,
    broadcast,
    load,
    multiply,
    multiply_add,
    store,
    zero_unless_positive,
)

# Sums may be reordered, but NaN and infinity keep their meaning: a diverging network must show.
_FAST = {"reassoc", "contract", "nsz"}
_compile: Callable[..., Any] = njit(nogil=True, fastmath=_FAST, error_model="numpy")
# Parts of kernels, put in place before anything is compiled: as functions of their own they were up to 6 % slower.
_part: Callable[..., Any] = njit(nogil=True, fastmath=_FAST, error_model="numpy", inline="always")

LANES_VERSION = "ab03f803acb62291"
"""Digest of lanes.py. A change there has to change this file as well, or numba goes on with what it compiled before."""


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    return keep(_compile(function), function)


CHUNK = 64
"""Columns in a block; the last block is padded with zeros."""

_QUARTER = (0,) * (CHUNK // 4)
# Unsigned indices spare the test for places counted from the end.
_1, _2, _3, _4 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)


@_part
def _row_product(values, columns, first, last, x, lanes):  # type: ignore[no-untyped-def]
    """Return the sum over entries k of values[k] * x[columns[k] * L : + L]."""
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
    return add(add(a, b), add(c, d))


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


@_part
def _reset(state, starts, left, lanes):  # type: ignore[no-untyped-def]
    """Zero those lanes of a state (n * L,) at which an episode starts."""
    L = len(lanes)
    for lane in range(L):
        if starts[left + lane]:
            for i in range(len(state) // L):
                state[i * L + lane] = 0


@_kernel
def scan_sparse(values, row_starts, columns, projected, state, previous, starts, n_hidden, relu, left, lanes):  # type: ignore[no-untyped-def]
    """Run the recurrence for L lanes, the batch columns left to left + L, over some steps.

    :param values, row_starts, columns: the recurrent matrix in compressed rows
    :param projected: (blocks, n, CHUNK), U x + b, columns ordered by time, then batch
    :param state: (n, P), the state before the first step, overwritten with that after the last one
    :param previous: (blocks, n, CHUNK), receives the states before each step and before any reset
    :param starts: (S, P) bool
    """
    L = len(lanes)
    S, P = starts.shape
    n = len(state)
    flat = state.reshape(-1)
    z, out, kept = np.empty(n * L, state.dtype), np.empty(n * L, state.dtype), np.empty(n * L, state.dtype)
    for i in range(n):
        store(z, i * L, load(flat, i * P + left, lanes))
    for s in range(S):
        block, at = divmod(s * P + left, CHUNK)
        source = z
        if starts[s, left : left + L].any():
            kept[:] = z
            _reset(kept, starts[s], left, lanes)
            source = kept
        before, base = previous[block], projected[block]
        for i in range(n):
            store(before, i * CHUNK + at, load(z, i * L, lanes))
            first, last = row_starts[i], row_starts[i + 1]
            total = add(_row_product(values, columns, first, last, source, lanes), load(base, i * CHUNK + at, lanes))
            if relu and i < n_hidden:
                total = zero_unless_positive(total, total)
            store(out, i * L, total)
        if not relu:
            _activate(out, n_hidden * L, relu)
        z, out = out, z
    for i in range(n):
        store(flat, i * P + left, load(z, i * L, lanes))


@_kernel
def backpropagate_sparse(  # type: ignore[no-untyped-def]
    values, row_starts, columns, deltas, given, carried, previous, state, starts, n_hidden, relu, left, lanes
):
    """Turn the states' gradients into those before the activation, for the steps and lanes of `scan_sparse`.

    :param values, row_starts, columns: the transposed recurrent matrix in compressed rows
    :param deltas: (blocks, n, CHUNK), overwritten; rows from the one given on hold gradients on entry
    :param carried: (n, P), gradient of the state after the last step that came through later ones, overwritten with
        that of the state before the first step
    :param previous: (blocks, n, CHUNK), the states before each step
    :param state: (n, P), the state after the last step
    :param starts: (S, P) bool
    """
    L = len(lanes)
    S, P = starts.shape
    n = len(state)
    later = carried.reshape(-1)
    ends = state.reshape(-1)
    source, out = np.empty(n * L, state.dtype), np.empty(n * L, state.dtype)
    minus_one = broadcast(state.dtype.type(-1), lanes)
    for s in range(S - 1, -1, -1):
        block, at = divmod(s * P + left, CHUNK)
        next_block, next_at = divmod((s + 1) * P + left, CHUNK)
        delta, after = deltas[block], previous[min(next_block, len(previous) - 1)]
        for i in range(n):
            if s == S - 1:
                total = load(later, i * P + left, lanes)
            else:
                total = _row_product(values, columns, row_starts[i], row_starts[i + 1], source, lanes)
            if i >= given:
                total = add(total, load(delta, i * CHUNK + at, lanes))
            if i < n_hidden:
                z = load(ends, i * P + left, lanes) if s == S - 1 else load(after, i * CHUNK + next_at, lanes)
                if relu:
                    total = zero_unless_positive(total, z)
                else:  # times the derivative 1 - z²
                    total = add(total, multiply(multiply(minus_one, total), multiply(z, z)))
            store(delta, i * CHUNK + at, total)
            store(out, i * L, total)
        _reset(out, starts[s], left, lanes)
        source, out = out, source
    for i in range(n):
        store(later, i * P + left, _row_product(values, columns, row_starts[i], row_starts[i + 1], source, lanes))


@_kernel
def swap_resets(previous, kept, starts, batch_size):  # type: ignore[no-untyped-def]
    """Exchange the states from which no step started, because an episode did, with others.

    :param previous: (blocks, n, CHUNK), states before each step, columns ordered by time, then batch
    :param kept: (starts, n), the others, in the order of the columns
    :param starts: (S, P) bool, of which the first B of a step count
    """
    k = 0
    for s in range(len(starts)):
        for b in range(batch_size):
            if starts[s, b]:
                block, at = divmod(s * starts.shape[1] + b, CHUNK)
                for i in range(kept.shape[1]):
                    previous[block, i, at], kept[k, i] = kept[k, i], previous[block, i, at]
                k += 1


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
    for first in range(0, B, L):
        width = min(L, B - first)
        for lane in range(width):
            for j in range(x.shape[1]):
                source[j * L + lane] = 0 if starts[first + lane] else x[first + lane, j]
        for i in range(n):
            store(total, 0, _row_product(values, columns, row_starts[i], row_starts[i + 1], source, lanes))
            for lane in range(width):
                out[first + lane, i] += total[lane]
        for lane in range(width):
            _activate(out[first + lane], n_hidden, relu)
