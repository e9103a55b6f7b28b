"""Which weights of a network exist, in groups of rows that share their columns: exactly as many as specified.

Blocks of whole columns of a few rows let compiled code read an index, and load what it points to, once for several
weights (block sparsity: Gray, Radford and Kingma 2017, "GPU Kernels for Block-Sparse Weights"; Narang, Undersander and
Diamos 2017, arXiv 1711.02782, prune recurrent networks by blocks).
"""

import numpy as np
from numpy.typing import NDArray

from policies.network.specification import BLOCKS, NetworkSpecification

GROUP_ROWS = 8
"""Rows of a group: as many single-precision numbers as the vectors of AVX2 hold."""


def draw_grouped_patterns(
    specification: NetworkSpecification, seed: int | np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Draw the positions of every block's weights, in groups of `GROUP_ROWS` rows that share their columns.

    The last group of a block has the rows that are left. Weights are spread evenly: a row has as many weights as
    another or one more, and so has a column in groups. So no output is without a weight in yh, and no column is read by
    nobody if there are as many columns of groups. Where weights are left that make up no column of a group, one column
    lacks its last rows. Time and memory grow with the weights and the number of units, not with the blocks' sizes.

    :param specification: sizes and weight counts of the blocks
    :param seed: seed, or a generator, which is advanced
    :return: block -> flat row-major positions, int64, sorted, of length `specification.weights[block]`
    """
    rng = np.random.default_rng(seed)
    return {block: _draw(rng, *specification.shape(block), specification.weights[block]) for block in BLOCKS}


def _draw(rng: np.random.Generator, n_rows: int, n_columns: int, count: int) -> NDArray[np.int64]:
    n_groups = -(-n_rows // GROUP_ROWS)
    sizes = np.full(n_groups, GROUP_ROWS)
    sizes[-1] = n_rows - GROUP_ROWS * (n_groups - 1)
    everywhere, left = divmod(count, n_rows)
    positions = []
    # How many rows of one more column a group has, in random order until the weights are used up.
    more = np.zeros(n_groups, np.int64)
    for group in rng.permutation(n_groups):
        more[group] = min(left, sizes[group])
        left -= more[group]
    deck = np.empty(0, np.int64)
    for group in rng.permutation(n_groups):
        columns, deck = _deal(rng, deck, n_columns, everywhere + (more[group] > 0))
        rows = GROUP_ROWS * group + np.arange(sizes[group])
        positions.append((rows[:, None] * n_columns + columns[:everywhere]).ravel())
        positions.append(rows[: more[group]] * n_columns + columns[-1:])
    return np.sort(np.concatenate(positions))


def _deal(
    rng: np.random.Generator, deck: NDArray[np.int64], n_columns: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take so many different columns from a shuffled deck, which is followed by a new one; return both."""
    if count > len(deck):
        new = rng.permutation(n_columns)
        held = np.isin(new, deck)  # They come last, so that no group gets a column twice.
        deck = np.concatenate([deck, new[~held], new[held]])
    return deck[:count], deck[count:]
