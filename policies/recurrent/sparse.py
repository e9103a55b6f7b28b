"""The scan with compressed matrices, everything in blocked columns ordered by group, time, lane.

The input matrix is taken as sparse even when it is full: in this layout its kernels are as fast as dense products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from policies.recurrent import kernels
from policies.recurrent.arrangement import Inputs, Recurrence, from_columns, from_rows, row_ranges, to_columns, to_rows
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.threads import Chain, Job


@dataclass(frozen=True)
class Saved:
    """What backward needs of a forward pass; P is the batch size B padded to whole groups of lanes.

    :param batch_size: B
    :param starts: (T, P) bool
    :param states: (T, n, P)
    :param previous: the states that the steps started from, blocked columns (blocks, n, CHUNK)
    :param x: inputs, blocked columns (blocks, n_x, CHUNK)
    :param input_weights: weights of U, 1-D
    :param transposed: weights of R in the order of its columns, 1-D
    """

    batch_size: int
    starts: Tensor
    states: Tensor
    previous: Tensor
    x: Tensor
    input_weights: Tensor
    transposed: Tensor


def forward(
    layer: Recurrence, inputs: Inputs, state: Tensor, bias: Tensor, weights: Sequence[Tensor]
) -> Chain[tuple[Tensor, Saved]]:
    """Run over whole sequences.

    :param state: (B, n)
    :param bias: (n,)
    :param weights: those of U's and of R's blocks, each 1-D
    :return: the states (T, B, n), and what `backward` takes
    """
    (T, B, _), n = inputs.shape, len(bias)
    lanes, groups = lane_groups(B, n)
    padding = (0, lanes * groups - B)
    input_weights, recurrent_weights = layer.concatenate(weights)
    # Padded columns start anew at every step, so that they can never grow.
    starts = pad(inputs.starts, padding, value=True)
    first_state = pad(state.t(), padding).contiguous()
    x = inputs.columns(groups, lanes)
    projected = x.new_empty(len(x), n, kernels.CHUNK)
    states = x.new_empty(T, n, lanes * groups)
    previous = torch.empty_like(projected)
    previous[-1] = 0  # The rest of the last block, which the loop leaves out, takes part in the products.
    R, R_transposed = layer.R.by_row, layer.R.by_column
    values, transposed = torch.empty_like(recurrent_weights), torch.empty_like(recurrent_weights)
    jobs: list[Job] = [
        partial(multiply, layer.U, input_weights, x, bias, projected, *rows)
        for rows in _ranges(layer.U, starts.numel())
    ]
    for form, target in ((R, values), (R_transposed, transposed)):
        jobs.append(partial(torch.index_select, recurrent_weights, 0, torch.from_numpy(form.order), out=target))
    yield jobs
    arrays = [tensor.numpy() for tensor in (projected, first_state, states, previous, starts)]
    scan = partial(kernels.scan_sparse, values.numpy(), R.starts, R.columns, *arrays, layer.n_hidden, layer.relu)
    yield [partial(scan, group, (0,) * lanes) for group in range(groups)]
    return states.transpose(1, 2)[:, :B], Saved(B, starts, states, previous, x, input_weights, transposed)


def backward(
    layer: Recurrence, saved: Saved, grad_states: Tensor | None, grad_outputs: Tensor | None, inputs_needed: bool
) -> Chain[list[Tensor | None]]:
    """Run back through time.

    :param grad_states: gradient of the states, (T, B, n)
    :param grad_outputs: gradient of the outputs, (T, B, n_y)
    :param inputs_needed: whether the gradient of the inputs is needed
    :return: gradients of inputs (T, B, n_x), state (B, n), bias (n,), and of the weights of U and of R, 1-D
    """
    n, B, N = layer.R.shape[0], saved.batch_size, saved.starts.numel()
    lanes, groups = lane_groups(B, n)
    deltas = torch.zeros_like(saved.previous)
    for grads, first in ((grad_states, 0), (grad_outputs, layer.n_hidden)):
        if grads is not None:
            deltas[:, first:] += to_columns(to_rows(grads, groups, lanes))
    grad_state = deltas.new_empty(n, lanes * groups)
    arrays = [tensor.numpy() for tensor in (deltas, grad_state, saved.states, saved.starts)]
    starts, columns, _ = layer.R.by_column
    retreat = partial(kernels.backpropagate_sparse, saved.transposed.numpy(), starts, columns, *arrays)
    yield [partial(retreat, layer.n_hidden, layer.relu, group, (0,) * lanes) for group in range(groups)]
    grad_U, grad_R = deltas.new_zeros(layer.U.n_weights), deltas.new_zeros(layer.R.n_weights)
    grad_bias, grad_rows = deltas.new_empty(n), deltas.new_empty(0)
    jobs: list[Job] = []
    for matrix, right, gradient in ((layer.R, saved.previous, grad_R), (layer.U, saved.x, grad_U)):
        jobs += [partial(add_gradient, matrix, deltas, right, gradient, *rows) for rows in _ranges(matrix, N)]
    jobs.append(partial(torch.sum, deltas, (0, 2), out=grad_bias))
    if inputs_needed:
        grad_rows = deltas.new_empty(N, layer.U.shape[1])
        jobs.append(partial(multiply_transposed, layer.U, saved.input_weights, deltas, grad_rows))
    yield jobs
    grad_inputs = from_rows(grad_rows, groups, lanes, B) if inputs_needed else None
    grad_weights = torch.empty_like(grad_R).index_copy_(0, torch.from_numpy(layer.R.by_row.order), grad_R)
    return [grad_inputs, grad_state[:, :B].t(), grad_bias, grad_U, grad_weights]


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
    # The blocks of U lie one above the other, so its weights are in the order of its rows already.
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


def _ranges(matrix: BlockMatrix, n_rows: int) -> list[tuple[int, int]]:
    return row_ranges(matrix.shape[0], n_rows * matrix.n_weights)
