"""The scan with matrices of row groups, states and inputs in slabs; see `group_kernels`.

U x + b is written into the states of a step, to which the loop adds R z in place. As in `sparse`, work goes by tiles
of a few steps: while the loop runs over one tile, other threads multiply the inputs of the next one, or differentiate
the weights along the last one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from policies.recurrent import group_kernels as kernels
from policies.recurrent import sparse
from policies.recurrent.arrangement import Inputs, Recurrence, from_rows, row_ranges, to_columns, to_rows
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.group_kernels import WIDTH
from policies.recurrent.threads import Chain, Job

CHUNK = 8
"""Most lanes: single-precision columns that fill the vectors of AVX2, of which sixteen hold the sums of a group."""

_TILE = 1 << 21
"""Entries of all units in a tile, about: eight megabytes. Smaller ones cost a job and its start for few steps."""


@dataclass(frozen=True)
class Saved:
    """What backward needs of a forward pass; K groups of L lanes hold the batch of B, padded with zeros.

    :param batch_size: B
    :param starts: (T, K, L) bool
    :param states: slabs (T + 1, K, n, L), the initial one first
    :param x: inputs, slabs (T, K, n_x, L)
    :param input_weights: weights of U, 1-D
    :param values: weights of R by entries, flat
    """

    batch_size: int
    starts: Tensor
    states: Tensor
    x: Tensor
    input_weights: Tensor
    values: Tensor


def forward(
    layer: Recurrence, inputs: Inputs, state: Tensor, bias: Tensor, weights: Sequence[Tensor], all_states: bool
) -> Chain[tuple[Tensor | None, Tensor, Saved]]:
    """Run over whole sequences; arguments and results as in `sparse.forward`."""
    (T, B, n_x), n = inputs.shape, len(bias)
    L, K = lane_groups(B)
    P = L * K
    input_weights, recurrent_weights = layer.concatenate(weights)
    # Padded columns start anew at every step, so that they can never grow.
    starts = pad(inputs.starts, (0, P - B), value=True).view(T, K, L)
    x = inputs.columns(P, L).view(T, K, n_x, L)
    states = x.new_empty(T + 1, K, n, L)
    first = pad(state.t(), (0, P - B)).masked_fill(starts[0].view(P), 0)
    states[0] = first.view(n, K, L).transpose(0, 1)
    tiles = list(_tiles(T, P, n))
    values_U, values = arranged(layer.U, input_weights), arranged(layer.R, recurrent_weights)

    def projection(index: int) -> list[Job]:
        """Return the jobs that multiply the inputs of a tile."""
        if index == len(tiles):
            return []
        steps = tiles[index]
        target = states[steps.start + 1 : steps.stop + 1]
        arguments = x[steps].flatten(0, 1), bias, target.flatten(0, 1)
        return [
            partial(multiply, layer.U, values_U, *arguments, *rows) for rows in ranges(layer.U, len(arguments[0]) * L)
        ]

    yield projection(0)
    for index, steps in enumerate(tiles):
        arrays = states[steps.start : steps.stop + 1].numpy(), starts[steps].numpy()
        scan = partial(kernels.scan_groups, *_form(layer.R, values), *arrays, layer.n_hidden, layer.relu)
        yield [partial(scan, k, (0,) * L) for k in range(K)] + projection(index + 1)

    def sequences(first: int) -> Tensor:
        """Return the states of the units from the first on, (T, B, .)."""
        return states[1:, :, first:].transpose(2, 3).reshape(T, P, -1)[:, :B]

    all_of_them = sequences(0) if all_states else None
    return all_of_them, sequences(layer.n_hidden).contiguous(), Saved(B, starts, states, x, input_weights, values)


def backward(
    layer: Recurrence, saved: Saved, grad_states: Tensor | None, grad_outputs: Tensor | None, inputs_needed: bool
) -> Chain[list[Tensor | None]]:
    """Run back through time; arguments and results as in `sparse.backward`."""
    B, (T, K, L), n = saved.batch_size, saved.starts.shape, layer.R.shape[0]
    P = K * L
    tiles = list(_tiles(T, P, n))
    new = saved.states.new_zeros
    carried = new(K, n, L)
    n_groups = len(layer.R.by_group.starts) - 1
    grad_U, grad_R = (new(len(matrix.by_group.columns), WIDTH) for matrix in (layer.U, layer.R))
    grad_bias = new(n_groups, WIDTH)
    grad_inputs = new(T, B, layer.U.shape[1]) if inputs_needed else None
    buffers = [new(_length(tiles[0]), K, n_groups, L, WIDTH) for _ in tiles[:2]]
    gradients: list[Job] = []  # of the tile before, whose deltas are ready
    for index in reversed(range(len(tiles))):
        steps = tiles[index]
        deltas = buffers[index % 2][: _length(steps)]
        given = layer.n_hidden if grad_states is None else 0
        upstream = new(_length(steps), B, n - given)
        if grad_states is not None:
            upstream += grad_states[steps]
        if grad_outputs is not None:
            upstream[..., layer.n_hidden - given :] += grad_outputs[steps]
        arrays = [
            deltas,
            to_columns(to_rows(upstream, P), L).contiguous().view(_length(steps), K, n - given, L),
            carried,
            saved.states[steps.start : steps.stop + 1],
            saved.starts[steps],
        ]
        retreat = partial(
            kernels.backpropagate_groups, *_form(layer.R, saved.values), *(array.numpy() for array in arrays)
        )
        yield [partial(retreat, layer.n_hidden, layer.relu, k, (0,) * L) for k in range(K)] + gradients
        slabs = deltas.flatten(0, 1)
        gradients = []
        for matrix, right, skipped, gradient, sums in (
            (layer.R, saved.states[steps], saved.starts[steps], grad_R, torch.zeros_like(grad_bias)),
            (layer.U, saved.x[steps], torch.zeros_like(saved.starts[steps]), grad_U, grad_bias),
        ):
            gradients += [
                partial(add_gradient, matrix, slabs, right.flatten(0, 1), skipped.flatten(0, 1), gradient, sums, *rows)
                for rows in ranges(matrix, len(slabs) * L)
            ]
        if grad_inputs is not None:
            gradients.append(partial(_differentiate_inputs, layer, saved, slabs, grad_inputs[steps]))
    yield gradients
    grad_state = carried.transpose(1, 2).reshape(P, n)[:B]
    grad_U, grad_R = (
        gradient.flatten()[torch.from_numpy(matrix.by_group.places)]
        for matrix, gradient in ((layer.U, grad_U), (layer.R, grad_R))
    )
    return [grad_inputs, grad_state, from_group_rows(layer.R, grad_bias), grad_U, grad_R]


def _differentiate_inputs(layer: Recurrence, saved: Saved, slabs: Tensor, out: Tensor) -> None:
    """Write the transpose of U times deltas, slabs of group rows, into (S, B, n_x)."""
    (_, K, L), (_, n_x) = saved.starts.shape, layer.U.shape
    rows = from_group_rows(layer.R, slabs.transpose(1, 2)).reshape(len(slabs) * L, -1)
    gradient = rows.new_empty(len(rows), n_x)
    sparse.multiply_transposed(layer.U, saved.input_weights, to_columns(rows).contiguous(), gradient)
    out.copy_(from_rows(gradient, K * L, saved.batch_size))


def lane_groups(batch_size: int) -> tuple[int, int]:
    """Return how many batch columns the kernels take at once, and the number of such groups."""
    lanes = 4 if batch_size <= 4 else CHUNK
    return lanes, -(-batch_size // lanes)


def loop_cost(layer: Recurrence, n_steps: int, batch_size: int) -> int:
    """Return the number of vector operations of the loop's longest job."""
    return n_steps * WIDTH * len(layer.R.by_group.columns)


