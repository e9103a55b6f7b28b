"""A layer whose weights were put elsewhere: it is the layer that would have been built so."""

import copy

import numpy as np
import pytest
import torch

from policies.network.blocks import BLOCKS
from policies.network.patterns import draw_patterns
from policies.network.specification import NetworkSpecification, specify
from policies.recurrent.layer import SparseRecurrentLayer


def placed(layer: SparseRecurrentLayer, specification: NetworkSpecification, seed: int) -> dict[str, torch.Tensor]:
    """Put a layer's weights to a random pattern, and return their values."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        block: 0.3 * torch.randn(count, generator=generator, dtype=layer.bias.dtype)
        for block, count in specification.weights.items()
    }
    patterns = draw_patterns(specification, seed)
    layer.place({block: (torch.from_numpy(patterns[block]), values[block]) for block in BLOCKS})
    return values


@pytest.mark.parametrize("backend", ["dense", "csr", "auto"])
def test_outputs_and_gradients_are_those_of_a_layer_built_so(backend: str) -> None:
    before, after = (specify(6, 3, 150, hidden_size=14, hidden_proportion=p) for p in (0.3, 0.7))
    layer = SparseRecurrentLayer(before, backend=backend, seed=1)
    inputs, state = torch.randn(7, 3, 6), torch.zeros(3, layer.state_size)
    layer.eval()
    layer.step(inputs[0], state)  # which keeps the matrices it has laid out
    graph = layer(inputs, state).outputs.sum()  # still alive when the weights move
    parameters = list(layer.parameters())

    placed(layer, after, 5)
    fresh = SparseRecurrentLayer(after, backend=backend, seed=2)
    fresh.load_state_dict(layer.state_dict())
    assert layer.specification == after
    assert all(one is two for one, two in zip(layer.parameters(), parameters, strict=True))
    results = [one(inputs, state) for one in (layer, fresh)]
    assert torch.equal(results[0].states, results[1].states)
    assert not torch.equal(results[0].outputs.sum(), graph)
    for one, (states, _) in zip((layer, fresh), results, strict=True):
        states.square().sum().backward()
        assert torch.equal(one.step(inputs[0], state), fresh.step(inputs[0], state))
    for (name, moved), built in zip(layer.named_parameters(), fresh.parameters(), strict=True):
        assert moved.grad is not None
        assert torch.equal(moved.grad, built.grad), name


def test_state_of_moved_weights_loads_into_the_first_layer() -> None:
    before, after = (specify(6, 3, 150, hidden_size=14, hidden_proportion=p) for p in (0.3, 0.7))
    moved, other = SparseRecurrentLayer(before, seed=1), SparseRecurrentLayer(before, seed=1)
    placed(moved, after, 5)
    copied = copy.deepcopy(moved)
    other.load_state_dict(moved.state_dict())
    inputs, state = torch.randn(4, 2, 6), torch.zeros(2, moved.state_size)
    expected = moved(inputs, state).states
    for layer in (other, copied):
        assert layer.specification == after
        assert torch.equal(layer(inputs, state).states, expected)


def test_state_of_another_number_of_weights_is_refused() -> None:
    layer = SparseRecurrentLayer(specify(6, 3, 150, hidden_size=14))
    larger = SparseRecurrentLayer(specify(6, 3, 151, hidden_size=14))
    with pytest.raises(RuntimeError, match="size mismatch"):
        layer.load_state_dict(larger.state_dict())
    assert layer.specification.total_weights == 150
    with pytest.raises(ValueError, match="yh"):
        layer.place({"yh": (torch.arange(2), torch.zeros(2))})  # three outputs
    with pytest.raises(ValueError, match="values"):
        layer.place({"hx": (torch.arange(3), torch.zeros(2))})


def test_a_state_dict_keeps_the_pattern_of_its_time() -> None:
    layer = SparseRecurrentLayer(specify(6, 3, 150, hidden_size=14, hidden_proportion=0.3))
    taken = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    before = {name: array.copy() for name, array in taken.items()}
    placed(layer, specify(6, 3, 150, hidden_size=14, hidden_proportion=0.7), 5)
    assert all(np.array_equal(taken[name], before[name]) for name in taken)
