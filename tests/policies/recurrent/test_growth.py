"""Networks that amplify differences between their states are measured and scaled back; others are left as they are."""

import pytest
import torch

from policies.network.specification import BLOCKS, specify
from policies.recurrent.growth import Growth, Run, limit_growth
from policies.recurrent.growth import growth as growth_of
from policies.recurrent.layer import SparseRecurrentLayer

N_X, N_Y, T = 3, 2, 300


def layer_of(seed: int, init: str = "scaled", activation: str = "relu") -> SparseRecurrentLayer:
    specification = specify(N_X, N_Y, 2_000, hidden_proportion=0.5)
    return SparseRecurrentLayer(specification, initialization=init, activation=activation, seed=seed)


def run_of(layer: SparseRecurrentLayer) -> Run:
    return lambda *sequences: layer(*sequences).states[..., : layer.n_hidden]


def growth(layer: SparseRecurrentLayer, inputs: torch.Tensor) -> float:
    return growth_of(run_of(layer), layer.state_size, inputs)


def limited(layer: SparseRecurrentLayer, inputs: torch.Tensor) -> Growth:
    loops = [layer.weights[block] for block in ("hh", "hy", "yy")]
    return limit_growth(run_of(layer), loops, layer.state_size, inputs)


def inputs_of(seed: int, n_steps: int = T, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(n_steps, 4, N_X, generator=torch.Generator().manual_seed(seed))


def single_loop(gain: float) -> SparseRecurrentLayer:
    """One unit that takes over `gain` of its last state, and nothing else."""
    layer = layer_of(0)
    with torch.no_grad():
        for block in BLOCKS:
            layer.weights[block].zero_()
        positions = layer.positions("hh").tolist()
        n = layer.n_hidden
        unit = next(unit for unit in range(n) if unit * (n + 1) in positions)
        layer.weights["hh"][positions.index(unit * (n + 1))] = gain
        layer.bias[unit] = 1e-3
    return layer


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("seed", range(3))
def test_a_usual_network_is_left_as_it_is(seed: int, activation: str) -> None:
    layer = layer_of(seed, activation=activation)
    before = {name: value.clone() for name, value in layer.named_parameters()}
    factor, scale = limited(layer, inputs_of(seed))
    assert scale == 1
    assert factor < 0.1
    for name, value in layer.named_parameters():
        assert torch.equal(value, before[name]), name


def test_a_memory_that_never_fades_is_left_as_it_is() -> None:
    assert limited(single_loop(1.0), inputs_of(0)).scale == 1


def test_along_large_states_less_is_let_through() -> None:
    small, large = single_loop(1.0), single_loop(1.0)
    with torch.no_grad():
        large.bias[large.bias.nonzero()] = (
            1.0  # which comes to 300 after as many steps, thirty times what is let through
        )
    inputs = inputs_of(0)
    assert growth(large, inputs) == pytest.approx(30 * growth(small, inputs), rel=0.05)


def test_the_factor_is_that_of_the_loop() -> None:
    n_steps = 105
    slow, fast = (growth(single_loop(gain), inputs_of(0, n_steps)) for gain in (1.05, 1.06))
    assert slow > 1
    assert fast / slow == pytest.approx((1.06 / 1.05) ** n_steps, rel=0.02)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("init", ["scaled:3", "normal:0.5", "normal:2"])
def test_a_network_that_expands_is_scaled_until_it_does_not(init: str, activation: str) -> None:
    layer = layer_of(1, init, activation)
    inputs = inputs_of(1)
    outputs_read = layer.weights["yh"].clone()
    factor, scale = limited(layer, inputs)
    assert factor > 10
    assert 0 < scale < 1
    assert growth(layer, inputs) <= 1
    assert torch.equal(layer.weights["yh"], outputs_read)


def test_it_is_scaled_by_no_more_than_is_needed() -> None:
    layer = single_loop(1.1)
    _, scale = limited(layer, inputs_of(2))
    assert 0.95 < 1.1 * scale <= 1.0


def test_a_loop_through_the_outputs_counts() -> None:
    """The hidden units alone would forget; what they tell the outputs comes back to them, and grows."""
    layer = layer_of(3)
    with torch.no_grad():
        layer.weights["hh"].mul_(0.1)
        layer.weights["yh"].fill_(0.3)
        layer.weights["hy"].fill_(0.3)
        layer.bias.fill_(0.1)
    inputs = inputs_of(3)
    factor, scale = limited(layer, inputs)
    assert factor > 10
    assert scale < 1
    assert growth(layer, inputs) <= 1


def test_states_that_become_infinite_are_brought_back() -> None:
    layer = layer_of(4, "normal:5")
    factor, scale = limited(layer, inputs_of(4))
    assert factor == float("inf")
    assert 0 < scale < 1
    assert growth(layer, inputs_of(4)) <= 1


def test_a_burst_that_fades_is_let_through() -> None:
    """In sequences too short for roundings to become large, a difference may be larger than it was for a while."""
    layer = single_loop(1.2)
    assert limited(layer, inputs_of(5, 20)).scale == 1  # 1.2 to the power of 20 is 38
    assert limited(layer, inputs_of(5, 60)).scale < 1  # to the power of 60 it is 56,000
