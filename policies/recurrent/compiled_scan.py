"""The scan on the CPU: compiled kernels, several layers at once on a few threads.

Work is cut into jobs by its shape alone, every job writes its own part of the results and no sum is shared between
jobs, so the results are the same bits for any number of threads.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial, reduce
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from policies.recurrent import kernels
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.threads import Job, run_chains

_SPLIT_ABOVE = 1_000_000
"""Products of more multiplications than this are cut into two jobs."""


class CompiledScan(torch.autograd.Function):
    """The scans of several layers as one differentiable operation.

    `apply(scans, inputs, starts, n_threads, *tensors)`: one fresh `LayerScan` per layer, inputs (T, B, n_x), starts
    (T, B) bool, and per layer its state (B, n), bias (n,), and the weights of U's and of R's blocks. Returns per layer
    the states (T, B, n) and, once more, the outputs (T, B, n_y): gradients usually come through these alone, and are
    then not spread over all units.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scans: Sequence["LayerScan"],
        inputs: Tensor,
        starts: Tensor,
        n_threads: int | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        details = [tensor.detach() for tensor in tensors]
        shared = Inputs(inputs.detach(), starts)
        for scan in scans:
            scan.take(shared, *details[: scan.n_tensors])
            del details[: scan.n_tensors]
        run_chains([(scan.begin, scan.prepare, scan.advance) for scan in _by_cost(scans)], n_threads)
        ctx.scans, ctx.n_threads = scans, n_threads
        ctx.set_materialize_grads(False)
        results = [scan.result() for scan in scans]
        ctx.save_for_backward(*results)  # Only so that autograd notices if a caller writes into them.
        return tuple(
            part for scan, states in zip(scans, results, strict=True) for part in (states, scan.outputs(states))
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.saved_tensors  # noqa: B018
        scans: Sequence[LayerScan] = ctx.scans
        inputs_needed: bool = ctx.needs_input_grad[1]
        used = []
        for scan, states, outputs in zip(scans, grads[::2], grads[1::2], strict=True):
            if states is not None or outputs is not None:
                scan.take_gradients(states, outputs, inputs_needed)
                used.append(scan)
        run_chains([(scan.begin_backward, scan.retreat, scan.gradient_jobs) for scan in _by_cost(used)], ctx.n_threads)
        grad_inputs = reduce(torch.add, (scan.grad_inputs() for scan in used)) if inputs_needed and used else None
        parameters = [
            grad for scan in scans for grad in (scan.gradients() if scan in used else [None] * scan.n_tensors)
        ]
        return (None, grad_inputs, None, None, *parameters)


def _by_cost(scans: Sequence["LayerScan"]) -> list["LayerScan"]:
    """Return the scans with the longest loop first: it is what the others can be fitted around."""
    return sorted(scans, key=lambda scan: -scan.loop_cost())


class Inputs:
    """The inputs and episode starts of one forward pass, rearranged once for all layers that need it.

    An arrangement (groups, lanes) orders the (time, batch) columns by group, time, lane; the batch is padded with
    zeros to groups * lanes.
    """

    def __init__(self, inputs: Tensor, starts: Tensor) -> None:
        self.inputs, self.starts = inputs, starts
        self._lock = Lock()
        self._rows: dict[tuple[int, int], Tensor] = {}
        self._columns: dict[tuple[int, int], Tensor] = {}

    def rows(self, groups: int, lanes: int) -> Tensor:
        """Return the inputs as rows (N, n_x)."""
        with self._lock:
            key = (groups, lanes)
            if key not in self._rows:
                T, B, n_x = self.inputs.shape
                padded = pad(self.inputs, (0, 0, 0, groups * lanes - B)) if groups * lanes > B else self.inputs
                self._rows[key] = padded.reshape(T, groups, lanes, n_x).transpose(0, 1).reshape(-1, n_x)
            return self._rows[key]

    def columns(self, groups: int, lanes: int) -> Tensor:
        """Return the inputs as blocked columns (blocks, n_x, CHUNK)."""
        rows = self.rows(groups, lanes)
        with self._lock:
            key = (groups, lanes)
            if key not in self._columns:
                self._columns[key] = to_columns(rows)
            return self._columns[key]


def to_blocks(rows: Tensor) -> Tensor:
    """Cut rows (N, n) into (blocks, CHUNK, n), padded with zeros."""
    n_blocks = -(-len(rows) // kernels.CHUNK)
    missing = n_blocks * kernels.CHUNK - len(rows)
    return (pad(rows, (0, 0, 0, missing)) if missing else rows).view(n_blocks, kernels.CHUNK, -1)


def to_columns(rows: Tensor) -> Tensor:
    """Turn rows (N, n) into blocked columns (blocks, n, CHUNK), padded with zeros."""
    return to_blocks(rows).transpose(1, 2).contiguous()


def to_rows(columns: Tensor, n_rows: int) -> Tensor:
    """Turn blocked columns back into rows (N, n)."""
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])[:n_rows]


