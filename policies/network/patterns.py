"""Which weights of a network exist: random positions, exactly as many per block as the specification says."""

import numpy as np
from numpy.typing import NDArray

from policies.network.specification import BLOCKS, NetworkSpecification


def draw_patterns(specification: NetworkSpecification, seed: int | np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Draw the positions of every block's weights, uniformly without replacement.

    If that leaves a row of the block yh empty, the block is drawn again with one weight in each row first, so that
    every output reads the hidden state. Time and memory grow with the weights, not with the blocks' sizes.

    :param specification: sizes and weight counts of the blocks
    :param seed: seed, or a generator, which is advanced
    :return: block -> flat row-major positions, int64, sorted, of length `specification.weights[block]`
    :raises ValueError: if a block cannot hold its weights, or yh has fewer weights than rows
    """
    rng = np.random.default_rng(seed)
    patterns = {}
    for block in BLOCKS:
        n_rows, n_columns = specification.shape(block)
        count = specification.weights[block]
        if not 0 <= count <= n_rows * n_columns:
            raise ValueError(f"block {block}: {count} weights do not fit into {n_rows} x {n_columns} positions")
        if block == "yh" and count < n_rows:
            raise ValueError(f"block yh: {count} weights for {n_rows} output rows, at least one in each is needed")
        positions = draw_positions(rng, n_rows * n_columns, count)
        if block == "yh" and len(np.unique(positions // n_columns)) < n_rows:
            first = np.arange(n_rows) * n_columns + rng.integers(n_columns, size=n_rows)
            positions = draw_positions(rng, n_rows * n_columns, count, first)
        patterns[block] = positions
    return patterns


def draw_positions(
    rng: np.random.Generator, size: int, count: int, chosen: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return `count` sorted positions below `size`: those already `chosen`, and others drawn uniformly.

    :param chosen: distinct positions, no more than `count`
    """
    chosen = np.empty(0, np.int64) if chosen is None else chosen
    if 2 * count > size:  # Most of them: draw the absent ones instead, so that few draws hit the same position twice.
        free = np.setdiff1d(np.arange(size), chosen, assume_unique=True)
        absent = free[draw_positions(rng, len(free), size - count)]
        return np.setdiff1d(np.arange(size), absent, assume_unique=True)
    while len(chosen) < count:  # Drawing what is missing treats all positions alike: every subset is equally likely.
        chosen = union(chosen, rng.integers(size, size=count - len(chosen)))
    return chosen


def union(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct positions of two arrays, sorted; several times as fast as `np.union1d` where one is."""
    both = np.sort(np.concatenate([first, second]), kind="stable")
    return both[np.diff(both, prepend=-1) > 0]
