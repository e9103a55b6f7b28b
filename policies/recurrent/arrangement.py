"""What the compiled scans share: what a layer computes, and how its sequences lie in memory.

Everything that is known of all steps at once has one row, or one column, for each of the N = T * P pairs of a time and
a batch entry, ordered by time, then batch; the batch of B is padded with zeros to P. *Rows* are (N, k), *blocked
columns* (blocks, k, CHUNK), see `kernels`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock

import torch
from torch import Tensor
from torch.nn.functional import pad

from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.kernels import CHUNK

_SPLIT_ABOVE = 1_000_000
"""Products of more multiplications than this are cut into two jobs."""


@dataclass(frozen=True)
class Recurrence:
    """The recurrence z_t = act(U x_t + b + R z_{t-1}) of one layer.

    :param U: pattern of the input matrix, (n, n_x)
    :param R: pattern of the recurrent matrix, (n, n)
    :param n_hidden: how many units, the first ones, have an activation
    :param relu: ReLU if true, else tanh
    :param backends: "dense", "csr" or "groups", of U and of R
    """

    U: BlockMatrix
    R: BlockMatrix
    n_hidden: int
    relu: bool
    backends: tuple[str, str]

    def concatenate(self, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the weights of U and those of R, from those of U's and then R's blocks, each 1-D."""
        n_blocks = len(self.U.blocks)
        return torch.cat(list(weights[:n_blocks])), torch.cat(list(weights[n_blocks:]))


class Inputs:
    """The inputs of one forward pass, rearranged once for all layers that need them so.

    :param inputs: (T, B, n_x)
    :param starts: episode starts, (T, B) bool
    """

    def __init__(self, inputs: Tensor, starts: Tensor) -> None:
        self.starts = starts
        self.shape = inputs.shape
        self._inputs = inputs
        self._lock = RLock()
        self._columns: dict[tuple[int, int], Tensor] = {}

    def rows(self) -> Tensor:
        """Return the inputs as rows (N, n_x), without padding."""
        return self._inputs.reshape(-1, self.shape[2])

    def columns(self, padded_size: int, chunk: int = CHUNK) -> Tensor:
        """Return the inputs as blocked columns (blocks, n_x, chunk), the batch padded to P."""
        with self._lock:
            form = padded_size, chunk
            if form not in self._columns:
                self._columns[form] = to_columns(to_rows(self._inputs, padded_size), chunk).contiguous()
            return self._columns[form]


def to_rows(sequences: Tensor, padded_size: int) -> Tensor:
    """Turn sequences (T, B, k) into rows (N, k), the batch padded to P."""
    B, k = sequences.shape[1:]
    padded = pad(sequences, (0, 0, 0, padded_size - B)) if padded_size > B else sequences
    return padded.reshape(-1, k)


def from_rows(rows: Tensor, padded_size: int, batch_size: int) -> Tensor:
    """Turn rows (N, k) back into sequences (T, B, k)."""
    return rows.view(-1, padded_size, rows.shape[1])[:, :batch_size]


def to_columns(rows: Tensor, chunk: int = CHUNK) -> Tensor:
    """Turn rows (N, k) into a view (blocks, k, chunk) of blocked columns, padded with zeros."""
    missing = -len(rows) % chunk
    padded = pad(rows, (0, 0, 0, missing)) if missing else rows
    return padded.view(-1, chunk, rows.shape[1]).transpose(1, 2)


def from_columns(columns: Tensor, n_rows: int) -> Tensor:
    """Turn blocked columns (blocks, k, chunk) back into rows (N, k)."""
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])[:n_rows]


def row_ranges(n_rows: int, n_multiplications: int) -> list[tuple[int, int]]:
    """Cut the rows of a product into ranges that are worth a job each."""
    half = n_rows // 2
    return [(0, half), (half, n_rows)] if n_multiplications > _SPLIT_ABOVE and half else [(0, n_rows)]
