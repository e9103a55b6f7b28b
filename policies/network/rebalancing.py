"""Weights that move: which ones go and where others come, at a fixed number of weights.

A part of the weights of every block is removed, those worth least, and as many are grown: as many in each block as it
lost, or more where weights are worth more. Nothing here is of a block's size: time and memory grow with the weights.

Sources: moving a share of the weights is Mocanu et al. 2018 (SET, arXiv 1707.04780) and Evci et al. 2020 (RigL, arXiv
1911.11134) within a block; between blocks Dettmers and Zettlemoyer 2019 (SNFS, arXiv 1907.04840).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.network.blocks import BLOCKS, block_floors
from policies.network.patterns import draw_positions, union
from policies.network.specification import NetworkSpecification
from policies.refusal import Refusal

Patterns = Mapping[str, NDArray[np.int64]]
"""Block -> flat row-major positions of its weights, sorted, int64."""


class Candidates(NamedTuple):
    """Where weights of a block may lie.

    :param positions: flat row-major, sorted, int64, among them those of all weights there are
    :param scores: of each, float; weights are grown where they are highest
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.floating]


class Rebalanced(NamedTuple):
    """Patterns after a move.

    :param patterns: block -> sorted positions of all weights
    :param revived: block -> those that connect a hidden unit which nothing else connects, sorted
    :param unconnected: hidden units that the removal left without a weight from elsewhere or to elsewhere, sorted
    """

    patterns: dict[str, NDArray[np.int64]]
    revived: dict[str, NDArray[np.int64]]
    unconnected: NDArray[np.int64]


def removal_counts(specification: NetworkSpecification, fraction: float) -> dict[str, int]:
    """Return how many weights to remove from each block: a fraction of them, but none of its floor."""
    floors = block_floors(specification.n_outputs)
    return {
        block: min(round(fraction * count), count - floors[block]) for block, count in specification.weights.items()
    }


def check_free_positions(specification: NetworkSpecification, name: str) -> None:
    """Refuse a network in which no weight has another place to go to.

    :param name: of the network, for the message
    :raises Refusal: if all of its blocks are full
    """
    if all(count == math.prod(specification.shape(block)) for block, count in specification.weights.items()):
        raise Refusal(
            f"no weight of the {name} can move, as all of its blocks are full: lower densities, or weights that stay "
            "(`rebalance` none, or `rebalance_networks` of the other one), are needed"
        )


