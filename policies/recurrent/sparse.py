"""The scan with compressed matrices, everything in blocked columns.

Only the states are kept of all steps. What leads to them, and their gradients, live for a tile of a few steps, small
enough for the caches: while the loop runs over one tile, other threads multiply the inputs of the next one, or
differentiate the weights along the last one.

The input matrix is taken as sparse even when it is full: in this layout its kernels are as fast as dense products.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from policies.recurrent import kernels
from policies.recurrent.arrangement import Inputs, Recurrence, from_columns, from_rows, row_ranges, to_columns, to_rows
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.kernels import CHUNK
from policies.recurrent.threads import Chain, Job

_TILE = 1 << 19
"""Entries of all units in a tile, about: two megabytes. Smaller ones cost more than the caches give."""


class Tile(NamedTuple):
    """Some steps: their range, and that of the blocks which hold their columns."""

    steps: slice
    blocks: slice


@dataclass(frozen=True)
class Saved:
    """What backward needs of a forward pass; P is the batch size B padded to whole groups of lanes.

    :param batch_size: B
    :param starts: (T, P) bool
    :param previous: the states before each step and before any reset, blocked columns (blocks, n, CHUNK)
    :param ends: the state after each tile, (n, P)
    :param x: inputs, blocked columns (blocks, n_x, CHUNK)
    :param input_weights: weights of U, 1-D
    :param transposed: weights of R in the order of its columns, 1-D
    """

    batch_size: int
    starts: Tensor
    previous: Tensor
    ends: list[Tensor]
    x: Tensor
    input_weights: Tensor
    transposed: Tensor


def forward(
    layer: Recurrence, inputs: Inputs, state: Tensor, bias: Tensor, weights: Sequence[Tensor], all_states: bool
) -> Chain[tuple[Tensor | None, Tensor, Saved]]:
    """Run over whole sequences.

    :param state: (B, n)
    :param bias: (n,)
    :param weights: those of U's and of R's blocks, each 1-D
    :param all_states: return the states, too
    :return: the states (T, B, n) or None, the outputs (T, B, n_y), and what `backward` takes
    """
    (T, B, _), n = inputs.shape, len(bias)
    lanes, groups = lane_groups(B, n)
    P = lanes * groups
    input_weights, recurrent_weights = layer.concatenate(weights)
    # Padded columns start anew at every step, so that they can never grow.
    starts = pad(inputs.starts, (0, P - B), value=True)
    x = inputs.columns(P)
    tiles = list(_tiles(T, P, n))
    previous = x.new_empty(len(x), n, CHUNK)
    previous[-1] = 0  # The rest of the last block, which the loop leaves out, takes part in the products.
    current = pad(state.t(), (0, P - B)).masked_fill(starts[0], 0).contiguous()
    ends: list[Tensor] = []
    R, R_transposed = layer.R.by_row, layer.R.by_column
    values, transposed = torch.empty_like(recurrent_weights), torch.empty_like(recurrent_weights)
    projections = [x.new_empty(tiles[0].blocks.stop, n, CHUNK) for _ in tiles[:2]]

    def projection(index: int) -> list[Job]:
        """Return the jobs that multiply the inputs of a tile."""
        if index == len(tiles):
            return []
        columns = x[tiles[index].blocks]
        target = projections[index % 2][: len(columns)]
        return [
            partial(multiply, layer.U, input_weights, columns, bias, target, *rows)
            for rows in ranges(layer.U, len(columns) * CHUNK)
        ]

    jobs = projection(0)
    for form, target in ((R, values), (R_transposed, transposed)):
        jobs.append(partial(torch.index_select, recurrent_weights, 0, torch.from_numpy(form.order), out=target))
    yield jobs
    for index, (steps, blocks) in enumerate(tiles):
        current = current.clone()
        arrays = [tensor.numpy() for tensor in (projections[index % 2], current, previous[blocks], starts[steps])]
        scan = partial(kernels.scan_sparse, values.numpy(), R.starts, R.columns, *arrays, layer.n_hidden, layer.relu)
        yield [partial(scan, left, (0,) * lanes) for left in range(0, P, lanes)] + projection(index + 1)
        ends.append(current)

    def sequences(first: int) -> Tensor:
        """Return the states of the units from the first on, (T, B, .)."""
        rows = torch.cat([from_columns(previous[:, first:], T * P)[P:], current[first:].t()])
        return from_rows(rows, P, B)

    states = sequences(0) if all_states else None
    saved = Saved(B, starts, previous, ends, x, input_weights, transposed)
    return states, sequences(layer.n_hidden).contiguous(), saved


def backward(
    layer: Recurrence, saved: Saved, grad_states: Tensor | None, grad_outputs: Tensor | None, inputs_needed: bool
) -> Chain[list[Tensor | None]]:
    """Run back through time.

    :param grad_states: gradient of the states, (T, B, n)
    :param grad_outputs: gradient of the outputs, (T, B, n_y)
    :param inputs_needed: whether the gradient of the inputs is needed
    :return: gradients of inputs (T, B, n_x), state (B, n), bias (n,), and of the weights of U and of R, 1-D
    """
    n, B, (T, P) = layer.R.shape[0], saved.batch_size, saved.starts.shape
    lanes, _ = lane_groups(B, n)
    tiles = list(_tiles(T, P, n))
    new = saved.previous.new_zeros
    carried = new(n, P)
    grad_U, grad_R, grad_bias = new(layer.U.n_weights), new(layer.R.n_weights), new(n)
    grad_rows = new(T * P if inputs_needed else 0, layer.U.shape[1])
    buffers = [new(tiles[0].blocks.stop, n, CHUNK) for _ in tiles[:2]]
    form = layer.R.by_column.starts, layer.R.by_column.columns
    gradients: list[Job] = []  # of the tile before, whose deltas are ready
    undo: list[Job] = []  # what was done to its states
    for index in reversed(range(len(tiles))):
        steps, blocks = tiles[index]
        deltas = buffers[index % 2][: blocks.stop - blocks.start]
        given = layer.n_hidden
        if grad_states is not None:
            given = 0
            deltas.copy_(to_columns(to_rows(grad_states[steps], P)))
        if grad_outputs is not None:
            columns = to_columns(to_rows(grad_outputs[steps], P))
            outputs = deltas[:, layer.n_hidden :]
            outputs.copy_(columns) if grad_states is None else outputs.add_(columns)
        previous, starts = saved.previous[blocks].numpy(), saved.starts[steps].numpy()
        arrays = (deltas.numpy(), given, carried.numpy(), previous, saved.ends[index].numpy(), starts)
        retreat = partial(kernels.backpropagate_sparse, saved.transposed.numpy(), *form, *arrays)
        loop: list[Job] = [
            partial(retreat, layer.n_hidden, layer.relu, left, (0,) * lanes) for left in range(0, P, lanes)
        ]
        yield loop + gradients
        for job in undo:
            job()
        # The loop needs the states as they were; the gradient of R needs them as the steps saw them.
        zeros = new(int(np.count_nonzero(starts[:, :B])), n).numpy()
        swap = partial(kernels.swap_resets, previous, zeros, starts, B)
        swap()
        undo = [swap]
        gradients = [partial(lambda part: grad_bias.add_(part.sum((0, 2))), deltas)]
        for matrix, right, gradient in ((layer.R, saved.previous, grad_R), (layer.U, saved.x, grad_U)):
            gradients += [
                partial(add_gradient, matrix, deltas, right[blocks], gradient, *rows)
                for rows in ranges(matrix, len(deltas) * CHUNK)
            ]
        if inputs_needed:
            rows = grad_rows[steps.start * P : steps.stop * P]
            gradients.append(partial(multiply_transposed, layer.U, saved.input_weights, deltas, rows))
    yield gradients
    for job in undo:
        job()
    grad_inputs = from_rows(grad_rows, P, B) if inputs_needed else None
    grad_weights = torch.empty_like(grad_R).index_copy_(0, torch.from_numpy(layer.R.by_row.order), grad_R)
    return [grad_inputs, carried[:, :B].t(), grad_bias, grad_U, grad_weights]


def _tiles(n_steps: int, padded_size: int, n_units: int) -> Iterator[Tile]:
    """Cut steps into tiles, each of whole blocks of columns."""
    unit = CHUNK // math.gcd(CHUNK, padded_size)  # So many steps fill whole blocks.
    length = max(1, _TILE // (n_units * padded_size * unit)) * unit
    for first in range(0, n_steps, length):
        last = min(first + length, n_steps)
        yield Tile(slice(first, last), slice(first * padded_size // CHUNK, -(-last * padded_size // CHUNK)))


def loop_cost(layer: Recurrence, n_steps: int, batch_size: int) -> int:
    """Return the number of vector operations of the loop's longest job."""
    return n_steps * layer.R.n_weights


