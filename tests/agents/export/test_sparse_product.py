"""Gathered rows are the product they stand for, cost what their weights cost, and are chosen where that is less."""

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from agents.export.graph import GraphBuilder
from agents.export.sparse_product import GROUP_COST, SparseRows, add_product, full_blocks, row_groups


def product(matrix: SparseRows, vectors: np.ndarray) -> tuple[np.ndarray, int]:
    """Return what the nodes compute for vectors (B, n_columns), and how many entries they gather weights for."""
    graph = GraphBuilder()
    start = graph.add("Unsqueeze", ["start", graph.constant("axis", np.array([1]))], "column")
    name = add_product(graph, "sums", matrix, "vectors", graph.add("Shape", [start], "shape"))
    assert name == "sums"
    float32 = onnx.TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info("vectors", float32, ["batch", vectors.shape[1]]),
        helper.make_tensor_value_info("start", float32, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("sums", float32, ["batch", matrix.n_rows])]
    parts = helper.make_graph(graph.nodes, "product", inputs, outputs, graph.constants)
    model = helper.make_model(parts, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    entries = next(len(c.raw_data) // 4 for c in graph.constants if c.name == "sums: weights")
    return session.run(None, {"vectors": vectors, "start": np.zeros(len(vectors), np.float32)})[0], entries


@settings(max_examples=40)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 3, 40, 400]), min_size=1, max_size=60),
    n_columns=st.integers(1, 500),
    batch_size=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_product_of_any_pattern(lengths: list[int], n_columns: int, batch_size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.zeros((len(lengths), n_columns), np.float32)
    for row, length in zip(matrix, lengths, strict=True):
        chosen = rng.choice(n_columns, min(length, n_columns), replace=False)
        row[chosen] = rng.standard_normal(len(chosen))
    rows, columns = matrix.nonzero()
    order = rng.permutation(len(rows))
    sparse = SparseRows(len(lengths), rows[order], columns[order], matrix[rows, columns][order])
    chosen_columns = rng.random(n_columns) < 0.5
    np.testing.assert_array_equal(sparse.dense(chosen_columns), matrix[:, chosen_columns])
    vectors = rng.standard_normal((batch_size, n_columns)).astype(np.float32)
    sums, entries = product(sparse, vectors)
    np.testing.assert_allclose(sums, vectors @ matrix.T, atol=1e-4)
    assert entries >= len(rows)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=200))
def test_groups_cut_rows_where_it_saves_padding(lengths: list[int]) -> None:
    lengths = np.sort(lengths)
    groups = list(row_groups(lengths))
    assert [first for first, _ in groups] == [0, *(end for _, end in groups[:-1])]
    assert groups[-1][1] == len(lengths)
    padded = sum((end - first) * lengths[end - 1] for first, end in groups)
    assert padded + GROUP_COST * (len(groups) - 1) <= len(lengths) * lengths[-1]


def test_columns_beyond_16_bits() -> None:
    matrix = SparseRows(2, np.array([0, 1, 1]), np.array([70_000, 3, 69_999]), np.float32([1, 2, 3]))
    vectors = np.random.default_rng(0).standard_normal((2, 70_001)).astype(np.float32)
    expected = np.stack([vectors[:, 70_000], 2 * vectors[:, 3] + 3 * vectors[:, 69_999]], axis=1)
    np.testing.assert_allclose(product(matrix, vectors)[0], expected, atol=1e-6)


def test_random_rows_are_hardly_padded() -> None:
    rng = np.random.default_rng(0)
    positions = np.sort(rng.choice(2000 * 2000, 100_000, replace=False))
    matrix = SparseRows(2000, positions // 2000, positions % 2000, np.ones(100_000, np.float32))
    _, entries = product(matrix, np.ones((1, 2000), np.float32))
    assert entries < 1.2 * 100_000


def test_rule() -> None:
    assert full_blocks({"x": (236 * 46, 10_856), "h": (236 * 236, 25_000), "y": (236 * 26, 6_136)}) == ["x", "h", "y"]
    assert full_blocks({"x": (202_584, 202_584), "h": (4404 * 4404, 193_952), "y": (114_504, 1_145)}) == ["x"]
