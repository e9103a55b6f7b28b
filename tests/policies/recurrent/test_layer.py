import copy
import io

import pytest
import torch
from torch import Tensor

from policies.network.specification import BLOCKS, NetworkSpecification, specify
from policies.recurrent import sparse
from policies.recurrent.layer import SparseRecurrentLayer, forward_together

MIXED = {"hx": 1.0, "hh": 0.15, "hy": 0.6, "yx": 0.5, "yh": 0.9, "yy": 0.4}


def small_specification(n_inputs: int = 4, n_hidden: int = 9, n_outputs: int = 3) -> NetworkSpecification:
    sizes = {"x": n_inputs, "h": n_hidden, "y": n_outputs}
    weights = {b: max(n_outputs, round(MIXED[b] * sizes[b[0]] * sizes[b[1]])) for b in BLOCKS}
    return NetworkSpecification(n_inputs, n_hidden, n_outputs, sum(weights.values()), weights)


def make_layer(backend: str = "auto", activation: str = "relu", **sizes: int) -> SparseRecurrentLayer:
    layer = SparseRecurrentLayer(
        small_specification(**sizes), activation=activation, initialization="normal:0.4", seed=3, backend=backend
    ).double()
    with torch.no_grad():
        layer.bias.copy_(0.3 * torch.randn(layer.state_size, generator=torch.Generator().manual_seed(1)))
    return layer


