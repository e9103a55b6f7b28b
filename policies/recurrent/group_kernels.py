"""Compiled CPU kernels for sparse matrices of row groups: eight rows that share their columns.

An entry is a column of a group, with a value for each of the group's rows: its index is read, and the state it points
to loaded, once for eight weights. Groups of fewer rows, and entries that lack some, are filled up with zeros.

*Slabs* are (..., unit, L): the L lanes, four or eight, are batch columns at one time, and all that a step reads and
writes of them lies in one piece. The loop over time works on the slabs of the states in place. *Group rows* are (...,
group, L, WIDTH): slabs with the units of a group side by side, for the gradients of the weights. As in `kernels`, all
release the GIL and give the same bits however the work is shared out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from policies.recurrent.kept_code import keep
from policies.recurrent.lanes import (
    add,
    broadcast,
    interleave,
    load,
    multiply,
    multiply_add,
    prefetch,
    store,
    zero_unless_positive,
)

WIDTH = 8
"""Rows of a whole group, as `policies.network.grouped_patterns` draws them."""

COLUMNS = 16
"""Batch columns of all times that the gradient kernel takes at once."""

INPUTS = 1 << 16
"""Inputs of all units that products take at once, about: a quarter of a megabyte, for the second-level cache."""

AHEAD = 8
"""So many entries before their turn the states that they point to are called for."""

# Sums may be reordered, but NaN and infinity keep their meaning: a diverging network must show.
_FAST = {"reassoc", "contract", "nsz"}
_compile: Callable[..., Any] = njit(nogil=True, fastmath=_FAST, error_model="numpy")
_part: Callable[..., Any] = njit(nogil=True, fastmath=_FAST, error_model="numpy", inline="always")

LANES_VERSION = "ab03f803acb62291"
"""Digest of lanes.py, as in `kernels`."""

_ROWS = (0,) * WIDTH
_1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(i) for i in range(1, 9))
_AHEAD = np.uint64(AHEAD)


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    return keep(_compile(function), function)


@_part
def _product(values, columns, first, last, x, origin, sums, lanes):  # type: ignore[no-untyped-def]
    """sums[r] = sum over the entries k of a group of values[k, r] * x[columns[k]]; x begins at origin."""
    L, end = len(lanes), np.uint64(len(columns) - 1)
    a = b = c = d = e = f = g = h = broadcast(values.dtype.type(0), lanes)
    for k in range(np.uint64(first), np.uint64(last)):
        prefetch(x, origin + columns[min(k + _AHEAD, end)] * L)
        z, v = load(x, origin + np.int64(columns[k]) * L, lanes), k * _8
        a = multiply_add(values[v], z, a)
        b = multiply_add(values[v + _1], z, b)
        c = multiply_add(values[v + _2], z, c)
        d = multiply_add(values[v + _3], z, d)
        e = multiply_add(values[v + _4], z, e)
        f = multiply_add(values[v + _5], z, f)
        g = multiply_add(values[v + _6], z, g)
        h = multiply_add(values[v + _7], z, h)
    store(sums, 0, a)
    store(sums, L, b)
    store(sums, 2 * L, c)
    store(sums, 3 * L, d)
    store(sums, 4 * L, e)
    store(sums, 5 * L, f)
    store(sums, 6 * L, g)
    store(sums, 7 * L, h)


@_part
def _scatter(values, columns, first, last, x, at, origin, lanes):  # type: ignore[no-untyped-def]
    """x[origin + columns[k]] += sum over r of values[k, r] * x[at + r], for the entries k of a group."""
    L, end = len(lanes), np.uint64(len(columns) - 1)
    a, b, c, d = load(x, at, lanes), load(x, at + L, lanes), load(x, at + 2 * L, lanes), load(x, at + 3 * L, lanes)
    to = at + 4 * L
    e, f, g, h = load(x, to, lanes), load(x, to + L, lanes), load(x, to + 2 * L, lanes), load(x, to + 3 * L, lanes)
    zeros = broadcast(values.dtype.type(0), lanes)
    for k in range(np.uint64(first), np.uint64(last)):
        prefetch(x, origin + columns[min(k + _AHEAD, end)] * L)
        to, v = origin + np.int64(columns[k]) * L, k * _8
        s, t = multiply_add(values[v], a, load(x, to, lanes)), multiply_add(values[v + _1], b, zeros)
        s, t = multiply_add(values[v + _2], c, s), multiply_add(values[v + _3], d, t)
        s, t = multiply_add(values[v + _4], e, s), multiply_add(values[v + _5], f, t)
        s, t = multiply_add(values[v + _6], g, s), multiply_add(values[v + _7], h, t)
        store(x, to, add(s, t))


@_part
def _gradient(gradient, columns, first, last, left, right, units, slab, n_slabs, lanes):  # type: ignore[no-untyped-def]
    """gradient[k, r] += left[., r] . right[., columns[k]] for the entries k of a group, over some slabs from one on.

    :param left: (n_slabs * L, WIDTH), flat
    :param right: (slabs, units, L), flat
    """
    L, end, zeros = len(lanes), len(columns) - 1, broadcast(gradient.dtype.type(0), _ROWS)
    whole = last - (last - first & 3)
    for k in range(first, whole, 4):
        a, b, c, d = zeros, zeros, zeros, zeros
        e, f, g, h = zeros, zeros, zeros, zeros
        for s in range(n_slabs):
            base = np.uint64((slab + s) * units)
            p, q = (base + np.uint64(columns[k])) * L, (base + np.uint64(columns[k + 1])) * L
            r, t = (base + np.uint64(columns[k + 2])) * L, (base + np.uint64(columns[k + 3])) * L
            for i in range(k + AHEAD, k + AHEAD + 4):
                prefetch(right, ((slab + s) * units + columns[min(i, end)]) * L)
            for lane in range(0, L, 2):  # Two sums for each entry hide the latency of the additions.
                even, odd = np.uint64(lane), np.uint64(lane + 1)
                y, z = load(left, (s * L + lane) * WIDTH, _ROWS), load(left, (s * L + lane + 1) * WIDTH, _ROWS)
                a, e = multiply_add(right[p + even], y, a), multiply_add(right[p + odd], z, e)
                b, f = multiply_add(right[q + even], y, b), multiply_add(right[q + odd], z, f)
                c, g = multiply_add(right[r + even], y, c), multiply_add(right[r + odd], z, g)
                d, h = multiply_add(right[t + even], y, d), multiply_add(right[t + odd], z, h)
        at = k * WIDTH
        store(gradient, at, add(load(gradient, at, _ROWS), add(a, e)))
        store(gradient, at + WIDTH, add(load(gradient, at + WIDTH, _ROWS), add(b, f)))
        store(gradient, at + 2 * WIDTH, add(load(gradient, at + 2 * WIDTH, _ROWS), add(c, g)))
        store(gradient, at + 3 * WIDTH, add(load(gradient, at + 3 * WIDTH, _ROWS), add(d, h)))
    for k in range(whole, last):
        a, b, c, d = load(gradient, k * WIDTH, _ROWS), zeros, zeros, zeros
        for s in range(n_slabs):
            prefetch(right, ((slab + s) * units + columns[min(k + AHEAD, end)]) * L)
            p, at = np.uint64(((slab + s) * units + columns[k]) * L), s * L * WIDTH
            for lane in range(0, L, 4):
                q, j = p + np.uint64(lane), at + lane * WIDTH
                a = multiply_add(right[q], load(left, j, _ROWS), a)
                b = multiply_add(right[q + _1], load(left, j + WIDTH, _ROWS), b)
                c = multiply_add(right[q + _2], load(left, j + 2 * WIDTH, _ROWS), c)
                d = multiply_add(right[q + _3], load(left, j + 3 * WIDTH, _ROWS), d)
        store(gradient, k * WIDTH, add(add(a, b), add(c, d)))


@_part
def _transposed(x, at, lanes):  # type: ignore[no-untyped-def]
    """Return eight rows of L lanes as one vector, lane after lane."""
    L = len(lanes)
    to = at + 4 * L
    a, b, c, d = load(x, at, lanes), load(x, at + L, lanes), load(x, at + 2 * L, lanes), load(x, at + 3 * L, lanes)
    e, f, g, h = load(x, to, lanes), load(x, to + L, lanes), load(x, to + 2 * L, lanes), load(x, to + 3 * L, lanes)
    even = interleave(interleave(a, e), interleave(c, g))
    return interleave(even, interleave(interleave(b, f), interleave(d, h)))


@_part
def _swap_resets(states, origin, kept, starts, lanes):  # type: ignore[no-untyped-def]
    """Exchange those lanes of a state, which begins at origin, at which an episode starts, with what is kept."""
    L = len(lanes)
    for lane in range(L):
        if starts[lane]:
            for i in range(len(kept) // L):
                states[origin + i * L + lane], kept[i * L + lane] = kept[i * L + lane], states[origin + i * L + lane]


@_part
def _tanh(x, first, last):  # type: ignore[no-untyped-def]
    for i in range(first, last):  # By way of exp, exact to a rounding of 1 and twice as fast as the library's.
        decay = np.exp(-2 * abs(x[i]))
        size = (1 - decay) / (1 + decay)
        x[i] = size if x[i] >= 0 else -size


# Arrays are flat, and places in them numbers: numba counts references of every part of an array that it takes, in loops
# that are to stay in registers.


@_kernel
def multiply_groups(values, rows, starts, columns, x, bias, out, first, last, lanes):  # type: ignore[no-untyped-def]
    """Write bias + matrix @ x to the rows of groups first to last; x (slabs, n_columns, L), out (slabs, n_rows, L)."""
    L = len(lanes)
    sums, inputs, target = np.empty(WIDTH * L, out.dtype), x.reshape(-1), out.reshape(-1)
    some = max(1, INPUTS // (x.shape[1] * L))
    for begin in range(0, len(x), some):
        for g in range(first, last):
            for slab in range(begin, min(begin + some, len(x))):
                _product(values, columns, starts[g], starts[g + 1], inputs, slab * x.shape[1] * L, sums, lanes)
                for i in range(rows[g], rows[g + 1]):
                    total = add(load(sums, (i - rows[g]) * L, lanes), broadcast(bias[i], lanes))
                    store(target, (slab * out.shape[1] + i) * L, total)


@_kernel
def scan_groups(values, rows, starts, columns, states, resets, n_hidden, relu, lane_group, lanes):  # type: ignore[no-untyped-def]
    """Run the recurrence in place for a group of lanes, over some steps.

    :param values, rows, starts, columns: the recurrent matrix in row groups
    :param states: (S + 1, lane groups, n, L); [0] the state before the first step, [1:] holds U x + b and receives the
        states
    :param resets: (S, lane groups, L) bool, episode starts
    """
    L = len(lanes)
    _, K, n, _ = states.shape
    flat, sums, kept = states.reshape(-1), np.empty(WIDTH * L, states.dtype), np.zeros(n * L, states.dtype)
    for s in range(len(resets)):
        before, after = (s * K + lane_group) * n * L, ((s + 1) * K + lane_group) * n * L
        begins = resets[s, lane_group].any()
        if begins:
            _swap_resets(flat, before, kept, resets[s, lane_group], lanes)
        for g in range(len(rows) - 1):
            _product(values, columns, starts[g], starts[g + 1], flat, before, sums, lanes)
            for i in range(rows[g], rows[g + 1]):
                total = add(load(sums, (i - rows[g]) * L, lanes), load(flat, after + i * L, lanes))
                if relu and i < n_hidden:
                    total = zero_unless_positive(total, total)
                store(flat, after + i * L, total)
        if not relu:
            _tanh(flat, after, after + n_hidden * L)
        if begins:
            _swap_resets(flat, before, kept, resets[s, lane_group], lanes)
            kept[:] = 0


@_kernel
def backpropagate_groups(  # type: ignore[no-untyped-def]
    values, rows, starts, columns, deltas, upstream, carried, states, resets, n_hidden, relu, lane_group, lanes
):
    """Turn the states' gradients into those before the activation, for the steps and lanes of `scan_groups`.

    :param deltas: (S, lane groups, groups, L, WIDTH), receives them as group rows; in groups of fewer rows the rest is
        without meaning
    :param upstream: (S, lane groups, m, L), gradients of the last m units of the states
    :param carried: (lane groups, n, L), gradient of the state after the last step that came through later ones,
        overwritten with that of the state before the first step
    """
    L = len(lanes)
    _, K, n, _ = states.shape
    G, m = len(rows) - 1, upstream.shape[2]
    z, given, delta, later = states.reshape(-1), upstream.reshape(-1), deltas.reshape(-1), carried.reshape(-1)
    # Two states in one array, gradients before and after a step of the matrix. Groups of fewer rows read beyond their
    # own, which counts nothing, and beyond the end.
    size = (n + WIDTH) * L
    both, zeros = np.zeros(2 * size, states.dtype), np.zeros(n * L, states.dtype)
    source, out = size, 0
    both[: n * L] = later[lane_group * n * L : (lane_group + 1) * n * L]
    zero, minus_one = broadcast(both.dtype.type(0), lanes), broadcast(both.dtype.type(-1), lanes)
    for s in range(len(resets) - 1, -1, -1):
        slab = s * K + lane_group
        after = (slab + K) * n * L
        source, out = out, source
        for i in range(n):
            total = load(both, source + i * L, lanes)
            if i >= n - m:
                total = add(total, load(given, (slab * m + i - n + m) * L, lanes))
            if i < n_hidden:
                state = load(z, after + i * L, lanes)
                if relu:
                    total = zero_unless_positive(total, state)
                else:  # times the derivative 1 - z²
                    total = add(total, multiply(multiply(minus_one, total), multiply(state, state)))
            store(both, source + i * L, total)
            store(both, out + i * L, zero)
        for g in range(G):
            store(delta, (slab * G + g) * WIDTH * L, _transposed(both, source + rows[g] * L, lanes))
        if resets[s, lane_group].any():
            _swap_resets(both, source, zeros, resets[s, lane_group], lanes)
            zeros[:] = 0
        for g in range(G):
            _scatter(values, columns, starts[g], starts[g + 1], both, source + rows[g] * L, out, lanes)
    later[lane_group * n * L : (lane_group + 1) * n * L] = both[out : out + n * L]


@_kernel
def gradient_groups(starts, columns, deltas, right, skipped, gradient, sums, first, last, lanes):  # type: ignore[no-untyped-def]
    """Add deltas @ right.T to the gradient at the entries of groups first to last, and the deltas to their sums.

    :param deltas: (slabs, groups, L, WIDTH)
    :param right: (slabs, n_columns, L)
    :param skipped: (slabs, L) bool, batch columns that count as zero
    :param gradient: (entries, WIDTH)
    :param sums: (groups, WIDTH)
    """
    L = len(lanes)
    G, units = deltas.shape[1], right.shape[1]
    delta, columns_of, skip = deltas.reshape(-1), right.reshape(-1), skipped.reshape(-1)
    some = max(1, COLUMNS // L)
    left, zeros = np.empty(some * L * WIDTH, deltas.dtype), broadcast(deltas.dtype.type(0), _ROWS)
    for slab in range(0, len(right), some):
        n_slabs = min(some, len(right) - slab)
        for g in range(first, last):
            total = load(sums, g * WIDTH, _ROWS)
            for s in range(n_slabs):
                at = ((slab + s) * G + g) * L * WIDTH
                for i in range(0, L * WIDTH, 16):  # of the next group
                    prefetch(delta, at + L * WIDTH + i)
                for lane in range(L):
                    row = zeros if skip[(slab + s) * L + lane] else load(delta, at + lane * WIDTH, _ROWS)
                    store(left, (s * L + lane) * WIDTH, row)
                    total = add(total, row)
            store(sums, g * WIDTH, total)
            _gradient(gradient, columns, starts[g], starts[g + 1], left, columns_of, units, slab, n_slabs, lanes)


@_kernel
def step_groups(out, x, values, rows, starts, columns, resets, n_hidden, relu):  # type: ignore[no-untyped-def]
    """out += x @ matrix.T, with x at a start taken as zero; then activate n_hidden units. (B, n) and (B, n_x)."""
    sums, inputs = np.empty(WIDTH, out.dtype), x.reshape(-1)
    zeros = broadcast(out.dtype.type(0), _ROWS)
    for g in range(len(rows) - 1):
        for b in range(len(out)):
            if resets[b]:
                continue
            s = t = zeros
            own, first, last = np.uint64(b * x.shape[1]), starts[g], starts[g + 1]
            for k in range(first, last - 1, 2):
                s = multiply_add(inputs[own + np.uint64(columns[k])], load(values, k * WIDTH, _ROWS), s)
                t = multiply_add(inputs[own + np.uint64(columns[k + 1])], load(values, (k + 1) * WIDTH, _ROWS), t)
            if last - first & 1:
                k = last - 1
                s = multiply_add(inputs[own + np.uint64(columns[k])], load(values, k * WIDTH, _ROWS), s)
            store(sums, 0, add(s, t))
            for i in range(rows[g], rows[g + 1]):
                out[b, i] += sums[i - rows[g]]
    for b in range(len(out)):
        if relu:
            for i in range(n_hidden):
                out[b, i] = 0 if out[b, i] < 0 else out[b, i]
        else:
            _tanh(out[b], 0, n_hidden)
