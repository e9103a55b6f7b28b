"""Released experts are read without running what their pickles name."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import torch

from benchmarks.expert_demonstrations import ArrayUnpickler, Expert


class Model:
    pass


class Command:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_nothing_but_arrays_is_rebuilt(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    content = pickle.dumps({"array": np.arange(3.0), "tensor": torch.ones(2), "other": Command(f"touch {mark}")})
    found = ArrayUnpickler(io.BytesIO(content)).load()
    assert not mark.exists()
    assert found["array"].tolist() == [0, 1, 2]
    assert found["tensor"].tolist() == [1, 1]


def test_an_expert_is_its_layers_between_its_scales(tmp_path: Path) -> None:
    policy, network = Model(), Model()
    shapes = ((4, 3), (4,), (2, 4), (2,), (2,))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    weights[-1] -= 50  # of the deviations' logarithms: no noise
    vars(policy).update(trainable_params=weights, model=network)
    scales = {"in_shift": 1.0, "in_scale": 2.0, "out_shift": 0.1, "out_scale": 0.2}
    vars(network).update({name: torch.full((3 if "in" in name else 2,), value) for name, value in scales.items()})
    file = tmp_path / "task-v0.pickle"
    file.write_bytes(pickle.dumps(policy))

    observation = np.array([0.5, -0.5, 1.5])
    action = Expert.read(file).act(observation, np.random.default_rng(0))
    hidden = np.tanh(weights[0].numpy() @ ((observation - 1) / 2) + weights[1].numpy())
    expected = (weights[2].numpy() @ hidden + weights[3].numpy()) * 0.2 + 0.1
    assert action.dtype == np.float32
    np.testing.assert_allclose(action, np.clip(expected, -1, 1), rtol=1e-5, atol=1e-6)
