"""A policy as an ONNX graph, built node by node with onnx's own helpers.

    observation (B, n_x), state (B, n), episode_start (B,)  →  action, mean or logits (B, n_y), next_state (B, n)

An action is (B, n_y) float32 for a Box, (B,) int64 for Discrete, and (B, entries) int64 for MultiDiscrete and
MultiBinary.

What lies between, one step of the network, is added by the policy itself.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from gymnasium import spaces
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from agents.export.onnx_policy import IR_VERSION, OPSET, PolicyMetadata
from agents.export.sparse_product import add_product, full_blocks
from agents.runs.normalization import ObservationNormalization
from policies.sequence_policy import SequencePolicy, choices_of
from policies.step_graph import SparseRows

START_COLUMN = "start of row"
"""Name of the episode starts as a column (B, 1)."""

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class GraphBuilder:
    """Collects nodes and constants; see `StepGraph`.

    :param gather: False makes every block a full matrix, however few weights it has
    """

    def __init__(self, gather: bool = True) -> None:
        self.gather = gather
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: ArrayLike) -> str:
        """Store an array, whose type the file keeps."""
        self.constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(self, value: str, sizes: list[int], outputs: list[str]) -> list[str]:
        """Cut (B, sum of sizes) into pieces along the second axis."""
        lengths = self.constant(f"sizes in {value}", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [value, lengths], outputs, name=f"split {value}", axis=1))
        return outputs

    def full_blocks(self, blocks: Mapping[str, tuple[int, int]]) -> list[str]:
        """Return which blocks are full matrices."""
        return full_blocks(blocks) if self.gather else list(blocks)

    def sparse_product(self, name: str, matrix: SparseRows, vectors: str) -> str:
        """Add a matrix times every row of `vectors`."""
        batch = self.add("Shape", [START_COLUMN], f"{name}: shape of the batch")
        return add_product(self, name, matrix, vectors, batch)


def policy_model(
    policy: SequencePolicy,
    normalization: ObservationNormalization | None,
    metadata: PolicyMetadata,
    *,
    gather: bool = True,
) -> onnx.ModelProto:
    """Build the graph of a policy's actor, observation normalization inside, action bounds applied.

    :param normalization: of the observations; None where the policy sees them as they are
    :param metadata: written into the model
    :param gather: False stores every block as a full matrix, however few weights it has
    """
    graph = GraphBuilder(gather)
    inputs = "observation"
    if normalization is not None:
        inputs = _normalized(graph, inputs, normalization)
    carried = _carried(graph)
    space = policy.action_space
    parameters = "mean" if isinstance(space, spaces.Box) else "logits"
    policy.export_step(graph, inputs, carried, parameters)
    actor = metadata.specification.actor
    n_x, n_y, n = actor.n_inputs, actor.n_outputs, actor.state_size
    if isinstance(space, spaces.Box):
        action = helper.make_tensor_value_info("action", FLOAT, ["batch", n_y])
        _clipped(graph, parameters, space)
    else:
        entries = [] if isinstance(space, spaces.Discrete) else [len(choices_of(space))]
        action = helper.make_tensor_value_info("action", INT64, ["batch", *entries])
        _chosen(graph, parameters, space)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "policy",
            [
                helper.make_tensor_value_info("observation", FLOAT, ["batch", n_x]),
                helper.make_tensor_value_info("state", FLOAT, ["batch", n]),
                helper.make_tensor_value_info("episode_start", FLOAT, ["batch"]),
            ],
            [
                action,
                helper.make_tensor_value_info(parameters, FLOAT, ["batch", n_y]),
                helper.make_tensor_value_info("next_state", FLOAT, ["batch", n]),
            ],
            initializer=graph.constants,
        ),
        producer_name="varied-sparsity-rl",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, metadata.to_properties())
    onnx.checker.check_model(model, full_check=True)
    return model


def _normalized(graph: GraphBuilder, observation: str, normalization: ObservationNormalization) -> str:
    scale = 1 / np.sqrt(normalization.variance + normalization.epsilon)
    mean = normalization.mean.astype(np.float32)
    # In float32 the subtraction is exact near the mean; what the mean lost in rounding is subtracted after it.
    rest = (normalization.mean - mean) * scale
    value = graph.add("Sub", [observation, graph.constant("mean of observations", mean)], "centred")
    value = graph.add("Mul", [value, graph.constant("scale of observations", scale.astype(np.float32))], "scaled")
    value = graph.add("Sub", [value, graph.constant("rest of the mean", rest.astype(np.float32))], "normalized")
    limits = [
        graph.constant(f"{name} of observations", np.float32(limit))
        for name, limit in (("lowest", -normalization.clip), ("highest", normalization.clip))
    ]
    return graph.add("Clip", [value, *limits], "inputs")


def _carried(graph: GraphBuilder) -> str:
    """Zero the state where an episode starts, whatever it holds."""
    starts = graph.add("Cast", ["episode_start"], "starts", to=onnx.TensorProto.BOOL)
    column = graph.add("Unsqueeze", [starts, graph.constant("second axis", np.array([1], np.int64))], START_COLUMN)
    return graph.add("Where", [column, graph.constant("zero", np.float32(0)), "state"], "carried")


def _clipped(graph: GraphBuilder, outputs: str, space: spaces.Box) -> None:
    low, high = float32_bounds(space)
    if (low == low[0]).all() and (high == high[0]).all():
        bounds = [graph.constant("lowest action", low[0]), graph.constant("highest action", high[0])]
        graph.add("Clip", [outputs, *bounds], "action")
    else:
        bounded = graph.add("Max", [outputs, graph.constant("lowest actions", low)], "bounded below")
        graph.add("Min", [bounded, graph.constant("highest actions", high)], "action")


def _chosen(graph: GraphBuilder, logits: str, space: Any) -> None:
    if isinstance(space, spaces.MultiBinary):
        rounded = graph.add("Round", [graph.add("Sigmoid", [logits], "probabilities")], "likelier")
        graph.add("Cast", [rounded], "action", to=INT64)
        return
    start = np.asarray(space.start, np.int64)
    chosen = "choice" if start.any() else "action"
    if isinstance(space, spaces.Discrete):
        graph.add("ArgMax", [logits], chosen, axis=1, keepdims=0)
    else:
        sizes = list(choices_of(space))
        parts = graph.split(logits, sizes, [f"logits {index}" for index in range(len(sizes))])
        chosen_parts = [graph.add("ArgMax", [part], f"choice of {part}", axis=1, keepdims=1) for part in parts]
        graph.add("Concat", chosen_parts, chosen, axis=1)
    if start.any():
        graph.add("Add", [chosen, graph.constant("first choice", start)], "action")


def float32_bounds(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of a Box as flat float32 arrays, rounded inwards, so that what they hold lies in the Box.

    Where no float32 number lies between two bounds, as where both are 0.1 in float64, both become the nearest to one.
    """
    exact_low, exact_high, infinity = space.low.ravel(), space.high.ravel(), np.float32(np.inf)
    with np.errstate(over="ignore"):
        nearest_low, nearest_high = exact_low.astype(np.float32), exact_high.astype(np.float32)
        low = np.where(nearest_low < exact_low, np.nextafter(nearest_low, infinity), nearest_low)
        high = np.where(nearest_high > exact_high, np.nextafter(nearest_high, -infinity), nearest_high)
    return np.where(low > high, nearest_low, low), np.where(low > high, nearest_low, high)
