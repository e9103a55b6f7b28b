"""A trained policy as one thing to evaluate, watch and record, whether it comes from a run folder or an ONNX file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Space

from agents.building import load_agent
from agents.configuration import configure
from agents.extras import require
from agents.runs.folder import PolicyName, RunFolder
from agents.runs.normalization import ObservationNormalization
from envs.lookup import check_environment, check_recorded_environment, environment_spaces
from envs.task import task_of, with_split
from policies.refusal import Refusal
from policies.sequence_policy import PolicyShapes, SequencePolicy

if TYPE_CHECKING:
    from agents.export.onnx_policy import OnnxPolicy


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy, and the environment that it is evaluated in."""

    source: Path
    """best/ or final/ of a run folder, or an ONNX file"""
    policy: "SequencePolicy | OnnxPolicy"
    normalization: ObservationNormalization | None
    """of the observations before the policy sees them; an ONNX file has it inside"""
    env: str
    env_arguments: Mapping[str, Any]
    """the test split where the environment has splits"""
    vectorization: str
    """how several such environments are stepped; see `envs.vectorized.make`"""
    wrappers: tuple[str, ...] = ()
    """around each of them; see `envs.wrapping`"""

    def normalized(self, observations: np.ndarray) -> np.ndarray:
        """Return (…, n_x) observations as the policy sees them."""
        return observations if self.normalization is None else self.normalization(observations)

    def parameters(self, observations: np.ndarray) -> np.ndarray:
        """Run the policy over whole episodes without acting.

        :param observations: (T, B, n_x) float32, as the environments gave them
        :return: (T, B, n_y) float32, the means or logits after each observation
        """
        seen = self.normalized(observations)
        if isinstance(self.policy, SequencePolicy):
            return _torch_parameters(self.policy, seen)
        return _onnx_parameters(self.policy, seen)


def load_trained_policy(
    path: str | Path,
    *,
    which: PolicyName | None = None,
    env: str | None = None,
    env_arguments: Mapping[str, Any] | None = None,
    wrappers: Sequence[str] | None = None,
) -> TrainedPolicy:
    """Load a policy with the environment it was trained in, or another of the same shapes.

    Nothing in the files is unpickled or executed. Evaluations are over the test split and the registered reward,
    whatever the training was; arguments that say otherwise are dropped if recorded and refused if given.

    :param path: a run folder, or a file that `export.py` wrote
    :param which: of a run folder, default best
    :param env: registered id of another environment; the recorded arguments are not for it
    :param env_arguments: of the environment, beside the recorded ones
    :param wrappers: in place of the recorded ones, which are for another environment, too
    :raises Refusal: if the path is neither, a file is damaged or foreign, the environment cannot be made, or its
        observation size or its kind or number of actions is another than the policy's
    """
    path = Path(path)
    if path.suffix == ".onnx":
        if which is not None:
            raise Refusal(f"`which` {which} does not fit {path}: it is for run folders, a file holds one policy")
        require("export", str(path))
        from agents.export.onnx_policy import load_onnx

        exported = load_onnx(path)
        env = _environment_id(exported.env, exported.metadata.env_module, env)
        arguments = _arguments(exported.env, exported.env_arguments, env, env_arguments or {})
        around = exported.metadata.wrappers if wrappers is None else tuple(wrappers)
        found = environment_spaces(env, arguments, around)
        _check_shapes(path, exported.shapes, env, found)
        exported.action_space = found[1]
        return TrainedPolicy(path, exported, None, env, arguments, configure(env).vectorization, around)
    if path.is_file():
        raise Refusal(f"{path} is neither a run folder nor an .onnx file")
    which = which or "best"
    folder = RunFolder.open(path)
    recorded = folder.read_configuration()
    env = _environment_id(recorded.env, folder.read_module(), env)
    arguments = _arguments(recorded.env, recorded.env_arguments, env, env_arguments or {})
    around = recorded.wrappers if wrappers is None else tuple(wrappers)
    spaces = environment_spaces(env, arguments, around)
    _check_shapes(path, folder.policy_shapes(which), env, spaces)
    policy, normalization, _ = load_agent(path, which, spaces)
    vectorization = recorded.vectorization if env == recorded.env else configure(env).vectorization
    return TrainedPolicy(path / which, policy, normalization, env, arguments, vectorization, around)


def _environment_id(recorded: str, module: str | None, env: str | None) -> str:
    """Return the id of the environment to evaluate in: the one given, or the one recorded."""
    if env is None:
        return check_recorded_environment(recorded, module)
    return check_environment(env, allow_module=False)


def _arguments(
    recorded: str, recorded_arguments: Mapping[str, Any], env: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of the environment to evaluate in."""
    task, set_here = task_of(env), {"render_mode": "`video` or `watch` sets it"}
    if task.has_splits:
        set_here["split"] = "evaluations are over the test split"
    if task.rewards:
        set_here["reward"] = "evaluations are over the registered reward"
    for name, instead in set_here.items():
        if name in given:
            raise Refusal(f"`env_arguments` {name}={given[name]} does not fit: {instead}")
    arguments = {name: value for name, value in recorded_arguments.items() if name not in set_here}
    return with_split(env, {**(arguments if env == recorded else {}), **given}, "test")


def _check_shapes(path: Path, shapes: PolicyShapes, env: str, spaces: tuple[Space, Space]) -> None:
    needed = PolicyShapes.of(*spaces)
    if shapes != needed:
        raise Refusal(f"{path} does not fit {env}: its policy is for {shapes}, the environment has {needed}")


def _torch_parameters(policy: SequencePolicy, observations: np.ndarray) -> np.ndarray:
    B = observations.shape[1]
    zeros = torch.zeros(1, B, policy.lstm_hidden_state_shape[-1])
    pair, starts, parameters = (zeros, zeros), torch.ones(B), []
    with torch.no_grad():
        for row in torch.as_tensor(observations):
            outputs, pair = policy.step_actor(row, pair, starts)
            parameters.append(outputs)
            starts = torch.zeros(B)
    return torch.stack(parameters).numpy()


def _onnx_parameters(policy: "OnnxPolicy", observations: np.ndarray) -> np.ndarray:
    state, parameters = None, []
    for row in observations:
        _, outputs, state = policy.step(row, state)
        parameters.append(outputs)
    return np.stack(parameters)
