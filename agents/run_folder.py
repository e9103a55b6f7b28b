"""The folder of a run: what is in it, and how it is read back without running anything from it."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import nn

from agents.configuration import TrainingConfiguration, from_yaml, to_yaml
from agents.normalization import ObservationNormalization
from policies.architectures import ActorCriticSpecification
from policies.sequence_policy import PolicyShapes

Which = Literal["best", "final"]
RECORDED_PACKAGES = (
    "stable-baselines3",
    "sb3-contrib",
    "torch",
    "numpy",
    "numba",
    "gymnasium",
    "gymnasium-robotics",
    "mujoco",
)


class RunFolder:
    """`<log-dir>/<env>/<run-name>/` and the files in it.

    config.yaml (everything needed to repeat the run), network.json, result.json, progress.csv, TensorBoard events,
    best/ and final/ with policy.safetensors and normalization.json; checkpoints/ is reserved.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, configuration: TrainingConfiguration, run_name: str) -> "RunFolder":
        """Make the folder of a new run.

        :raises ValueError: if it exists already or cannot be made
        """
        environment = configuration.env.rpartition(":")[2].replace("/", "-")
        path = Path(configuration.log_dir) / environment / run_name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError as error:
            if Path(str(error.filename)) == path:
                raise ValueError(
                    f"--run-name {run_name}: the run {path} exists already, another name is needed"
                ) from None
            raise ValueError(f"--log-dir {configuration.log_dir}: {error.filename} is no folder") from None
        except OSError as error:
            raise ValueError(f"--log-dir {configuration.log_dir} cannot be written: {error.strerror}") from None
        if not os.access(path, os.W_OK):
            raise ValueError(f"--log-dir {configuration.log_dir} cannot be written")
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open the folder of an existing run.

        :raises ValueError: if it holds no config.yaml
        """
        if not (Path(path) / "config.yaml").is_file():
            raise ValueError(f"{path} is no run folder: it holds no config.yaml")
        return cls(Path(path))

    def write_configuration(self, configuration: TrainingConfiguration) -> None:
        """Write config.yaml, with the versions of the packages that a run depends on."""
        versions = {name: version(name) for name in RECORDED_PACKAGES}
        (self.path / "config.yaml").write_text(to_yaml(configuration, versions=versions))

    def read_configuration(self) -> TrainingConfiguration:
        """Read config.yaml through the checks of the command line.

        :raises ValueError: if it does not fit, or names an environment as module:id, which would import the module
        """
        try:
            configuration = from_yaml((self.path / "config.yaml").read_text())
        except UnicodeDecodeError:
            raise ValueError(f"{self.path / 'config.yaml'} is no text") from None
        if ":" in configuration.env:
            raise ValueError(
                f"{self.path / 'config.yaml'} names the environment {configuration.env!r}: "
                "module:id is for the command line, a file may only name registered environments"
            )
        return configuration

    def read_network(self) -> ActorCriticSpecification:
        """Read network.json.

        :raises ValueError: if it is missing or damaged
        """
        file = self.path / "network.json"
        try:
            return ActorCriticSpecification.from_dict(json.loads(file.read_text()))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{file} is missing or damaged: {' '.join(str(error).split())}") from None

    def write_json(self, name: str, content: Any) -> None:
        """Write a table of plain values as JSON, whole or not at all."""
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(self.path / name)

    def read_figures(self, which: Which) -> dict[str, Any]:
        """Read the evaluation of best/ or final/ from result.json; empty if the training did not come to its end.

        :raises ValueError: if the file is damaged
        """
        file = self.path / "result.json"
        if not file.is_file():
            return {}
        try:
            figures = json.loads(file.read_text())[which]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"{file} is damaged: {error!r}") from None
        if not isinstance(figures, dict):
            raise ValueError(f"{file} is damaged: {which!r} is no table")
        return figures

    def save_policy(self, which: Which, policy: nn.Module, normalization: ObservationNormalization | None) -> None:
        """Write a policy's weights and its normalization statistics to best/ or final/."""
        folder = self.path / which
        folder.mkdir(exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in policy.state_dict().items()}
        temporary = folder / ".policy.tmp"
        safetensors.torch.save_file(tensors, temporary)
        temporary.replace(folder / "policy.safetensors")
        if normalization is not None:
            (folder / "normalization.json").write_text(normalization.to_json())

    def policy_shapes(self, which: Which) -> PolicyShapes:
        """Read what the policy of best/ or final/ takes and gives, without loading it.

        :raises ValueError: if a file is missing or damaged
        """
        actor, file = self.read_network().actor, self._weights(which)
        try:
            with safetensors.safe_open(file, framework="pt") as tensors:
                discrete = "log_std" not in list(tensors.keys())
        except safetensors.SafetensorError as error:
            raise ValueError(f"{file} holds no policy: {str(error).splitlines()[0]}") from None
        return PolicyShapes(actor.n_inputs, actor.n_outputs, discrete)

    def load_policy(self, which: Which, policy: nn.Module, n_inputs: int) -> ObservationNormalization | None:
        """Load the weights of best/ or final/ into a policy built from the configuration.

        :param n_inputs: size of the observation, which the statistics must have
        :return: the normalization statistics, or None if the run has none
        :raises ValueError: if a file is missing, damaged, or of another network
        """
        file = self._weights(which)
        try:
            policy.load_state_dict(safetensors.torch.load_file(file, device="cpu"))
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise ValueError(f"{file} does not hold this run's network: {str(error).splitlines()[0]}") from None
        statistics = self.path / which / "normalization.json"
        return ObservationNormalization.from_json(statistics.read_text(), n_inputs) if statistics.is_file() else None

    def _weights(self, which: Which) -> Path:
        file = self.path / which / "policy.safetensors"
        if not file.is_file():
            raise ValueError(f"{self.path} holds no {which}/policy.safetensors")
        return file