def row_ranges(n_rows: int, n_multiplications: int) -> list[tuple[int, int]]:
    """Cut the rows of a product into ranges that are worth a job each."""
    half = n_rows // 2
    return [(0, half), (half, n_rows)] if n_multiplications > _SPLIT_ABOVE and half else [(0, n_rows)]


class LayerScan(ABC):
    """One layer's part of a `CompiledScan`, from forward to backward; made anew for every call.

    This class multiplies with the compressed input matrix; the loop over time is the subclass's.

    :param input_matrix: U
    :param recurrent_matrix: R
    :param n_hidden: hidden units
    :param relu: ReLU if true, else tanh
    """

    groups: int
    lanes: int
    _grad_state: Tensor

    def __init__(self, input_matrix: BlockMatrix, recurrent_matrix: BlockMatrix, n_hidden: int, relu: bool) -> None:
        self.input_matrix, self.recurrent_matrix = input_matrix, recurrent_matrix
        self.n_hidden, self.relu = n_hidden, relu
        self.n, self.n_x = input_matrix.shape
        self.n_tensors = 2 + len(input_matrix.blocks) + len(recurrent_matrix.blocks)

    def take(self, inputs: Inputs, state: Tensor, bias: Tensor, *weights: Tensor) -> None:
        """Take inputs, state (B, n), bias (n,) and the weights of U's and of R's blocks."""
        self.T, self.B, _ = inputs.inputs.shape
        self.inputs, self.state, self.bias, self.weights = inputs, state, bias, weights
        self.sizes = [len(block) for block in weights]
        self.choose_groups()
        self.N = self.T * self.groups * self.lanes
        self.input_ranges = row_ranges(self.n, self.input_cost())

    def begin(self) -> list[Job]:
        """Return the job that lays out what was taken."""
        return [self._lay_out]

    def _lay_out(self) -> None:
        n_input_blocks = len(self.input_matrix.blocks)
        self.input_weights = torch.cat(self.weights[:n_input_blocks])
        self.recurrent_weights = torch.cat(self.weights[n_input_blocks:])
        self.arrange(self.inputs.starts)
        self.arrange_inputs()

    def prepare(self) -> list[Job]:
        """Return the jobs before the loop over time: U x + b, and R laid out."""
        return [partial(self.project, *rows) for rows in self.input_ranges] + self.recurrent_jobs()

    def input_cost(self) -> int:
        """Return the number of multiplications of U x."""
        return self.N * self.input_matrix.n_weights

    def arrange_inputs(self) -> None:
        """Lay out the inputs."""
        self.x = self.inputs.columns(self.groups, self.lanes)
        self.projected = torch.empty(len(self.x), self.n, kernels.CHUNK, dtype=self.x.dtype)

    def project(self, first: int, last: int) -> None:
        """Compute rows first to last of U x + b."""
        form = self.input_matrix.by_row
        arrays = self.x.numpy(), self.bias.numpy(), self.projected.numpy()
        kernels.multiply_sparse(self.input_weights.numpy(), form.starts, form.columns, *arrays, first, last)

    def take_gradients(self, grad_states: Tensor | None, grad_outputs: Tensor | None, inputs_needed: bool) -> None:
        """Take the gradients of the states (T, B, n) and the outputs (T, B, n_y)."""
        self.grad_states, self.grad_outputs, self.inputs_needed = grad_states, grad_outputs, inputs_needed

    def begin_backward(self) -> list[Job]:
        """Return the job that lays out the gradients that were taken."""
        return [self.arrange_gradients]

    def gradient_jobs(self) -> list[Job]:
        """Return the jobs after the loop: the gradients of weights, bias and, if needed, inputs."""
        self.input_gradient = torch.zeros_like(self.input_weights)
        self.recurrent_gradient = torch.zeros_like(self.recurrent_weights)
        jobs = self.recurrent_gradient_jobs()
        jobs += [partial(self.compute_input_gradient, *rows) for rows in self.input_ranges]
        jobs.append(self._sum_deltas)
        if self.inputs_needed:
            jobs.append(self.multiply_back)
        return jobs

    def compute_input_gradient(self, first: int, last: int) -> None:
        """Compute the gradient of the weights in rows first to last of U."""
        form = self.input_matrix.by_row
        arrays = self.delta_columns(first, last).numpy(), self.x.numpy(), self.input_gradient.numpy()
        kernels.gradient_sparse(form.starts, form.columns, *arrays, first, last)

    def _sum_deltas(self) -> None:
        self.bias_gradient = self.sum_deltas()

    def multiply_back(self) -> None:
        """Compute the gradient of the inputs, (N, n_x)."""
        form = self.input_matrix.by_column
        deltas = self.delta_columns(0, self.n)
        result = deltas.new_empty(len(deltas), self.n_x, kernels.CHUNK)
        arrays = deltas.numpy(), deltas.new_zeros(self.n_x).numpy(), result.numpy()
        values = self.input_weights.numpy()[form.order]
        kernels.multiply_sparse(values, form.starts, form.columns, *arrays, 0, self.n_x)
        self.back = to_rows(result, self.N)

    def grad_inputs(self) -> Tensor:
        """Return the gradient of the inputs, (T, B, n_x)."""
        grouped = self.back.reshape(self.groups, self.T, self.lanes, self.n_x).transpose(0, 1)
        return grouped.reshape(self.T, self.groups * self.lanes, self.n_x)[:, : self.B]

    def gradients(self) -> list[Tensor]:
        """Return the gradients of state, bias and weights, in the order of `take`."""
        n_input_blocks = len(self.input_matrix.blocks)
        return [
            self._grad_state,
            self.bias_gradient,
            *self.input_gradient.split(self.sizes[:n_input_blocks]),
            *self.recurrent_gradient.split(self.sizes[n_input_blocks:]),
        ]

    def outputs(self, states: Tensor) -> Tensor:
        """Return a copy of the outputs, (T, B, n_y)."""
        return states[..., self.n_hidden :].clone(memory_format=torch.contiguous_format)

    @abstractmethod
    def choose_groups(self) -> None:
        """Set `groups` and `lanes`: how the batch is cut."""

    @abstractmethod
    def arrange(self, starts: Tensor) -> None:
        """Lay out state, starts (T, B) and the buffers of the loop."""

    @abstractmethod
    def loop_cost(self) -> int:
        """Return the number of vector operations of the loop's longest job."""

    @abstractmethod
    def recurrent_jobs(self) -> list[Job]:
        """Return the jobs that lay out the recurrent weights."""

    @abstractmethod
    def advance(self) -> list[Job]:
        """Return the jobs of the loop over time."""

    @abstractmethod
    def result(self) -> Tensor:
        """Return the states, (T, B, n)."""

    @abstractmethod
    def arrange_gradients(self) -> None:
        """Lay out the gradients that were taken."""

    @abstractmethod
    def retreat(self) -> list[Job]:
        """Return the jobs of the loop back through time, after which the deltas are known."""

    @abstractmethod
    def delta_columns(self, first: int, last: int) -> Tensor:
        """Return the deltas as blocked columns, of which only units first to last need be filled in."""

    @abstractmethod
    def sum_deltas(self) -> Tensor:
        """Return the deltas summed over time and batch, (n,)."""

    @abstractmethod
    def recurrent_gradient_jobs(self) -> list[Job]:
        """Return the jobs that compute `recurrent_gradient`."""


