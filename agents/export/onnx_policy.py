"""A policy exported as one ONNX file: what the file holds, how it is read without trust, and how it acts."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from gymnasium import spaces

from agents.configuration import check_module_name, wrappers_of_file
from agents.literals import read_arguments, written_arguments
from policies.network.architectures import ActorCriticSpecification
from policies.refusal import Refusal
from policies.sequence_policy import PolicyShapes

FORMAT = "varied-sparsity-rl policy 1"
"""What the metadata entry `format` of our files says."""
OPSET = 18
"""Version of ONNX's operators that our files use, with the IR version below; readers of 2023 and later know both."""
IR_VERSION = 8
OPERATORS = frozenset(
    {
        *("Add", "ArgMax", "Cast", "Clip", "Concat", "Expand", "GatherElements", "Gemm", "Max", "Min", "Mul"),
        *("ReduceSum", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Split", "Sub", "Tanh", "Unsqueeze", "Where"),
    }
)
"""What a policy is made of; a file with any other operator is none of ours."""

OPTIONAL = ("env_module", "choices", "wrappers")
"""Entries of the metadata that are there only where they say something."""


@dataclass(frozen=True)
class PolicyMetadata:
    """What an exported policy says about itself."""

    env: str
    """id of the environment, as registered with Gymnasium"""
    env_arguments: Mapping[str, Any]
    specification: ActorCriticSpecification
    """of the networks that were trained; the file holds the actor"""
    versions: Mapping[str, str]
    """package -> version it was exported with"""
    evaluation: Mapping[str, Any]
    """the run's own figures of this policy, as in result.json; empty if the run has none"""
    env_module: str | None = None
    """that registered the environment; for messages, never imported. The file has no such entry if there is none"""
    choices: tuple[int, ...] | None = None
    """how many each entry of an action has, if it has entries (MultiDiscrete, MultiBinary); else no such entry"""
    wrappers: tuple[str, ...] = ()
    """around the environment, see `envs.wrapping`. The file has no such entry if there are none"""

    def to_properties(self) -> dict[str, str]:
        """Return the metadata entries of the file; every one but `format` is JSON.

        :raises Refusal: if an environment argument is no Python literal
        """
        entries = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        entries = {name: entry for name, entry in entries.items() if name not in OPTIONAL or entry}
        entries["specification"] = self.specification.to_dict()
        try:
            entries["env_arguments"] = written_arguments(self.env_arguments)
        except Refusal as error:
            raise Refusal(f"the environment's arguments cannot be written into the file: {error.message}") from None
        return {"format": FORMAT} | {name: json.dumps(value) for name, value in entries.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> "PolicyMetadata":
        """Read what `to_properties` wrote.

        :raises Refusal: if an entry is missing or damaged, or the environment is named as module:id
        """
        if properties.get("format") != FORMAT:
            raise Refusal(f"its metadata do not say {FORMAT!r}")
        try:
            names = [field.name for field in dataclasses.fields(cls)]
            entries = {
                name: json.loads(properties[name]) for name in names if name not in OPTIONAL or name in properties
            }
        except KeyError as error:
            raise Refusal(f"its metadata lack the entry {error}") from None
        except (ValueError, RecursionError) as error:
            raise Refusal(f"its metadata are damaged: {error}") from None
        if not isinstance(entries["env"], str):
            raise Refusal("its metadata name no environment")
        if ":" in entries["env"]:
            raise Refusal(
                f"its metadata name the environment {entries['env']!r}: "
                "module:id is for the command line, a file may only name registered environments"
            )
        for name in ("env_arguments", "versions", "evaluation"):
            if not isinstance(entries[name], dict):
                raise Refusal(f"the entry {name!r} of its metadata is no table")
        check_module_name(entries.get("env_module"))
        entries["wrappers"] = wrappers_of_file(entries.get("wrappers", []))
        entries["env_arguments"] = read_arguments(entries["env_arguments"])
        entries["specification"] = ActorCriticSpecification.from_dict(entries["specification"])
        if "choices" in entries:
            entries["choices"] = _checked_choices(entries["choices"], entries["specification"].actor.n_outputs)
        return cls(**entries)


def _checked_choices(choices: Any, n_outputs: int) -> tuple[int, ...]:
    if not isinstance(choices, list) or not all(type(n) is int and n > 0 for n in choices):
        raise Refusal("the entry 'choices' of its metadata is no list of whole numbers")
    if n_outputs != sum(choices) and choices != [2] * n_outputs:
        raise Refusal(f"the entry 'choices' of its metadata does not fit {n_outputs} outputs")
    return tuple(choices)


class OnnxPolicy:
    """An exported policy, ready to act. Make one with `load_onnx`.

    Its state is one array (B, state_size), what its network carries from step to step: [h; y] of six blocks.

    :param model: a policy's graph, as `load_onnx` has checked it
    :param metadata: what the file says about itself
    """

    action_space: spaces.Space | None
    """of the environment it acts in; None until somebody says it, as the file knows bounds in float32 alone"""

    def __init__(self, model: bytes, metadata: PolicyMetadata) -> None:
        self.metadata = metadata
        self.action_space = None
        self.env = metadata.env
        self.env_arguments = dict(metadata.env_arguments)
        actor = metadata.specification.actor
        self.n_inputs, self.n_outputs = actor.n_inputs, actor.n_outputs
        self.state_size = actor.state_size
        self.session = onnxruntime.InferenceSession(model, session_options(), providers=["CPUExecutionProvider"])
        self.parameters = next(o.name for o in self.session.get_outputs() if o.name in ("mean", "logits"))
        self.discrete = self.parameters == "logits"
        choices = metadata.choices or ((self.n_outputs,) if self.discrete else ())
        self.shapes = PolicyShapes(self.n_inputs, self.n_outputs, choices)
        self._outputs = ["action", self.parameters, "next_state"]

    def step(
        self, observation: np.ndarray, state: np.ndarray | None = None, episode_start: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Make one step of B environments.

        :param observation: (B, n_inputs), raw as the environment gives it
        :param state: (B, state_size) float32; zeros if None
        :param episode_start: (B,), nonzero where the state is zeroed before the step; nowhere if None
        :return: actions ((B, n_outputs) float32 within their bounds, or (B,) or (B, entries) int64 if discrete), means
            or logits (B, n_outputs) float32, and the next state
        :raises Refusal: for other shapes
        """
        observation = np.ascontiguousarray(observation, np.float32)
        if observation.ndim != 2 or observation.shape[1] != self.n_inputs:
            raise Refusal(f"observations have shape {observation.shape}: (B, {self.n_inputs}) is needed")
        B = len(observation)
        state = np.zeros((B, self.state_size), np.float32) if state is None else np.ascontiguousarray(state, np.float32)
        start = np.zeros(B, np.float32) if episode_start is None else np.asarray(episode_start, np.float32)
        if state.shape != (B, self.state_size) or start.shape != (B,):
            raise Refusal(
                f"state and episode starts have shapes {state.shape} and {start.shape}: "
                f"({B}, {self.state_size}) and ({B},) are needed"
            )
        action, parameters, next_state = self.session.run(
            self._outputs, {"observation": observation, "state": state, "episode_start": start}
        )
        return action, parameters, next_state

    def predict(
        self,
        observation: np.ndarray,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Choose the actions of B environments, called as a Stable-Baselines3 policy is; see `step`.

        :param state: what the last call returned, or None
        :return: actions and the state to pass on; the actions lie in `action_space`, in its shape and type, if it is
            known, and are those of `step` otherwise
        :raises Refusal: for other shapes, or `deterministic=False`, as no exploration noise is exported
        """
        if not deterministic:
            raise Refusal("an exported policy is deterministic: it holds no exploration noise")
        action, _, next_state = self.step(observation, None if state is None else state[0], episode_start)
        space = self.action_space
        if isinstance(space, spaces.Box):
            action = np.clip(action.reshape(-1, *space.shape), space.low, space.high)
        if space is not None:
            action = action.reshape(-1, *(space.shape or ())).astype(space.dtype, copy=False)
        return action, (next_state,)


def session_options() -> onnxruntime.SessionOptions:
    """Return the options that suit so small a graph: one thread, one node after the other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    return options


def load_onnx(path: str | Path) -> OnnxPolicy:
    """Load a policy that `export.py` wrote. Nothing in the file is executed, and no other file is read.

    onnxruntime sees the file only after every part of it has been checked, as bytes and without its path.

    :raises Refusal: in one line, if the file cannot be read, is damaged or foreign, names external data, or names
        its environment as module:id
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from None
    try:
        return read_policy(content)
    except Refusal as error:
        raise Refusal(f"{path} is no policy of this project: {' '.join(str(error).split())}") from None


def read_policy(content: bytes) -> OnnxPolicy:
    """Read the bytes of a file as `load_onnx` does.

    :raises Refusal: if they are damaged or foreign
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise Refusal("it is no ONNX file, or a damaged one") from None
    model.DiscardUnknownFields()
    _check_parts(model)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    metadata = PolicyMetadata.from_properties(properties)
    _check_interface(model.graph, metadata)
    # onnxruntime can be told to take session options from metadata; it gets none.
    del model.metadata_props[:]
    try:
        onnx.checker.check_model(model)
        policy = OnnxPolicy(model.SerializeToString(), metadata)
        policy.step(np.zeros((2, policy.n_inputs), np.float32))
    except Exception as error:
        # onnx and onnxruntime have a dozen exceptions without a common base; the file is all that can be at fault.
        raise Refusal(f"its graph is damaged: {error}") from None
    return policy


def _check_parts(model: onnx.ModelProto) -> None:
    """Refuse everything a policy has no use for, wherever it is nested.

    :raises Refusal: for external data, functions, and operators that are none of ours
    """
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto) and (
            message.external_data or message.data_location != onnx.TensorProto.DEFAULT
        ):
            raise Refusal(f"the tensor {message.name!r} names external data")
        if isinstance(message, onnx.NodeProto) and (message.domain or message.op_type not in OPERATORS):
            raise Refusal(f"it has the operator {f'{message.domain}.{message.op_type}'.lstrip('.')!r}")
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise Refusal("it has functions, training steps or sparse tensors")
    for opset in model.opset_import:
        if opset.domain or opset.version != OPSET:
            raise Refusal(f"it needs the operators {opset.domain or 'ai.onnx'} {opset.version}")


def _messages(message: Any) -> Iterator[Any]:
    """Walk a protobuf message and everything in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(part)


def _check_interface(graph: onnx.GraphProto, metadata: PolicyMetadata) -> None:
    """Check names, types and sizes of inputs and outputs.

    :raises Refusal: if they are not a policy's
    """
    actor = metadata.specification.actor
    entries = () if metadata.choices is None else (len(metadata.choices),)
    discrete = any(output.name == "logits" for output in graph.output)
    float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    state = (float32, (actor.state_size,))
    expected = {
        "observation": (float32, (actor.n_inputs,)),
        "state": state,
        "episode_start": (float32, ()),
        "action": (int64, entries) if discrete else (float32, (actor.n_outputs,)),
        "next_state": state,
        "logits" if discrete else "mean": (float32, (actor.n_outputs,)),
    }
    found = {}
    for value in [*graph.input, *graph.output]:
        tensor = value.type.tensor_type
        dimensions = [
            dimension.dim_value if dimension.HasField("dim_value") else None for dimension in tensor.shape.dim
        ]
        found[value.name] = (tensor.elem_type, tuple(dimensions[1:])) if dimensions[:1] == [None] else None
    if found != expected or len(graph.input) != 3 or len(graph.output) != 3:
        names = ", ".join(f"{value.name!r}" for value in [*graph.input, *graph.output])
        raise Refusal(f"its inputs and outputs ({names}) are not those of its specification")
