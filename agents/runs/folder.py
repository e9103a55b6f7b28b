"""The folder of a run: what is in it, and how it is read back without running anything from it."""

import errno
import itertools
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
from torch import nn

from agents.configuration import TrainingConfiguration, from_yaml, module_in_yaml, to_yaml
from agents.runs.files import check_path, read_table, read_text, write_whole
from agents.runs.normalization import ObservationNormalization
from envs.lookup import module_of
from envs.vectorized.state_tree import StateTree
from policies.network.architectures import ActorCriticSpecification
from policies.refusal import Refusal
from policies.sequence_policy import PolicyShapes

PolicyName = Literal["best", "final"]
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

_FIRST = "first"
"""Entry of network.json with the networks before weights moved, if they did."""


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a run's numbers depend on."""
    return {name: version(name) for name in RECORDED_PACKAGES}


@dataclass(frozen=True)
class SavedPolicy:
    """A policy's weights and normalization statistics as they were, whatever the policy learns afterwards."""

    tensors: Mapping[str, np.ndarray]
    normalization: ObservationNormalization | None

    @classmethod
    def of(cls, policy: nn.Module, normalization: ObservationNormalization | None) -> "SavedPolicy":
        """Copy a policy."""
        tensors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in policy.state_dict().items()}
        return cls(tensors, normalization)

    def get_state(self) -> dict[str, Any]:
        """Return arrays and plain values that `of_state` reads."""
        normalization = None if self.normalization is None else vars(self.normalization)
        return {"tensors": self.tensors, "normalization": normalization}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "SavedPolicy":
        """Return the policy that `get_state` describes.

        :raises Refusal: if it holds something else
        """
        tree = StateTree(state)
        arrays = tree.table("tensors")
        tensors = {name: arrays.array(name) for name in arrays}
        if tree.value("normalization") is None:
            return cls(tensors, None)
        normalization = tree.table("normalization")
        mean = normalization.array("mean", (None,), np.float64)
        variance = normalization.array("variance", mean.shape, np.float64)
        clip, epsilon = normalization.number("clip"), normalization.number("epsilon")
        return cls(tensors, ObservationNormalization(mean, variance, clip, epsilon))


