"""Run folders with policies that nobody trained, for tests of what is done with a trained one, and a small disk."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.building import policy_recipe, specification_of
from agents.configuration import configure
from agents.export.graph import policy_model
from agents.export.onnx_policy import PolicyMetadata
from agents.runs.folder import RunFolder
from agents.runs.normalization import ObservationNormalization
from envs.lookup import environment_spaces
from policies.sequence_policy import PolicyShapes

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Return a function that writes a run folder, as a training leaves it, and an ONNX file beside it.

    The function is called with a folder, an environment, the deviation of the noise on every weight, and options of
    the configuration, and returns the run's path; the ONNX file of best/ has the same path with .onnx at its end.
    """

    def make(folder: Path, env: str, noise: float = 0.2, **options: object) -> Path:
        configuration = configure(env, **({"log_dir": str(folder), "run_name": "run", "budget": 600} | options))
        observation_space, action_space = environment_spaces(env, configuration.env_arguments)
        specification = specification_of(configuration, observation_space, action_space)
        policy_class, policy_options = policy_recipe(configuration, specification)
        policy = policy_class(observation_space, action_space, lambda _: 1e-3, **policy_options)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():  # outputs of a fresh policy are near zero, whatever it sees
            for parameter in policy.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=noise)
        n = PolicyShapes.of(observation_space, action_space).n_inputs
        normalization = None
        if configuration.normalize_observation:
            normalization = ObservationNormalization(np.linspace(-0.1, 0.1, n), np.linspace(0.5, 2.0, n), 10.0, 1e-8)
        run = RunFolder.create(configuration, "run")
        run.write_configuration(configuration)
        run.write_json("network.json", specification.to_dict())
        for which in ("best", "final"):
            run.save_policy(which, policy, normalization)
        metadata = PolicyMetadata(env, configuration.env_arguments, specification, {}, {})
        run.path.with_suffix(".onnx").write_bytes(policy_model(policy, normalization, metadata).SerializeToString())
        return run.path

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 700 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