def lane_groups(batch_size: int, n_units: int) -> tuple[int, int]:
    """Return how many batch columns the sparse kernels take at once, a power of two, and the number of such groups.

    Sixteen single-precision columns fill the widest vectors; beyond 2,048 units the state of sixteen leaves too little
    room for the weights in the second-level cache, and eight are as fast per column and make twice the jobs.
    """
    lanes = min(8 if n_units > 2048 else 16, 1 << (batch_size - 1).bit_length())
    return lanes, -(-batch_size // lanes)


def multiply(U: BlockMatrix, weights: Tensor, x: Tensor, bias: Tensor, out: Tensor, first: int, last: int) -> None:
    """Write rows first to last of U x + bias into out (blocks, n, CHUNK); x (blocks, n_x, CHUNK), bias (n,)."""
    arrays = [tensor.numpy() for tensor in (x, bias, out)]
    kernels.multiply_sparse(weights.numpy(), U.by_row.starts, U.by_row.columns, *arrays, first, last)


def multiply_transposed(U: BlockMatrix, weights: Tensor, deltas: Tensor, out: Tensor) -> None:
    """Write the transpose of U times deltas (blocks, n, CHUNK) into rows (N, n_x)."""
    form, n_x = U.by_column, U.shape[1]
    result = deltas.new_empty(len(deltas), n_x, kernels.CHUNK)
    arrays = [tensor.numpy() for tensor in (deltas, deltas.new_zeros(n_x), result)]
    kernels.multiply_sparse(weights.numpy()[form.order], form.starts, form.columns, *arrays, 0, n_x)
    out.copy_(from_columns(result, len(out)))


def add_gradient(matrix: BlockMatrix, deltas: Tensor, right: Tensor, gradient: Tensor, first: int, last: int) -> None:
    """Add deltas @ right.T to the gradient of rows first to last, in the order of compressed rows.

    :param deltas: (blocks, n_rows, CHUNK)
    :param right: (blocks, n_columns, CHUNK)
    :param gradient: (n_weights,)
    """
    arrays = [tensor.numpy() for tensor in (deltas, right, gradient)]
    kernels.gradient_sparse(matrix.by_row.starts, matrix.by_row.columns, *arrays, first, last)


def differentiate(U: BlockMatrix, rows: Tensor, x: Tensor, gradient: Tensor, first: int, last: int) -> None:
    """Add rows.T @ x to the gradient of U's rows first to last.

    :param rows: (N, n)
    :param x: (blocks, n_x, CHUNK)
    :param gradient: (n_weights,)
    """
    add_gradient(U, delta_columns(rows, first, last), x, gradient, first, last)


def delta_columns(rows: Tensor, first: int, last: int) -> Tensor:
    """Return rows (N, n) as blocked columns (blocks, n, CHUNK), of which only first to last are filled in."""
    columns = rows.new_empty(-(-len(rows) // CHUNK), rows.shape[1], CHUNK)
    columns[:, first:last] = to_columns(rows[:, first:last])
    return columns


def arranged(matrix: BlockMatrix, weights: Tensor) -> Tensor:
    """Return the weights of U as `multiply` takes them."""
    return weights  # The blocks of U lie one above the other, so they are in the order of its rows already.


def ranges(matrix: BlockMatrix, n_rows: int) -> list[tuple[int, int]]:
    """Cut the rows of a product with so many columns into ranges that are worth a job each."""
    return row_ranges(matrix.shape[0], n_rows * matrix.n_weights)