def growth_counts(total: int, shares: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Return how many weights to grow in each block.

    :param total: of all blocks, at most the sum of their room
    :param shares: block -> its share, not negative, on any common scale; all zero counts as all equal
    :param room: block -> the most it can take; what it has no room for goes to the others in equal parts
    """
    grown = dict.fromkeys(shares, 0)
    parts = _apportioned(total, shares)
    while True:
        for block, part in parts.items():
            grown[block] += min(part, room[block] - grown[block])
        missing = total - sum(grown.values())
        if not missing:
            return grown
        parts = _apportioned(missing, {block: 1.0 for block in grown if grown[block] < room[block]})


def rebalanced(
    specification: NetworkSpecification,
    patterns: Patterns,
    worth: Mapping[str, NDArray[np.floating]],
    removed: Mapping[str, int],
    grown: Mapping[str, int],
    candidates: Mapping[str, Candidates] | None,
    rng: np.random.Generator,
) -> Rebalanced:
    """Return the positions of all weights after a move.

    Hidden units that are left without a weight from elsewhere or to elsewhere get one first, as far as the counts go.
    Every row of yh keeps a weight. A weight that would be grown where one was removed is that one: it has not moved.

    :param specification: sizes and weight counts before the move
    :param worth: block -> of each weight; those worth least go
    :param removed: block -> how many, see `removal_counts`
    :param grown: block -> how many; the sums are equal
    :param candidates: block -> where they are grown; None for anywhere, drawn uniformly
    """
    survivors = {block: _survivors(specification, block, patterns, worth[block], removed[block]) for block in BLOCKS}
    unconnected = unconnected_units(specification, survivors)
    revived = _revived(specification, unconnected, grown, rng)
    after = {}
    for block in BLOCKS:
        count = len(survivors[block]) + grown[block]
        taken = union(survivors[block], revived[block])
        if candidates is None:
            n_rows, n_columns = specification.shape(block)
            after[block] = draw_positions(rng, n_rows * n_columns, count, taken)
        else:
            positions, scores = candidates[block]
            free = ~np.isin(positions, taken, assume_unique=True)
            best = np.argsort(-scores[free], kind="stable")[: count - len(taken)]
            after[block] = union(taken, positions[free][best])
    return Rebalanced(after, revived, np.union1d(*unconnected))


def unconnected_units(
    specification: NetworkSpecification, patterns: Patterns
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the hidden units without a weight from elsewhere, and those without one to elsewhere.

    A unit's weight on itself connects it to nothing.
    """
    n_hidden = specification.n_hidden
    targets, sources = np.divmod(patterns["hh"], n_hidden)
    elsewhere = targets != sources
    reading, read = np.zeros(n_hidden, bool), np.zeros(n_hidden, bool)
    for block in ("hx", "hy"):
        reading[patterns[block] // specification.shape(block)[1]] = True
    reading[targets[elsewhere]] = True
    read[sources[elsewhere]] = True
    read[patterns["yh"] % n_hidden] = True
    return np.flatnonzero(~reading), np.flatnonzero(~read)


def _survivors(
    specification: NetworkSpecification, block: str, patterns: Patterns, worth: NDArray[np.floating], count: int
) -> NDArray[np.int64]:
    """Return the positions of a block without those of the `count` weights that are worth least."""
    positions, order = patterns[block], np.argsort(worth, kind="stable")
    if block == "yh":  # Every output goes on reading the hidden unit that it reads most of.
        _, last = np.unique(positions[order[::-1]] // specification.shape(block)[1], return_index=True)
        kept = np.zeros(len(positions), bool)
        kept[order[::-1][last]] = True
        order = order[~kept[order]]
    return np.delete(positions, order[:count])


def _revived(
    specification: NetworkSpecification,
    unconnected: tuple[NDArray[np.int64], NDArray[np.int64]],
    grown: Mapping[str, int],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """Return positions that connect units which are not, at most as many in a block as are to be grown there."""
    left = dict(grown)
    if specification.n_hidden == 1:
        left["hh"] = 0  # where the one unit reads itself
    revived = {block: np.empty(0, np.int64) for block in BLOCKS}
    without_input, without_output = unconnected
    for units, blocks in ((without_input, ("hx", "hh", "hy")), (without_output, ("hh", "yh"))):
        quotas = [left[block] for block in blocks]
        chosen = rng.permutation(units)[: sum(quotas)]
        counts = rng.multivariate_hypergeometric(quotas, len(chosen))
        for block, own in zip(blocks, np.split(chosen, np.cumsum(counts)[:-1]), strict=True):
            (n_rows, n_columns), inwards = specification.shape(block), units is without_input
            others = rng.integers((n_columns if inwards else n_rows) - (block == "hh"), size=len(own))
            if block == "hh":
                others += others >= own  # any but the unit itself
            positions = own * n_columns + others if inwards else others * n_columns + own
            revived[block] = union(revived[block], positions)
            left[block] -= len(own)
    return revived


def _apportioned(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide a whole number in proportion to shares, by largest remainder."""
    whole = sum(shares.values())
    quotas = {block: total * (share / whole if whole else 1 / len(shares)) for block, share in shares.items()}
    parts = {block: int(quota) for block, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda block: parts[block] - quotas[block])
    for block in by_remainder[: total - sum(parts.values())]:
        parts[block] += 1
    return parts
