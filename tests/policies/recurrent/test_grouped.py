"""The layer with a pattern of blocks: row groups, their kernels, and what chooses them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.network.grouped_patterns import GROUP_ROWS
from policies.network.specification import specify
from policies.recurrent import group_kernels, grouped
from policies.recurrent.layer import SparseRecurrentLayer, forward_together


def make_layer(backend: str, activation: str, n_outputs: int = 11, n_hidden: int = 43) -> SparseRecurrentLayer:
    specification = specify(7, n_outputs, 1200, hidden_size=n_hidden, hidden_proportion=0.4)
    options = {"activation": activation, "initialization": "normal:0.2", "backend": backend}
    return SparseRecurrentLayer(specification, pattern="blocks", seed=3, **options).double()


def sequences(layer: SparseRecurrentLayer, T: int, B: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(T, B, layer.specification.n_inputs, generator=generator, dtype=torch.float64)
    state = torch.randn(B, layer.state_size, generator=generator, dtype=torch.float64)
    return inputs.requires_grad_(), state.requires_grad_(), torch.rand(T, B, generator=generator) < 0.2


def test_rows_of_a_group_are_those_that_the_kernels_take() -> None:
    assert GROUP_ROWS == group_kernels.WIDTH
    R = make_layer("auto", "relu").matrices()[1]
    assert list(R.by_group.rows) == [0, 8, 16, 24, 32, 40, 43, 51, 54]
    assert len(R.by_group.columns) < 1.4 * R.n_weights / GROUP_ROWS
    weights = torch.arange(1.0, R.n_weights + 1)
    entries = grouped.arranged(R, weights).numpy()
    found = np.zeros((R.shape[0] + GROUP_ROWS, R.shape[1]))
    for first, start, stop in zip(R.by_group.rows, R.by_group.starts, R.by_group.starts[1:], strict=False):
        for column, values in zip(R.by_group.columns[start:stop], entries[start:stop], strict=True):
            found[first : first + GROUP_ROWS, column] += values
    assert np.array_equal(found[R.rows, R.columns], weights)
    assert found.sum() == weights.sum()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("backends", [("groups", "groups"), ("groups", "dense")])
@pytest.mark.parametrize("B", [3, 21])
def test_equals_the_reference_scan(
    backends: tuple[str, str], activation: str, B: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.recurrent.layer.choose_backends", lambda *_: backends)
    monkeypatch.setattr(grouped, "_TILE", 4000)  # so that there are several tiles, the last one shorter
    layer = make_layer("auto", activation)
    inputs, state, starts = sequences(layer, T=23, B=B)
    found = []
    for run in (layer, layer.scan_in_torch):
        states, outputs = run(inputs, state, starts)
        weighting = torch.randn(states.shape, generator=torch.Generator().manual_seed(1), dtype=states.dtype)
        both = (states * weighting).sum() + outputs.square().sum()
        found.append(
            [states, outputs, *torch.autograd.grad(both, [*layer.parameters(), inputs, state], retain_graph=True)]
        )
        found[-1] += torch.autograd.grad(outputs.square().sum(), list(layer.parameters()))
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-10)
    layer.eval()
    stepped = layer.step(inputs[0].detach(), state.detach(), starts[0].double())
    torch.testing.assert_close(stepped, found[0][0][0], rtol=1e-10, atol=1e-10)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    actor, critic = make_layer("groups", "relu"), make_layer("groups", "relu", n_outputs=1, n_hidden=90)
    inputs, _, starts = sequences(actor, T=40, B=40)
    states = [torch.zeros(40, layer.state_size, dtype=torch.float64) for layer in (actor, critic)]
    runs = []
    for n_threads in (1, 3):
        together = forward_together([actor, critic], inputs.detach(), states, starts, n_threads=n_threads)
        loss = together[0].outputs.square().mean() + together[1].outputs.square().mean()
        runs.append(torch.autograd.grad(loss, [*actor.parameters(), *critic.parameters()]))
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def test_the_pattern_chooses_the_kernels() -> None:
    specification = specify(20, 4, 3000, hidden_size=200, hidden_proportion=0.4)
    for pattern, backend in (("unstructured", "csr"), ("blocks", "groups")):
        assert SparseRecurrentLayer(specification, pattern=pattern).recurrence(50, 16).backends == (backend, backend)