def sequences(layer: SparseRecurrentLayer, T: int = 6, B: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, initial state and episode starts, some of them in the middle."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(T, B, layer.specification.n_inputs, generator=generator, dtype=torch.float64)
    state = torch.randn(B, layer.state_size, generator=generator, dtype=torch.float64)
    return inputs, state, torch.rand(T, B, generator=generator) < 0.3


def step_by_step(layer: SparseRecurrentLayer, inputs: Tensor, state: Tensor, starts: Tensor | None) -> Tensor:
    """The equations of the block map, written down with six dense matrices."""
    W = {}
    for block in BLOCKS:
        rows, columns = layer.specification.shape(block)
        flat = torch.zeros(rows * columns, dtype=inputs.dtype)
        W[block] = flat.index_put((layer.positions(block),), layer.weights[block]).view(rows, columns)
    n_h = layer.n_hidden
    b_h, b_y = layer.bias[:n_h], layer.bias[n_h:]
    activation = {"relu": torch.relu, "tanh": torch.tanh}[layer.activation]
    states = []
    for t, x in enumerate(inputs):
        if starts is not None:
            state = torch.where(starts[t, :, None], torch.zeros_like(state), state)
        h, y = state[:, :n_h], state[:, n_h:]
        h_next = activation(x @ W["hx"].T + h @ W["hh"].T + y @ W["hy"].T + b_h)
        y_next = x @ W["yx"].T + h @ W["yh"].T + y @ W["yy"].T + b_y
        state = torch.cat((h_next, y_next), 1)
        states.append(state)
    return torch.stack(states)


def gradients(layer: SparseRecurrentLayer, states: Tensor, *others: Tensor, retain: bool = False) -> list[Tensor]:
    weighting = torch.randn(states.shape, generator=torch.Generator().manual_seed(5), dtype=states.dtype)
    return list(torch.autograd.grad(states, [*layer.parameters(), *others], weighting, retain_graph=retain))


@pytest.mark.parametrize("device_path", ["compiled", "torch"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("backend", ["dense", "csr", "groups", "auto"])
@pytest.mark.parametrize("B", [1, 3, 16, 37])
def test_equals_the_plain_equations(backend: str, activation: str, device_path: str, B: int) -> None:
    layer = make_layer(backend, activation)
    inputs, state, starts = sequences(layer, B=B)
    inputs.requires_grad_()
    state.requires_grad_()
    run = layer.scan_in_torch if device_path == "torch" else layer
    for resets in (None, starts):
        (states, outputs), expected = run(inputs, state, resets), step_by_step(layer, inputs, state, resets)
        torch.testing.assert_close(states, expected, rtol=1e-10, atol=1e-10)
        assert torch.equal(outputs, layer.outputs(states))
        for ours, plain in zip(
            gradients(layer, states, inputs, state), gradients(layer, expected, inputs, state), strict=True
        ):
            torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("backend", ["dense", "csr", "groups"])
def test_many_units_and_inputs_in_single_precision(backend: str) -> None:
    """More columns than a chunk, more units than a vector, several jobs."""
    specification = specify(70, 5, 6000, hidden_proportion=0.4)
    layer = SparseRecurrentLayer(specification, backend=backend, seed=1)
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(40, 21, 70, generator=generator)
    state = torch.randn(21, layer.state_size, generator=generator)
    starts = torch.rand(40, 21, generator=generator) < 0.05
    states, expected = layer(inputs, state, starts).states, step_by_step(layer, inputs, state, starts)
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)
    for ours, plain in zip(gradients(layer, states), gradients(layer, expected), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("backend", ["dense", "csr", "groups"])
@pytest.mark.parametrize("path", ["compiled", "torch"])
def test_gradcheck_with_resets_inside(path: str, backend: str, activation: str) -> None:
    layer = make_layer(backend, activation, n_inputs=3, n_hidden=5, n_outputs=2)
    inputs, state, starts = sequences(layer, T=5, B=3)
    assert starts[1:].any()
    run = layer.scan_in_torch if path == "torch" else layer
    parameters = list(layer.parameters())

    def function(inputs: Tensor, state: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return run(inputs, state, starts)

    assert torch.autograd.gradcheck(function, (inputs.requires_grad_(), state.requires_grad_(), *parameters))


def test_gradients_through_outputs_alone_and_through_both() -> None:
    for backend in ("dense", "csr", "groups"):
        layer = make_layer(backend)
        inputs, state, starts = sequences(layer, B=19)
        results = []
        plain_states = step_by_step(layer, inputs, state, starts)
        for states, outputs in (layer(inputs, state, starts), (plain_states, plain_states[..., layer.n_hidden :])):
            assert torch.equal(outputs, states[..., layer.n_hidden :])
            losses = outputs.square().sum(), outputs.sum() + states.square().sum(), states[-1].sum()
            results += [torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True) for loss in losses]
        for ours, plain in zip(results[:3], results[3:], strict=True):
            torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("backend", ["dense", "csr", "groups"])
def test_outputs_belong_to_the_states_as_they_are(backend: str) -> None:
    """Outputs used to hang on the tensor of states, and stayed the old ones when the states were written to."""
    layer = make_layer(backend)
    arguments = sequences(layer)
    with torch.no_grad():
        states, outputs = layer(*arguments)
        before = outputs.clone()
        states.mul_(2.0)
        assert torch.equal(layer.outputs(states), 2 * before)
        assert torch.equal(outputs, before)
    states, outputs = layer(*arguments)
    with torch.no_grad():
        states.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_layers_together_equal_layers_alone_for_any_number_of_threads() -> None:
    actor = SparseRecurrentLayer(specify(30, 6, 9000), seed=1, backend="dense")
    critic = SparseRecurrentLayer(specify(30, 1, 9000), seed=2, backend="csr")
    inputs, starts = torch.randn(50, 20, 30), torch.rand(50, 20) < 0.1
    states = [torch.randn(20, layer.state_size) for layer in (actor, critic)]
    parameters = [*actor.parameters(), *critic.parameters()]
    runs = []
    for n_threads in (1, 2, 3):
        together = forward_together([actor, critic], inputs, states, starts, n_threads=n_threads)
        loss = together[0].states.square().mean() + together[1].outputs.square().mean()
        runs.append([*together[0], *together[1], *torch.autograd.grad(loss, parameters)])
    alone = [layer(inputs, state, starts) for layer, state in zip((actor, critic), states, strict=True)]
    loss = alone[0].states.square().mean() + alone[1].outputs.square().mean()
    runs.append([*alone[0], *alone[1], *torch.autograd.grad(loss, parameters)])
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_unused_layer_gets_no_gradient() -> None:
    layers = [make_layer("dense"), make_layer("csr")]
    inputs, state, starts = sequences(layers[0])
    used, _ = forward_together(layers, inputs, [state, state], starts)
    used.states.sum().backward()
    assert all(p.grad is not None for p in layers[0].parameters())
    assert all(p.grad is None for p in layers[1].parameters())


def test_parameters_are_one_dimensional_and_as_many_as_weights() -> None:
    specification = small_specification()
    layer = SparseRecurrentLayer(specification)
    assert {b: tuple(w.shape) for b, w in layer.weights.items()} == {b: (n,) for b, n in specification.weights.items()}
    assert sum(p.numel() for p in layer.parameters()) == specification.total_weights + layer.state_size
    assert not layer.bias.any()
    layer(torch.randn(3, 2, 4), torch.zeros(2, 12)).states.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())


@pytest.mark.parametrize("backend", ["dense", "csr", "groups", "auto"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_step_equals_a_sequence_of_length_one(backend: str, activation: str) -> None:
    layer = make_layer(backend, activation)
    for B in (1, 2, 5, 16, 19):
        inputs, state, starts = sequences(layer, T=1, B=B)
        for resets in (None, starts):
            expected = layer(inputs, state, resets).states[0]
            torch.testing.assert_close(layer.step(inputs[0], state, None if resets is None else resets[0]), expected)
            floats = None if resets is None else resets[0].float()
            torch.testing.assert_close(layer.step(inputs[0], state, floats), expected)


@pytest.mark.parametrize("backend", ["dense", "csr", "groups"])
def test_step_notices_changed_parameters(backend: str) -> None:
    layer, other = make_layer(backend), SparseRecurrentLayer(small_specification(), seed=8).double()
    inputs, state, _ = sequences(layer, T=1)

    def check() -> None:
        torch.testing.assert_close(layer.step(inputs[0], state), step_by_step(layer, inputs, state, None)[0])

    check()
    layer(inputs, state).states.sum().backward()
    torch.optim.Adam(layer.parameters(), lr=0.1).step()
    check()
    # A fused optimizer changes parameters behind the back of their version counters.
    for _ in range(2):
        layer.train()
        layer(inputs, state).states.sum().backward()
        torch.optim.Adam(layer.parameters(), lr=0.1, fused=True).step()
        check()
        layer(inputs, state).states.sum().backward()
        torch.optim.Adam(layer.parameters(), lr=0.1, fused=True).step()
        layer.eval()
        check()
    with torch.no_grad():
        layer.weights["hx"].copy_(torch.ones_like(layer.weights["hx"]))
    check()
    layer.load_state_dict(other.state_dict())  # Other patterns, too.
    assert torch.equal(layer.positions("hh"), other.positions("hh"))
    check()
    layer.weights["yh"].data = torch.ones_like(layer.weights["yh"])
    check()
    clone = copy.deepcopy(layer)
    with torch.no_grad():
        clone.bias.add_(1.0)
    assert not torch.allclose(clone.step(inputs[0], state), layer.step(inputs[0], state))
    check()
    torch.testing.assert_close(clone.step(inputs[0], state), step_by_step(clone, inputs, state, None)[0])
    single = copy.deepcopy(layer).float()
    torch.testing.assert_close(
        single.step(inputs[0].float(), state.float()), layer.step(inputs[0], state).float(), rtol=1e-4, atol=1e-5
    )


def test_saved_layer_is_the_same_layer() -> None:
    layer, other = make_layer("auto"), SparseRecurrentLayer(small_specification(), seed=77).double()
    inputs, state, starts = sequences(layer)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(layer(inputs, state, starts).states, other(inputs, state, starts).states)


def test_forged_positions_are_refused() -> None:
    layer = make_layer()
    inputs, state, _ = sequences(layer)
    forged = layer.state_dict()
    forged["positions_hh"] = forged["positions_hh"] + 10_000
    layer.load_state_dict(forged)
    with pytest.raises(ValueError, match="block hh"):
        layer(inputs, state)
    with pytest.raises(ValueError, match="block hh"):
        layer.step(inputs[0], state)


def test_memory_grows_with_weights_only() -> None:
    specification = specify(10, 2, 40_000, hidden_size=20_000, hidden_proportion=0.01)
    layer = SparseRecurrentLayer(specification)
    inputs, state = torch.randn(3, 2, 10), torch.zeros(2, layer.state_size)
    states, outputs = layer(inputs, state)
    outputs.sum().backward()
    held = sum(t.numel() for t in (*layer.parameters(), *layer.buffers()))
    assert held < 3 * specification.total_weights
    torch.testing.assert_close(layer.step(inputs[0], state), states[0])


def test_nan_is_not_hidden() -> None:
    for backend in ("dense", "csr", "groups"):
        layer = make_layer(backend)
        inputs, state, _ = sequences(layer)
        inputs[2, 1] = float("nan")
        states, _ = layer(inputs, state)
        assert states[:2].isfinite().all()
        assert states[2:, 1, layer.n_hidden :].isnan().all()
        assert states[:, [0, 2, 3, 4]].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, z, s: (x[..., :3], z, s), "inputs have shape"),
        (lambda x, z, s: (x[0], z, s), "inputs have shape"),
        (lambda x, z, s: (x[:0], z, s[:0]), "inputs have shape"),
        (lambda x, z, s: (x, z[:2], s), "state has shape"),
        (lambda x, z, s: (x, z, s[:, :2]), "episode starts have shape"),
        (lambda x, z, s: (x.float(), z, s), "float32"),
        (lambda x, z, s: (x, z.float(), s), "float32"),
    ],
)
def test_wrong_shapes_and_types_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    layer = make_layer()
    arguments = change(*sequences(layer))
    with pytest.raises(ValueError, match=message):
        layer(*arguments)
    if arguments[0].ndim == 3 and len(arguments[0]):
        with pytest.raises(ValueError, match=message):
            layer.step(arguments[0][0], arguments[1], arguments[2][0])


def test_unknown_options_are_refused() -> None:
    for options in ({"activation": "gelu"}, {"backend": "gpu"}, {"initialization": "xavier"}, {"pattern": "tiles"}):
        with pytest.raises(ValueError, match="is unknown"):
            SparseRecurrentLayer(small_specification(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("B", [3, 16])
def test_tiles_of_few_steps_change_nothing(activation: str, B: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer("csr", activation)
    inputs, state, starts = sequences(layer, T=150, B=B)
    inputs.requires_grad_()
    state.requires_grad_()
    found = []
    for entries in (1 << 30, 1):
        monkeypatch.setattr(sparse, "_TILE", entries)
        states, outputs = layer(inputs, state, starts)
        (alone,) = forward_together([layer], inputs, [state], starts, outputs_only=True)
        assert torch.equal(alone.outputs, outputs)
        assert not alone.states.numel()
        twice = [gradients(layer, states, inputs, state, retain=True) for _ in range(2)]
        for first, second in zip(*twice, strict=True):
            assert torch.equal(first, second)
        found.append([states, outputs, *twice[0], *torch.autograd.grad(alone.outputs.sum(), list(layer.parameters()))])
    for whole, tiled in zip(*found, strict=True):
        torch.testing.assert_close(tiled, whole, rtol=1e-9, atol=1e-10)
