"""The parts below the layer: sparse kernels against matrices, chains of jobs."""

import os
import threading
from functools import partial

import numpy as np
import pytest
import torch

from policies.recurrent import kernels
from policies.recurrent.arrangement import from_columns, from_rows, to_columns, to_rows
from policies.recurrent.block_matrix import BlockMatrix, DenseValues, SparseValues
from policies.recurrent.layer import choose_backends
from policies.recurrent.sparse import _tiles, lane_groups
from policies.recurrent.threads import available_cores, run_chains


def random_matrix(n_rows: int = 37, n_columns: int = 29, density: float = 0.2) -> tuple[BlockMatrix, torch.Tensor]:
    """A matrix of two blocks, one above the other, and its weights."""
    rng = np.random.default_rng(0)
    shapes = {"hx": (n_rows - 5, n_columns), "yx": (5, n_columns)}
    patterns = {
        block: np.flatnonzero(rng.random(rows * columns) < density).astype(np.int64)
        for block, (rows, columns) in shapes.items()
    }
    matrix = BlockMatrix([["hx"], ["yx"]], shapes, patterns)
    return matrix, torch.randn(matrix.n_weights, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_dense_and_sparse_values_agree() -> None:
    matrix, weights = random_matrix()
    dense, sparse = DenseValues(matrix, weights), SparseValues(matrix, weights)
    right, left = torch.randn(29, 4, dtype=torch.float64), torch.randn(37, 4, dtype=torch.float64)
    torch.testing.assert_close(dense.multiply(right), sparse.multiply(right))
    torch.testing.assert_close(dense.multiply_transposed(left), sparse.multiply_transposed(left))
    torch.testing.assert_close(dense.gradient(left, right), sparse.gradient(left, right))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_products_equal_dense_ones(dtype: torch.dtype) -> None:
    matrix, weights = random_matrix()
    weights = weights.to(dtype)
    dense = DenseValues(matrix, weights)
    N = 150
    x, left = torch.randn(N, 29, dtype=dtype), torch.randn(N, 37, dtype=dtype)
    bias = torch.randn(37, dtype=dtype)
    columns, deltas = to_columns(x).contiguous(), to_columns(left).contiguous()
    assert columns.shape == (3, 29, kernels.CHUNK)
    torch.testing.assert_close(from_columns(columns, N), x)
    form = matrix.by_row
    product = torch.zeros(3, 37, kernels.CHUNK, dtype=dtype)
    gradient = torch.zeros_like(weights)
    values = weights.numpy()[form.order]
    for first, last in ((0, 20), (20, 37)):
        kernels.multiply_sparse(
            values, form.starts, form.columns, columns.numpy(), bias.numpy(), product.numpy(), first, last
        )
        kernels.gradient_sparse(
            form.starts, form.columns, deltas.numpy(), columns.numpy(), gradient.numpy(), first, last
        )
    torch.testing.assert_close(from_columns(product, N), x @ dense.matrix.t() + bias)
    torch.testing.assert_close(gradient, dense.gradient(left.t(), x.t())[form.order], rtol=1e-4, atol=1e-4)


def test_rows_lead_back_to_sequences() -> None:
    for B, padded in ((5, 5), (5, 8), (16, 16), (17, 24)):
        sequences = torch.randn(7, B, 3)
        rows = to_rows(sequences, padded)
        assert rows.shape == (7 * padded, 3)
        assert torch.equal(rows.view(7, padded, 3)[:, 0], sequences[:, 0])
        assert torch.equal(from_rows(rows, padded, B), sequences)


def test_tiles_cover_the_steps_in_whole_blocks() -> None:
    for n_steps, padded, n_units in ((1, 1, 5), (200, 16, 262), (200, 4, 4430), (50, 24, 20_000), (3, 200, 262)):
        tiles = list(_tiles(n_steps, padded, n_units))
        steps = [step for tile in tiles for step in range(tile.steps.start, tile.steps.stop)]
        blocks = [block for tile in tiles for block in range(tile.blocks.start, tile.blocks.stop)]
        assert steps == list(range(n_steps))
        assert blocks == list(range(-(-n_steps * padded // kernels.CHUNK)))
        for tile in tiles:
            assert tile.steps.start * padded == tile.blocks.start * kernels.CHUNK


def test_lanes_cover_the_batch() -> None:
    for batch_size in range(1, 100):
        for n_units in (10, 5000):
            lanes, groups = lane_groups(batch_size, n_units)
            assert lanes in (1, 2, 4, 8, 16)
            assert lanes * groups >= batch_size > lanes * (groups - 1)


def test_rule_prefers_csr_for_sparse_matrices_only() -> None:
    for batch_size in (1, 4, 16, 64, 256):
        for n_steps in (1, 200):
            assert choose_backends(1.0, 1.0, n_steps, batch_size) == ("dense", "dense")
            assert choose_backends(0.01, 1.0, n_steps, batch_size) == ("csr", "dense")
            assert choose_backends(0.01, 0.01, n_steps, batch_size) == ("csr", "csr")
            assert choose_backends(0.01, 0.01, n_steps, batch_size, compressed="groups") == ("groups", "groups")


def test_usable_cores_are_found_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    for name, value in (("sched_getaffinity", lambda _: {0, 2, 3}), ("process_cpu_count", lambda: 4)):
        monkeypatch.setattr(os, name, value, raising=False)
    assert available_cores() == 4
    monkeypatch.delattr(os, "process_cpu_count")
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert available_cores() == 5


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_stages_of_a_chain_follow_each_other(n_threads: int) -> None:
    done: list[tuple[int, int, int]] = []

    def chain(index: int):  # type: ignore[no-untyped-def]
        for number in range(4):
            assert sum(d[:2] == (index, number - 1) for d in done) == (3 if number else 0)
            yield [partial(done.append, (index, number, job)) for job in range(3)]
        yield []
        return index

    assert run_chains([chain(index) for index in range(5)], range(5), n_threads) == list(range(5))
    assert sorted(done) == [(i, s, j) for i in range(5) for s in range(4) for j in range(3)]


def test_the_costliest_chain_goes_first() -> None:
    done: list[int] = []

    def chain(index: int):  # type: ignore[no-untyped-def]
        yield [partial(done.append, index)]

    run_chains([chain(index) for index in range(3)], [2, 3, 1], 1)
    assert done == [1, 0, 2]


def test_a_failing_job_is_reported_and_blocks_nobody() -> None:
    def fail() -> None:
        raise RuntimeError("a job failed")

    def stages(*jobs):  # type: ignore[no-untyped-def]
        yield from jobs

    def failing_stage():  # type: ignore[no-untyped-def]
        yield [lambda: None]
        fail()

    for n_threads in (1, 3):
        for failing in (stages([fail]), failing_stage()):
            with pytest.raises(RuntimeError, match="a job failed"):
                run_chains([failing, stages([lambda: None] * 5, [lambda: None])], [1, 1], n_threads)
    ran = threading.Event()
    run_chains([stages([ran.set])], [1], 3)
    assert ran.is_set()
