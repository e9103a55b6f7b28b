"""The scan with the recurrent matrix filled in, everything in rows ordered by time, then batch.

The input matrix is filled in as well, or stays compressed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from policies.recurrent import grouped, kernels, sparse
from policies.recurrent.arrangement import Inputs, Recurrence, from_columns, row_ranges
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.threads import Chain, Job


@dataclass(frozen=True)
class Saved:
    """What backward needs of a forward pass.

    :param starts: (T, B) bool
    :param states: (T + 1, B, n), the initial one first
    :param R: the recurrent matrix, (n, n)
    :param input_weights: weights of U, 1-D
    :param U: the input matrix, (n, n_x); None if it stays compressed
    :param x: inputs, rows (T * B, n_x); with a compressed U blocked columns (blocks, n_x, chunk)
    """

    starts: Tensor
    states: Tensor
    R: Tensor
    input_weights: Tensor
    U: Tensor | None
    x: Tensor


def forward(
    layer: Recurrence, inputs: Inputs, state: Tensor, bias: Tensor, weights: Sequence[Tensor], all_states: bool
) -> Chain[tuple[Tensor | None, Tensor, Saved]]:
    """Run over whole sequences; arguments and results as in `sparse.forward`."""
    (T, B, n_x), n = inputs.shape, len(bias)
    input_weights, recurrent_weights = layer.concatenate(weights)
    states = state.new_empty(T + 1, B, n)
    states[0] = state.masked_fill(inputs.starts[0, :, None], 0)
    R, transposed = state.new_zeros(n, n), state.new_zeros(n, n)
    U = state.new_zeros(n, n_x) if layer.backends[0] == "dense" else None
    compressed = _compressed(layer)
    x = inputs.columns(B, compressed.CHUNK) if U is None else inputs.rows()
    values = compressed.arranged(layer.U, input_weights)
    projected = states[1:].view(T * B, n)

    def project(first: int, last: int) -> None:
        """Compute columns first to last of x U' + b."""
        if U is None:
            columns = x.new_empty(len(x), n, compressed.CHUNK)
            compressed.multiply(layer.U, values, x, bias, columns, first, last)
            projected[:, first:last] = from_columns(columns[:, first:last], T * B)
        else:
            kernels.fill_dense(input_weights.numpy(), *layer.U.by_row, U.numpy(), first, last)
            torch.addmm(bias[first:last], x, U[first:last].t(), out=projected[:, first:last])

    jobs: list[Job] = [partial(project, *rows) for rows in _input_ranges(layer, T * B)]
    for form, matrix in ((layer.R.by_row, R), (layer.R.by_column, transposed)):
        jobs.append(partial(kernels.fill_dense, recurrent_weights.numpy(), *form, matrix.numpy(), 0, n))
    yield jobs
    arrays = [tensor.numpy() for tensor in (states, transposed, inputs.starts)]
    scan = partial(kernels.scan_dense, *arrays, layer.n_hidden, layer.relu)
    yield [partial(scan, *batch) for batch in _batch_ranges(layer, T, B)]
    outputs = states[1:, :, layer.n_hidden :].clone(memory_format=torch.contiguous_format)
    return states[1:] if all_states else None, outputs, Saved(inputs.starts, states, R, input_weights, U, x)


def backward(
    layer: Recurrence, saved: Saved, grad_states: Tensor | None, grad_outputs: Tensor | None, inputs_needed: bool
) -> Chain[list[Tensor | None]]:
    """Run back through time; arguments and results as in `sparse.backward`."""
    (T, B), (n, n_x) = saved.starts.shape, layer.U.shape
    U, x, N = saved.U, saved.x, T * B
    deltas = saved.states.new_zeros(T, B, n)
    if grad_states is not None:
        deltas.copy_(grad_states)
    if grad_outputs is not None:
        deltas[..., layer.n_hidden :] += grad_outputs
    grad_state = deltas.new_zeros(B, n)
    arrays = [tensor.numpy() for tensor in (deltas, grad_state, saved.states, saved.R, saved.starts)]
    retreat = partial(kernels.backpropagate_dense, *arrays, layer.n_hidden, layer.relu)
    yield [partial(retreat, *batch) for batch in _batch_ranges(layer, T, B)]
    rows = deltas.view(N, n)
    grad_U, grad_R = deltas.new_zeros(layer.U.n_weights), deltas.new_zeros(layer.R.n_weights)
    grad_bias = deltas.new_empty(n)
    grad_inputs = deltas.new_empty(N, n_x) if inputs_needed else None

    def differentiate_R(first: int, last: int) -> None:
        previous = saved.states[:-1].view(N, n)
        if saved.starts[1:].any():
            previous = previous.masked_fill(saved.starts.view(N, 1), 0)
        _gather_gradient(layer.R, rows, previous, grad_R, first, last)

    def differentiate_U(first: int, last: int) -> None:
        if U is None:
            _compressed(layer).differentiate(layer.U, rows, x, grad_U, first, last)
        else:
            _gather_gradient(layer.U, rows, x, grad_U, first, last)

    def differentiate_inputs(out: Tensor) -> None:
        if U is None:
            sparse.multiply_transposed(layer.U, saved.input_weights, sparse.delta_columns(rows, 0, n), out)
        else:
            torch.mm(rows, U, out=out)

    jobs: list[Job] = [partial(differentiate_R, *part) for part in row_ranges(n, N * n * n)]
    jobs += [partial(differentiate_U, *part) for part in _input_ranges(layer, N)]
    jobs.append(partial(torch.sum, rows, 0, out=grad_bias))
    if grad_inputs is not None:
        jobs.append(partial(differentiate_inputs, grad_inputs))
    yield jobs
    return [None if grad_inputs is None else grad_inputs.view(T, B, n_x), grad_state, grad_bias, grad_U, grad_R]


def loop_cost(layer: Recurrence, n_steps: int, batch_size: int) -> int:
    """Return the number of vector operations of the loop's longest job."""
    n = layer.R.shape[0]
    return n_steps * batch_size // len(_batch_ranges(layer, n_steps, batch_size)) * n * n // 32


def _gather_gradient(matrix: BlockMatrix, rows: Tensor, right: Tensor, gradient: Tensor, first: int, last: int) -> None:
    """Write rows.T @ right, rows first to last of it, to the gradient; rows (N, n), right (N, n_columns)."""
    product = torch.mm(rows[:, first:last].t(), right)
    kernels.gather_dense(product.numpy(), *matrix.by_row, gradient.numpy(), first, last)


def _batch_ranges(layer: Recurrence, n_steps: int, batch_size: int) -> list[tuple[int, int]]:
    return row_ranges(batch_size, n_steps * batch_size * layer.R.shape[0] ** 2)


def _input_ranges(layer: Recurrence, n_rows: int) -> list[tuple[int, int]]:
    n, n_x = layer.U.shape
    return (
        row_ranges(n, n_rows * n * n_x) if layer.backends[0] == "dense" else _compressed(layer).ranges(layer.U, n_rows)
    )


def _compressed(layer: Recurrence) -> ModuleType:
    """Return the module whose products suit a compressed U."""
    return grouped if layer.backends[0] == "groups" else sparse