class DenseScan(LayerScan):
    """A layer whose recurrent matrix is filled in; everything in rows ordered by time, then batch.

    :param dense_inputs: whether the input matrix is filled in as well
    """

    def __init__(
        self,
        input_matrix: BlockMatrix,
        recurrent_matrix: BlockMatrix,
        n_hidden: int,
        relu: bool,
        dense_inputs: bool,
    ) -> None:
        super().__init__(input_matrix, recurrent_matrix, n_hidden, relu)
        self.dense_inputs = dense_inputs

    def choose_groups(self) -> None:
        self.groups, self.lanes = 1, self.B
        self.batch_ranges = row_ranges(self.B, self.T * self.B * self.n * self.n)

    def arrange(self, starts: Tensor) -> None:
        self.starts = starts
        self.buffer = self.state.new_empty(self.T + 1, self.B, self.n)
        self.buffer[0] = self.state.masked_fill(starts[0, :, None], 0)
        self.R = self.state.new_zeros(self.n, self.n)
        self.transposed = self.state.new_zeros(self.n, self.n)

    def loop_cost(self) -> int:
        return self.T * self.B // len(self.batch_ranges) * self.n * self.n // 32

    def recurrent_jobs(self) -> list[Job]:
        weights = self.recurrent_weights.numpy()
        pairs = ((self.recurrent_matrix.by_row, self.R), (self.recurrent_matrix.by_column, self.transposed))
        return [partial(kernels.fill_dense, weights, *form, matrix.numpy(), 0, self.n) for form, matrix in pairs]

    def input_cost(self) -> int:
        return self.N * self.n * self.n_x if self.dense_inputs else super().input_cost()

    def arrange_inputs(self) -> None:
        if self.dense_inputs:
            self.x = self.inputs.rows(self.groups, self.lanes)
            self.U = self.x.new_zeros(self.n, self.n_x)
        else:
            super().arrange_inputs()

    def project(self, first: int, last: int) -> None:
        out = self.buffer[1:].view(self.N, self.n)[:, first:last]
        if self.dense_inputs:
            weights = self.input_weights.numpy()
            kernels.fill_dense(weights, *self.input_matrix.by_row, self.U.numpy(), first, last)
            torch.addmm(self.bias[first:last], self.x, self.U[first:last].t(), out=out)
        else:
            super().project(first, last)
            out.copy_(to_rows(self.projected[:, first:last], self.N))

    def compute_input_gradient(self, first: int, last: int) -> None:
        if self.dense_inputs:
            matrix = torch.mm(self._delta_rows()[:, first:last].t(), self.x)
            gradient = self.input_gradient.numpy()
            kernels.gather_dense(matrix.numpy(), *self.input_matrix.by_row, gradient, first, last)
        else:
            super().compute_input_gradient(first, last)

    def multiply_back(self) -> None:
        if self.dense_inputs:
            self.back = torch.mm(self._delta_rows(), self.U)
        else:
            super().multiply_back()

    def advance(self) -> list[Job]:
        arrays = self.buffer.numpy(), self.transposed.numpy(), self.starts.numpy()
        return [partial(kernels.scan_dense, *arrays, self.n_hidden, self.relu, *batch) for batch in self.batch_ranges]

    def result(self) -> Tensor:
        return self.buffer[1:]

    def arrange_gradients(self) -> None:
        self.deltas = self.buffer.new_zeros(self.T, self.B, self.n)
        if self.grad_states is not None:
            self.deltas.copy_(self.grad_states)
        if self.grad_outputs is not None:
            self.deltas[..., self.n_hidden :] += self.grad_outputs
        self._grad_state = self.buffer.new_zeros(self.B, self.n)

    def retreat(self) -> list[Job]:
        arrays = tuple(a.numpy() for a in (self.deltas, self._grad_state, self.buffer, self.R, self.starts))
        return [
            partial(kernels.backpropagate_dense, *arrays, self.n_hidden, self.relu, *batch)
            for batch in self.batch_ranges
        ]

    def _delta_rows(self) -> Tensor:
        return self.deltas.view(self.N, self.n)

    def delta_columns(self, first: int, last: int) -> Tensor:
        n_blocks = -(-self.N // kernels.CHUNK)
        columns = self.deltas.new_empty(n_blocks, self.n, kernels.CHUNK)
        columns[:, first:last] = to_columns(self._delta_rows()[:, first:last])
        return columns

    def sum_deltas(self) -> Tensor:
        return self._delta_rows().sum(0)

    def recurrent_gradient_jobs(self) -> list[Job]:
        ranges = row_ranges(self.n, self.N * self.n * self.n)
        return [partial(self._compute_recurrent_gradient, *rows) for rows in ranges]

    def _compute_recurrent_gradient(self, first: int, last: int) -> None:
        previous = self.buffer[:-1].view(self.N, self.n)
        if self.starts[1:].any():
            previous = previous.masked_fill(self.starts.view(self.N, 1), 0)
        matrix = torch.mm(self._delta_rows()[:, first:last].t(), previous)
        gradient = self.recurrent_gradient.numpy()
        kernels.gather_dense(matrix.numpy(), *self.recurrent_matrix.by_row, gradient, first, last)


class SparseScan(LayerScan):
    """A layer whose matrices stay compressed; everything in columns ordered by group, time, lane.

    The input matrix is taken as sparse even when it is full: in this layout its kernels are as fast as dense products.
    """

    def choose_groups(self) -> None:
        self.lanes, self.groups = lane_groups(self.B, self.n)

    def arrange(self, starts: Tensor) -> None:
        width = self.lanes * self.groups
        # Padded columns start anew at every step, so that they can never grow.
        self.starts = pad(starts, (0, width - self.B), value=True)
        self.state = pad(self.state.t(), (0, width - self.B)).contiguous()
        n_blocks = -(-self.T * width // kernels.CHUNK)
        self.states = self.state.new_empty(self.T, self.n, width)
        self.previous = self.state.new_empty(n_blocks, self.n, kernels.CHUNK)
        self.previous[-1] = 0  # The rest of the last block, which the loop leaves out, takes part in the products.

    def loop_cost(self) -> int:
        return self.T * self.recurrent_matrix.n_weights

    def recurrent_jobs(self) -> list[Job]:
        return [self._compress]

    def _compress(self) -> None:
        weights = self.recurrent_weights.numpy()
        by_row, by_column = self.recurrent_matrix.by_row, self.recurrent_matrix.by_column
        self.compressed = weights[by_row.order], by_row.starts, by_row.columns
        self.transposed = weights[by_column.order], by_column.starts, by_column.columns

    def advance(self) -> list[Job]:
        arrays = tuple(a.numpy() for a in (self.projected, self.state, self.states, self.previous, self.starts))
        return self._group_jobs(kernels.scan_sparse, *self.compressed, *arrays)

    def result(self) -> Tensor:
        return self.states.transpose(1, 2)[:, : self.B]

    def arrange_gradients(self) -> None:
        self.deltas = torch.zeros_like(self.projected)
        width = self.groups * self.lanes
        for grads, first in ((self.grad_states, 0), (self.grad_outputs, self.n_hidden)):
            if grads is not None:
                padded = pad(grads, (0, 0, 0, width - self.B)) if width > self.B else grads
                rows = padded.unflatten(1, (self.groups, self.lanes)).transpose(0, 1).reshape(self.N, -1)
                self.deltas[:, first:] += to_blocks(rows).transpose(1, 2)
        self._grad_state = self.states.new_empty(self.n, width)

    def retreat(self) -> list[Job]:
        arrays = tuple(a.numpy() for a in (self.deltas, self._grad_state, self.states, self.starts))
        return self._group_jobs(kernels.backpropagate_sparse, *self.transposed, *arrays)

    def _group_jobs(self, kernel: Callable[..., None], *arrays: Any) -> list[Job]:
        lanes = (0,) * self.lanes
        return [partial(kernel, *arrays, self.n_hidden, self.relu, group, lanes) for group in range(self.groups)]

    def delta_columns(self, first: int, last: int) -> Tensor:
        return self.deltas

    def sum_deltas(self) -> Tensor:
        return self.deltas.sum((0, 2))

    def recurrent_gradient_jobs(self) -> list[Job]:
        ranges = row_ranges(self.n, self.N * self.recurrent_matrix.n_weights)
        return [partial(self._compute_recurrent_gradient, *rows) for rows in ranges]

    def _compute_recurrent_gradient(self, first: int, last: int) -> None:
        starts, columns, order = self.recurrent_matrix.by_row
        here = slice(starts[first], starts[last])
        gradient = torch.zeros_like(self.recurrent_gradient).numpy()
        kernels.gradient_sparse(starts, columns, self.deltas.numpy(), self.previous.numpy(), gradient, first, last)
        self.recurrent_gradient.numpy()[order[here]] = gradient[here]

    def gradients(self) -> list[Tensor]:
        _, *others = super().gradients()
        return [self._grad_state[:, : self.B].t(), *others]


def lane_groups(batch_size: int, n_units: int) -> tuple[int, int]:
    """Return how many batch columns the sparse kernels take at once, a power of two, and the number of such groups.

    Sixteen single-precision columns fill the widest vectors; beyond 2,048 units the state of sixteen leaves too little
    room for the weights in the second-level cache, and eight are as fast per column and make twice the jobs.
    """
    lanes = min(8 if n_units > 2048 else 16, 1 << (batch_size - 1).bit_length())
    return lanes, -(-batch_size // lanes)