def arranged(matrix: BlockMatrix, weights: Tensor) -> Tensor:
    """Return the weights (n_weights,) by entries, (entries, WIDTH)."""
    form = matrix.by_group
    values = weights.new_zeros(len(form.columns), WIDTH)
    values.view(-1)[torch.from_numpy(form.places)] = weights
    return values


def multiply(U: BlockMatrix, values: Tensor, x: Tensor, bias: Tensor, out: Tensor, first: int, last: int) -> None:
    """Write rows first to last, whole groups, of U x + bias into out (slabs, n, L).

    :param values: the weights of U as `arranged`
    :param x: (slabs, n_x, L)
    :param bias: (n,)
    """
    arrays = [tensor.numpy() for tensor in (x, bias, out)]
    kernels.multiply_groups(*_form(U, values), *arrays, *_groups(U, first, last), (0,) * x.shape[2])


def add_gradient(
    matrix: BlockMatrix,
    deltas: Tensor,
    right: Tensor,
    skipped: Tensor,
    gradient: Tensor,
    sums: Tensor,
    first: int,
    last: int,
) -> None:
    """Add deltas @ right.T to the gradient of rows first to last, whole groups, and the deltas to their sums.

    :param deltas: (slabs, groups, L, WIDTH)
    :param right: (slabs, n_columns, L)
    :param skipped: (slabs, L) bool, batch columns that count as zero
    :param gradient: (entries, WIDTH)
    :param sums: (groups, WIDTH)
    """
    form, lanes = matrix.by_group, (0,) * right.shape[2]
    arrays = [tensor.numpy() for tensor in (deltas, right, skipped, gradient, sums)]
    kernels.gradient_groups(form.starts, form.columns, *arrays, *_groups(matrix, first, last), lanes)


