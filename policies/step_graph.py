"""What a policy needs to know of the ONNX graph to which it adds one step of its actor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


@dataclass(frozen=True)
class SparseRows:
    """Weights of a matrix in any order: rows and columns int64, values float32, all of one length."""

    n_rows: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float32]

    def dense(self, columns: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the chosen columns as a full matrix (n_rows, number of chosen columns)."""
        chosen = self.select(columns)
        matrix = np.zeros((self.n_rows, columns.sum()), np.float32)
        matrix[chosen.rows, (np.cumsum(columns) - 1)[chosen.columns]] = chosen.values
        return matrix

    def select(self, columns: NDArray[np.bool_]) -> "SparseRows":
        """Return the weights in the chosen columns; columns keep their numbers."""
        kept = columns[self.columns]
        return SparseRows(self.n_rows, self.rows[kept], self.columns[kept], self.values[kept])


class StepGraph(Protocol):
    """An ONNX graph while it is being put together; values have names, and what a method adds has a name of its own."""

    def constant(self, name: str, values: ArrayLike) -> str:
        """Store an array, whose type the file keeps; returns its name."""

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""

    def split(self, value: str, sizes: list[int], outputs: list[str]) -> list[str]:
        """Cut (B, sum of sizes) into pieces along the second axis; returns their names."""

    def full_blocks(self, blocks: Mapping[str, tuple[int, int]]) -> list[str]:
        """Return which of the blocks beside each other in some rows are better full matrices, by time and size.

        :param blocks: name -> size (rows times columns) and number of weights
        """

    def sparse_product(self, name: str, matrix: SparseRows, vectors: str) -> str:
        """Add the product of a matrix with every row of `vectors` (B, number of columns); returns `name`."""


def array(tensor: Tensor) -> NDArray[np.float32]:
    """Return a parameter as an array."""
    return tensor.detach().cpu().numpy()
