"""Sparse rows times a vector as ONNX nodes, and the rule for when that is better than a full matrix.

ONNX has no sparse product. What costs in proportion to the weights: gather the vector's entry for every weight,
multiply, and sum by rows. Rows are sorted by their number of weights and cut into a few groups, each padded to its
longest row.

µs for one vector in onnxruntime 1.32, one thread of an AVX-512 x86-64 machine, least of 150 short bursts:

    rows x columns    full    gathered at density 0.01   0.02   0.05   0.1    0.2
      262 x 262          5                           7      8     11    13     22
      224 x 2500        30                          13     19     37    91    182
      600 x 600         25                          21     18     29    49     85
     1000 x 1000        52                          22     34     63   115    212
     2000 x 2000       279                          58    100    215   416  1,295
     4430 x 4430     3,393                         223    411  1,191
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from policies.step_graph import SparseRows, StepGraph

GATHER_COST = 16
"""A gathered weight costs as much time as so many entries of a full matrix; in the file, as one and a half."""
OVERHEAD = 150_000
"""Entries of a full matrix that cost as much time as the nodes of a gathered product alone."""
GROUP_COST = 2_000
"""Padding, in gathered weights, that costs as much time as one more group of rows."""


def full_blocks(blocks: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return which of the blocks beside each other in some rows are better full matrices; the others are gathered.

    :param blocks: name -> size (rows times columns) and number of weights
    """
    savings = {name: size - GATHER_COST * n_weights for name, (size, n_weights) in blocks.items()}
    if sum(saving for saving in savings.values() if saving > 0) <= OVERHEAD:
        return list(blocks)
    return [name for name, saving in savings.items() if saving <= 0]


def add_product(graph: StepGraph, name: str, matrix: SparseRows, vectors: str, shape: str) -> str:
    """Add nodes for the matrix times every row of `vectors`; returns the name of their output (B, n_rows).

    :param name: of the output; other nodes and constants are named after it
    :param vectors: (B, any number of columns) float32
    :param shape: a tensor that holds (B, 1)
    """
    lengths = np.bincount(matrix.rows, minlength=matrix.n_rows)
    order = np.argsort(lengths, kind="stable")
    groups = list(row_groups(lengths[order]))
    if len(groups) == 1:
        order = np.arange(matrix.n_rows)
    place = np.argsort(order)
    widths = [max(1, int(lengths[order[first:end]].max())) for first, end in groups]
    sizes = [(end - first) * width for (first, end), width in zip(groups, widths, strict=True)]
    row_widths = np.repeat(widths, [end - first for first, end in groups])

    rows = place[matrix.rows]
    by_row = np.lexsort((matrix.columns, rows))
    rows = rows[by_row]
    slots = (np.cumsum(row_widths) - row_widths)[rows] + np.arange(len(rows)) - np.searchsorted(rows, rows)
    columns, values = np.zeros(sum(sizes), np.int64), np.zeros(sum(sizes), np.float32)
    columns[slots], values[slots] = matrix.columns[by_row], matrix.values[by_row]

    gathered = _gather(graph, f"{name}: gathered", vectors, columns, shape)
    products = graph.add("Mul", [gathered, graph.constant(f"{name}: weights", values)], f"{name}: products")
    pieces = [products]
    if len(groups) > 1:
        pieces = graph.split(products, sizes, [f"{products} of group {number}" for number in range(len(groups))])
    last_axis = graph.constant(f"{name}: last axis", np.array([2], np.int64))
    sums = []
    for piece, (first, end), width in zip(pieces, groups, widths, strict=True):
        layout = graph.constant(f"{piece}: layout", np.array([-1, end - first, width], np.int64))
        by_rows = graph.add("Reshape", [piece, layout], f"{piece}: by rows")
        output = name if len(groups) == 1 else f"{piece}: sums"
        sums.append(graph.add("ReduceSum", [by_rows, last_axis], output, keepdims=0))
    if len(groups) == 1:
        return name
    return _gather(graph, name, graph.add("Concat", sums, f"{name}: sorted", axis=1), place, shape)


def _gather(graph: StepGraph, name: str, vectors: str, columns: NDArray[np.int64], shape: str) -> str:
    """Add a gather of columns from every row of `vectors`.

    GatherElements wants indices for each row of the batch, but is a tight loop in onnxruntime, where Gather calls
    memcpy for every single number and takes ten times as long.
    """
    # Indices are 32 or 64 bits wide; in the file 16 will do mostly, and onnxruntime widens them once, on loading.
    kind = np.uint16 if columns.max() <= np.iinfo(np.uint16).max else np.int32
    stored = graph.constant(f"{name}: columns", columns[None].astype(kind))
    indices = graph.add("Cast", [stored], f"{name}: indices", to=onnx.TensorProto.INT32)
    repeated = graph.add("Expand", [indices, shape], f"{name}: indices of the batch")
    return graph.add("GatherElements", [vectors, repeated], name, axis=1)


def row_groups(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut ascending row lengths into groups (first, end), as long as a cut saves more padding than a group costs."""
    stack = [(0, len(lengths))]
    while stack:
        first, end = stack.pop()
        saved = np.arange(end - first) * (lengths[end - 1] - np.roll(lengths[first:end], 1))
        best = int(saved.argmax()) if end > first else 0
        if end > first and saved[best] > GROUP_COST:
            stack += [(first + best, end), (first, first + best)]
        else:
            yield first, end