class RunFolder:
    """`<log-dir>/<env>/<run-name>/` and the files in it.

    config.yaml (everything needed to repeat the run), network.json, result.json, progress.csv, TensorBoard events,
    best/ and final/ with policy.safetensors and normalization.json, checkpoints/ to resume from.
    """

    def __init__(self, path: Path) -> None:
        check_path(path)
        self.path = path

    @classmethod
    def create(cls, configuration: TrainingConfiguration, default_name: str) -> "RunFolder":
        """Make the folder of a new run, with its config.yaml: there is no moment at which one is without the other.

        Of several that are made at the same time, on whatever machines, none gets the folder of another.

        :param default_name: where the configuration gives none; if it is taken, so is the first free of name-2, …
        :raises Refusal: if it exists already or cannot be made
        """
        environment = configuration.env.rpartition(":")[2].replace("/", "-")
        run_name = configuration.run_name or default_name
        folder = cls(Path(configuration.log_dir) / environment / run_name)
        unfinished = cls(folder.path.with_name(f".{run_name}.{secrets.token_hex(4)}.tmp"))
        try:
            folder.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.path.mkdir()
            try:
                unfinished.write_configuration(configuration)
                for number in itertools.count(2):
                    if _renamed(unfinished.path, folder.path):
                        break
                    if configuration.run_name:
                        raise Refusal(
                            f"`run_name` {run_name}: the run {folder.path} exists already, another name is needed"
                        )
                    folder = cls(folder.path.with_name(f"{default_name}-{number}"))
            finally:
                shutil.rmtree(unfinished.path, ignore_errors=True)
        except FileExistsError as error:
            raise Refusal(f"`log_dir` {configuration.log_dir}: {error.filename} is no folder") from None
        except OSError as error:
            raise Refusal(f"`log_dir` {configuration.log_dir} cannot be written: {error.strerror}") from None
        if not os.access(folder.path, os.W_OK):
            raise Refusal(f"`log_dir` {configuration.log_dir} cannot be written")
        return folder

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open the folder of an existing run.

        :raises Refusal: if it holds no config.yaml
        """
        if not (Path(path) / "config.yaml").is_file():
            raise Refusal(f"{path} is no run folder: it holds no config.yaml")
        return cls(Path(path))

    def write_configuration(self, configuration: TrainingConfiguration) -> None:
        """Write config.yaml, with the module that registered the environment and the versions of packages."""
        extra: dict[str, Any] = {}
        module = module_of(configuration.env) or self.read_module()
        if module is not None:
            extra["env_module"] = module
        write_whole(self.path / "config.yaml", to_yaml(configuration, **extra, versions=package_versions()))

    def read_module(self) -> str | None:
        """Read from config.yaml which module registered the environment; it is named in messages, never imported.

        :return: None if there is none to name
        :raises Refusal: if the file does not fit
        """
        file = self.path / "config.yaml"
        return module_in_yaml(read_text(file)) if file.is_file() else None

    def read_configuration(self) -> TrainingConfiguration:
        """Read config.yaml through the checks of the command line.

        :raises Refusal: if it does not fit, or names an environment as module:id, which would import the module
        """
        file = self.path / "config.yaml"
        text = read_text(file)
        try:
            configuration = from_yaml(text)
        except Refusal as error:
            raise Refusal(f"{file} does not fit: {error}") from None
        if ":" in configuration.env:
            raise Refusal(
                f"{file} names the environment {configuration.env!r}: "
                "module:id is for the command line, a file may only name registered environments"
            )
        return configuration

    def write_networks(self, now: ActorCriticSpecification, first: ActorCriticSpecification) -> None:
        """Write network.json: the networks as they are, and as they were first if weights have moved since."""
        moved = {} if now == first else {_FIRST: first.to_dict()}
        self.write_json("network.json", now.to_dict() | moved)

    def read_network(self) -> ActorCriticSpecification:
        """Read from network.json the networks as they are.

        :raises Refusal: if it is missing or damaged
        """
        return self._read_networks()[0]

    def read_first_network(self) -> ActorCriticSpecification:
        """Read from network.json the networks as they were before any weight moved.

        :raises Refusal: if it is missing or damaged
        """
        return self._read_networks()[1]

    def _read_networks(self) -> tuple[ActorCriticSpecification, ActorCriticSpecification]:
        file = self.path / "network.json"
        table = dict(read_table(file))
        first = table.pop(_FIRST, table)
        try:
            return ActorCriticSpecification.from_dict(table), ActorCriticSpecification.from_dict(first)
        except Refusal as error:
            raise Refusal(f"{file} is damaged: {error.message}") from None

    def write_json(self, name: str, content: Any) -> None:
        """Write a table of plain values as JSON, whole or not at all; NaN and infinities, which JSON lacks, as null."""
        write_whole(self.path / name, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def read_result(self) -> StateTree | None:
        """Read result.json; None if the training did not come to its end.

        :raises Refusal: if the file is damaged, as the tree's readers do
        """
        file = self.path / "result.json"
        return StateTree(read_table(file), f"{file} is damaged:") if file.is_file() else None

    def read_figures(self, which: PolicyName) -> dict[str, Any]:
        """Read the evaluation of best/ or final/ from result.json; empty if the training did not come to its end.

        :raises Refusal: if the file is damaged
        """
        result = self.read_result()
        return {} if result is None else result.table(which)

    def save_policy(self, which: PolicyName, policy: nn.Module, normalization: ObservationNormalization | None) -> None:
        """Copy a policy to best/ or final/."""
        self.write_policy(which, SavedPolicy.of(policy, normalization))

    def write_policy(self, which: PolicyName, policy: SavedPolicy) -> None:
        """Write a policy that was copied to best/ or final/."""
        folder = self.path / which
        folder.mkdir(exist_ok=True)
        if policy.normalization is not None:
            write_whole(folder / "normalization.json", policy.normalization.to_json())
        write_whole(folder / "policy.safetensors", safetensors.numpy.save(dict(policy.tensors)))

    def policy_shapes(self, which: PolicyName) -> PolicyShapes:
        """Read what the policy of best/ or final/ takes and gives, without loading it.

        :raises Refusal: if a file is missing or damaged
        """
        actor, file = self.read_network().actor, self._weights(which)
        try:
            with safetensors.safe_open(file, framework="pt") as tensors:
                names = list(tensors.keys())
                choices = tensors.get_tensor("choices").tolist() if "choices" in names else [actor.n_outputs]
        except (OSError, safetensors.SafetensorError) as error:
            raise Refusal(f"{file} holds no policy: {str(error).splitlines()[0]}") from None
        return PolicyShapes(actor.n_inputs, actor.n_outputs, () if "log_std" in names else tuple(choices))

    def load_policy(self, which: PolicyName, policy: nn.Module, n_inputs: int) -> ObservationNormalization | None:
        """Load the weights of best/ or final/ into a policy built from the configuration.

        :param n_inputs: size of the observation, which the statistics must have
        :return: the normalization statistics, or None if the run has none
        :raises Refusal: if a file is missing, damaged, or of another network
        """
        file = self._weights(which)
        try:
            policy.load_state_dict(safetensors.torch.load_file(file, device="cpu"))
        except (OSError, safetensors.SafetensorError, RuntimeError) as error:
            raise Refusal(f"{file} does not hold this run's network: {str(error).splitlines()[0]}") from None
        statistics = self.path / which / "normalization.json"
        return ObservationNormalization.from_json(read_text(statistics), n_inputs) if statistics.is_file() else None

    def _weights(self, which: PolicyName) -> Path:
        file = self.path / which / "policy.safetensors"
        if not file.is_file():
            raise Refusal(f"{self.path} holds no {which}/policy.safetensors")
        return file


def _renamed(folder: Path, path: Path) -> bool:
    """Give a folder with something in it another name, unless that is taken, and tell whether it has it now."""
    if os.path.lexists(path):  # an empty folder would be replaced
        return False
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # made by another process just now
            return False
        raise
    return True


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