def differentiate(U: BlockMatrix, rows: Tensor, x: Tensor, gradient: Tensor, first: int, last: int) -> None:
    """Write rows.T @ x to the gradient of U's rows first to last, whole groups; as in `sparse`.

    :param rows: (N, n)
    :param x: (slabs, n_x, CHUNK)
    :param gradient: (n_weights,)
    """
    form, (start, stop), (left, right) = U.by_group, U.by_row.starts[[first, last]], _groups(U, first, last)
    units = torch.from_numpy(form.rows[left:right, None] + np.arange(WIDTH)).clamp(max=U.shape[0] - 1)
    deltas = pad(rows, (0, 0, 0, -len(rows) % CHUNK)).view(-1, CHUNK, rows.shape[1])[..., units.long()].transpose(1, 2)
    entries, sums = rows.new_zeros(len(form.columns), WIDTH), rows.new_zeros(right - left, WIDTH)
    arrays = [tensor.numpy() for tensor in (deltas.contiguous(), x, torch.zeros(len(x), CHUNK, dtype=torch.bool))]
    lanes, results = (0,) * CHUNK, (entries.numpy(), sums.numpy())
    kernels.gradient_groups(form.starts[left : right + 1], form.columns, *arrays, *results, 0, right - left, lanes)
    # The blocks of U lie one above the other, so its weights are in the order of its rows.
    gradient[start:stop] = entries.flatten()[torch.from_numpy(form.places[start:stop])]


def ranges(matrix: BlockMatrix, n_columns: int) -> list[tuple[int, int]]:
    """Cut the rows of a product with so many columns into ranges of whole groups that are worth a job each."""
    rows = matrix.by_group.rows
    cuts = row_ranges(len(rows) - 1, n_columns * WIDTH * len(matrix.by_group.columns))
    return [(int(rows[first]), int(rows[last])) for first, last in cuts]


def from_group_rows(matrix: BlockMatrix, rows: Tensor) -> Tensor:
    """Turn (..., groups, WIDTH) into (..., n)."""
    first, units = matrix.by_group.rows, np.arange(matrix.shape[0])
    groups = np.searchsorted(first, units, side="right") - 1
    return rows.flatten(-2)[..., torch.from_numpy(groups * WIDTH + units - first[groups])]


def _form(matrix: BlockMatrix, values: Tensor) -> tuple[np.ndarray, ...]:
    form = matrix.by_group
    return values.view(-1).numpy(), form.rows, form.starts, form.columns


def _groups(matrix: BlockMatrix, first: int, last: int) -> tuple[int, int]:
    """Return the groups of rows first to last."""
    found = np.searchsorted(matrix.by_group.rows, [first, last])
    return int(found[0]), int(found[1])


def _tiles(n_steps: int, padded_size: int, n_units: int) -> Iterator[slice]:
    """Cut steps into tiles."""
    length = max(1, _TILE // (n_units * padded_size))
    for first in range(0, n_steps, length):
        yield slice(first, min(first + length, n_steps))


def _length(steps: slice) -> int:
    return int(steps.stop - steps.start)
