import math

import numpy as np
import pytest
import torch

from policies.network.initialization import Initialization, parse_initialization
from policies.network.patterns import draw_patterns
from policies.network.specification import BLOCKS, NetworkSpecification, specify
from policies.recurrent.layer import SparseRecurrentLayer


def with_density(n_inputs: int, n_hidden: int, n_outputs: int, density: float, **others: float) -> NetworkSpecification:
    size = {"x": n_inputs, "h": n_hidden, "y": n_outputs}
    weights = {
        b: max(n_outputs if b == "yh" else 1, round(others.get(b, density) * size[b[0]] * size[b[1]])) for b in BLOCKS
    }
    return NetworkSpecification(n_inputs, n_hidden, n_outputs, sum(weights.values()), weights)


@pytest.mark.parametrize("text", ["scaled", "scaled:0.5", "scaled:1.2", "normal:0.05", "normal:1e-3"])
def test_known_initializations(text: str) -> None:
    initialization = parse_initialization(text)
    assert initialization.kind == text.split(":")[0]
    if ":" in text:
        assert initialization.value == float(text.split(":")[1])


@pytest.mark.parametrize(
    "text", ["", "normal", "normal:", "normal:x", "normal:-1", "normal:0", "normal:nan", "scaled:inf", "scaled:", "he"]
)
def test_malformed_initializations_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="init") as caught:
        parse_initialization(text)
    assert "\n" not in str(caught.value)


def test_normal_has_one_standard_deviation() -> None:
    specification = specify(46, 26, 50_000)
    values = Initialization("normal", 0.05).draw(specification, draw_patterns(specification, 0), 1)
    assert {block: len(v) for block, v in values.items()} == specification.weights
    everything = np.concatenate(list(values.values()))
    assert everything.std() == pytest.approx(0.05, rel=0.02)
    assert abs(everything.mean()) < 0.001


def test_scaled_divides_by_the_weights_per_row() -> None:
    specification = specify(46, 26, 50_000)
    values = parse_initialization("scaled:0.8").draw(specification, draw_patterns(specification, 0), 1)
    per_row = specification.weights["hh"] / specification.n_hidden
    assert values["hh"].std() == pytest.approx(0.8 / math.sqrt(per_row), rel=0.03)
    assert abs(values["hh"].mean()) < 0.01
    assert parse_initialization("scaled").value < 1


STATE_CASES = {
    "hammer actor": specify(46, 26, 50_000),
    "hammer critic": specify(46, 1, 25_000),
    "random anomaly": specify(2500, 10, 100_000),
    "cartpole": specify(4, 2, 4_000),
    "dense": with_density(46, 112, 26, 1.0),
    "dense and small": with_density(4, 6, 2, 1.0),
    "two units": with_density(1, 2, 1, 1.0),
    "uniform 0.2": with_density(46, 300, 26, 0.2),
    "uniform 0.001": with_density(46, 1500, 26, 0.001),
    "hidden 0.001": with_density(46, 1500, 26, 1.0, hh=0.001),
    "one weight per row": with_density(4, 300, 2, 1.0, hh=1 / 300),
    "more outputs than units": with_density(4, 50, 100, 1.0),
}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("case", STATE_CASES)
def test_state_neither_explodes_nor_dies(case: str, activation: str) -> None:
    """Over 250 steps of unit-variance inputs, for several seeds."""
    generator = torch.Generator().manual_seed(0)
    for seed in range(4 if STATE_CASES[case].n_hidden > 200 else 20):
        layer = SparseRecurrentLayer(STATE_CASES[case], activation=activation, seed=seed)
        inputs = torch.randn(250, 4, layer.specification.n_inputs, generator=generator)
        with torch.no_grad():
            states, outputs = layer(inputs, torch.zeros(4, layer.state_size))
        size = states[..., : layer.n_hidden].square().mean((1, 2)).sqrt()
        early, late = size[10:60].mean(), size[-50:].mean()
        assert late < 5
        assert late < 2 * early
        assert late > 0.5 * early
        assert late > 1e-2
        assert outputs.abs().mean() < 0.3
