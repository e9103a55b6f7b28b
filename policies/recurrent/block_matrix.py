"""A sparse matrix put together from blocks: where each weight lies, and its compressed forms."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.network.grouped_patterns import GROUP_ROWS


class CompressedRows(NamedTuple):
    """Compressed sparse rows: row i holds entries starts[i] to starts[i + 1].

    :param starts: (n_rows + 1,) int32
    :param columns: column of each entry, uint16 where that holds them all, else int32
    :param order: which weight each entry is, int64
    """

    starts: NDArray[np.int32]
    columns: NDArray[Any]
    order: NDArray[np.int64]


class RowGroups(NamedTuple):
    """Groups of up to GROUP_ROWS rows, which share their columns if the pattern was drawn so.

    An entry is a column in which some row of a group has a weight.

    :param rows: (n_groups + 1,) int32, group g holds rows rows[g] to rows[g + 1]
    :param starts: (n_groups + 1,) int32, its entries are starts[g] to starts[g + 1]
    :param columns: column of each entry, uint16 where that holds them all, else int32
    :param places: of each weight in (entries, GROUP_ROWS), flat, int64
    """

    rows: NDArray[np.int32]
    starts: NDArray[np.int32]
    columns: NDArray[Any]
    places: NDArray[np.int64]


class BlockMatrix:
    """The pattern of a matrix assembled from blocks; its weights are the blocks' weights, one block after the other.

    :param layout: the blocks by row and column of the arrangement, such as [["hh", "hy"], ["yh", "yy"]]
    :param shapes: block -> (rows, columns)
    :param patterns: block -> flat row-major positions, strictly increasing int64
    :raises ValueError: for positions that are not increasing or lie outside their block
    """

    def __init__(
        self,
        layout: Sequence[Sequence[str]],
        shapes: Mapping[str, tuple[int, int]],
        patterns: Mapping[str, NDArray[np.int64]],
    ) -> None:
        self.blocks = tuple(block for row in layout for block in row)
        rows, columns = [], []
        top = 0
        self.tops = []
        for layout_row in layout:
            left = 0
            self.tops.append(top)
            for block in layout_row:
                (n_rows, n_columns), positions = shapes[block], patterns[block]
                if len(positions) and (
                    positions[0] < 0 or positions[-1] >= n_rows * n_columns or (np.diff(positions) <= 0).any()
                ):
                    raise ValueError(f"positions of block {block} are not increasing within {n_rows} x {n_columns}")
                rows.append(positions // n_columns + top)
                columns.append(positions % n_columns + left)
                left += n_columns
            top += n_rows
        self.shape = (top, left)
        self.sizes = tuple(len(patterns[block]) for block in self.blocks)
        self.rows = np.concatenate(rows)
        self.columns = np.concatenate(columns)

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return len(self.rows)

    @property
    def density(self) -> float:
        """Weights divided by size."""
        return self.n_weights / (self.shape[0] * self.shape[1])

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Flat row-major position of each weight in the whole matrix."""
        return self.rows * self.shape[1] + self.columns

    @cached_property
    def by_row(self) -> CompressedRows:
        """The matrix in compressed rows."""
        return _compress(self.rows, self.columns, self.shape[0])

    @cached_property
    def by_column(self) -> CompressedRows:
        """The transposed matrix in compressed rows."""
        return _compress(self.columns, self.rows, self.shape[1])

    @cached_property
    def by_group(self) -> RowGroups:
        """The matrix in row groups; those of each row of blocks begin with its first row."""
        bounds = [*self.tops, self.shape[0]]
        rows = np.concatenate([np.arange(*pair, GROUP_ROWS) for pair in pairwise(bounds)] + [bounds[-1:]])
        groups = np.searchsorted(rows, self.rows, side="right") - 1
        entries, entry = np.unique(groups * self.shape[1] + self.columns, return_inverse=True)
        starts = np.searchsorted(entries, np.arange(len(rows)) * self.shape[1])
        columns = entries % self.shape[1]
        places = entry * GROUP_ROWS + self.rows - rows[groups]
        return RowGroups(rows.astype(np.int32), starts.astype(np.int32), _narrow(columns), places)


def _compress(rows: NDArray[np.int64], columns: NDArray[np.int64], n_rows: int) -> CompressedRows:
    order = np.lexsort((columns, rows))
    starts = np.zeros(n_rows + 1, np.int32)
    starts[1:] = np.cumsum(np.bincount(rows, minlength=n_rows))
    return CompressedRows(starts, _narrow(columns[order]), order)


def _narrow(columns: NDArray[np.int64]) -> NDArray[Any]:
    # The loop over time streams values and columns from memory: half-sized columns save a quarter of it.
    return columns.astype(np.uint16 if columns.max(initial=0) <= np.iinfo(np.uint16).max else np.int32)


class Values:
    """A matrix and its transpose as tensors, on any device."""

    matrix: Tensor
    transposed: Tensor

    def multiply(self, columns: Tensor) -> Tensor:
        """Return the matrix times (n_columns, N)."""
        return self.matrix @ columns

    def multiply_transposed(self, columns: Tensor) -> Tensor:
        """Return the transposed matrix times (n_rows, N)."""
        return self.transposed @ columns


class DenseValues(Values):
    """The matrix filled in."""

    def __init__(self, pattern: BlockMatrix, weights: Tensor) -> None:
        self.positions = torch.from_numpy(pattern.positions).to(weights.device)
        n_rows, n_columns = pattern.shape
        self.matrix = weights.new_zeros(n_rows * n_columns).index_copy_(0, self.positions, weights).view(n_rows, -1)
        self.transposed = self.matrix.t()

    def gradient(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the weights' gradient from left (n_rows, N) and right (n_columns, N)."""
        return (left @ right.t()).flatten()[self.positions]


class SparseValues(Values):
    """Sparse CSR tensors."""

    def __init__(self, pattern: BlockMatrix, weights: Tensor) -> None:
        self.matrix, self.order = self._tensor(pattern.by_row, weights, pattern.shape)
        self.transposed, _ = self._tensor(pattern.by_column, weights, (pattern.shape[1], pattern.shape[0]))

    def gradient(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the weights' gradient from left (n_rows, N) and right (n_columns, N)."""
        products = torch.sparse.sampled_addmm(self.matrix, left, right.t(), beta=0.0).values()
        return torch.empty_like(products).index_copy_(0, self.order, products)

    @staticmethod
    def _tensor(form: CompressedRows, weights: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        order = torch.from_numpy(form.order).to(weights.device)
        indices = (form.starts, form.columns.astype(np.int32))
        starts, columns = (torch.from_numpy(index).to(weights.device) for index in indices)
        return torch.sparse_csr_tensor(starts, columns, weights[order], shape, check_invariants=False), order
