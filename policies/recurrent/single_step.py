"""Single steps of a layer on the CPU, as rollouts and `predict` make them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.recurrent import kernels
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.compiled_scan import lane_groups

if TYPE_CHECKING:
    from policies.recurrent.layer import SparseRecurrentLayer


class Stepper:
    """Makes steps with matrices that are laid out once and, in evaluation mode, kept until a parameter changes.

    In training mode they are laid out for every step: a fused optimizer changes parameters without telling their
    version counters, so nothing would show that the matrices are out of date.
    """

    def __init__(self) -> None:
        self._versions: list[tuple[int, int]] = []
        self._tensors: list[Tensor] = []
        self._products: dict[int, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "Stepper":
        return Stepper()

    def __reduce__(self) -> tuple[type["Stepper"], tuple[()]]:
        return Stepper, ()

    def step(
        self, layer: "SparseRecurrentLayer", inputs: Tensor, state: Tensor, episode_starts: Tensor | None
    ) -> Tensor:
        """Make the step; see `SparseRecurrentLayer.step`."""
        tensors = layer.tensors()
        versions = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if layer.training or versions != self._versions:
            # The old tensors were held until here, so that no new one could have taken their place in memory.
            self._versions, self._tensors, self._products = versions, [tensor.detach() for tensor in tensors], {}
        B = len(inputs)
        products = self._products.get(B)
        if products is None:
            products = self._products[B] = self._lay_out(layer, B)
        everywhere = np.zeros(B, np.bool_)
        starts = everywhere if episode_starts is None else episode_starts.numpy().astype(np.bool_)
        out = np.empty((B, layer.state_size), inputs.detach().numpy().dtype)
        out[:] = self._tensors[0].numpy()
        (multiply_inputs, *input_matrix), (multiply_state, *recurrent_matrix) = products
        multiply_inputs(out, _array(inputs), *input_matrix, everywhere, 0, True)
        multiply_state(out, _array(state), *recurrent_matrix, starts, layer.n_hidden, layer.activation == "relu")
        return torch.from_numpy(out)

    def _lay_out(self, layer: "SparseRecurrentLayer", batch_size: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        U, R = layer.matrices()
        weights = [tensor.numpy() for tensor in self._tensors[1:]]
        U_backend, R_backend = layer.backends(1, batch_size)
        n_blocks = len(U.blocks)
        return (
            _product(U, np.concatenate(weights[:n_blocks]), U_backend, batch_size),
            _product(R, np.concatenate(weights[n_blocks:]), R_backend, batch_size),
        )


def _product(matrix: BlockMatrix, weights: NDArray[Any], backend: str, batch_size: int) -> tuple[Any, ...]:
    """Return a kernel and the matrix as it takes it."""
    n_rows, n_columns = matrix.shape
    if backend == "csr":
        form = matrix.by_row
        lanes, _ = lane_groups(batch_size, n_columns)
        return kernels.step_sparse, weights[form.order], form.starts, form.columns, (0,) * lanes
    transposed = np.zeros((n_columns, n_rows), weights.dtype)
    kernels.fill_dense(weights, *matrix.by_column, transposed, 0, n_columns)
    return kernels.step_dense, transposed


def _array(tensor: Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.detach().numpy())
