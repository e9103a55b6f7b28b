"""A policy as an ONNX graph, built node by node with onnx's own helpers.

    observation (B, n_x), state (B, n), episode_start (B,)  →  action, mean or logits (B, n_y), next_state (B, n)

The state is what the network carries from step to step: [h; y] of the sparse networks, [h; c] of an LSTM. The deviation
of exploration noise is no part of it: the action is the deterministic one.
"""

from typing import cast

import numpy as np
import onnx
from gymnasium import spaces
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from agents.normalization import ObservationNormalization
from agents.onnx_policy import PolicyMetadata, state_size
from policies.block_matrix import BlockMatrix
from policies.lstm_policy import LstmPolicy
from policies.recurrent_layer import SparseRecurrentLayer
from policies.sequence_policy import SequencePolicy
from policies.varied_sparsity_policy import VariedSparsityPolicy

OPSET = 18
"""Version of ONNX's operators, with the IR version that came with it; readers of 2023 and later know both."""
IR_VERSION = 8

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of what a node computes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray) -> str:
        """Store an array in the file."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Add a node with one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def split(self, value: str, sizes: list[int], outputs: list[str]) -> list[str]:
        """Cut (B, sum of sizes) into pieces."""
        lengths = self.constant(f"sizes of {value}", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [value, lengths], outputs, f"split {value}", axis=1))
        return outputs


def policy_model(
    policy: SequencePolicy, normalization: ObservationNormalization | None, metadata: PolicyMetadata
) -> onnx.ModelProto:
    """Build the graph of a policy's actor, observation normalization inside, action bounds applied.

    :param normalization: of the observations; None where the policy sees them as they are
    :param metadata: written into the model
    """
    graph = GraphBuilder()
    inputs = "observation"
    if normalization is not None:
        inputs = _normalized(graph, inputs, normalization)
    carried = _carried(graph)
    discrete = isinstance(policy.action_space, spaces.Discrete)
    parameters = "logits" if discrete else "mean"
    if isinstance(policy, LstmPolicy):
        _lstm(graph, policy, inputs, carried, parameters)
    else:
        _sparse_network(graph, cast(VariedSparsityPolicy, policy).actor, inputs, carried, parameters)
    actor = metadata.specification.actor
    n_x, n_y, n = actor.n_inputs, actor.n_outputs, state_size(metadata.specification)
    if discrete:
        action = helper.make_tensor_value_info("action", INT64, ["batch"])
        graph.add("ArgMax", [parameters], "action", axis=1, keepdims=0)
    else:
        action = helper.make_tensor_value_info("action", FLOAT, ["batch", n_y])
        _clipped(graph, parameters, cast(spaces.Box, policy.action_space))
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
    column = graph.add("Unsqueeze", [starts, graph.constant("second axis", np.array([1], np.int64))], "start of row")
    return graph.add("Where", [column, graph.constant("zero", np.float32(0)), "state"], "carried")


def _clipped(graph: GraphBuilder, outputs: str, space: spaces.Box) -> None:
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    if (low == low[0]).all() and (high == high[0]).all():
        bounds = [graph.constant("lowest action", low[0]), graph.constant("highest action", high[0])]
        graph.add("Clip", [outputs, *bounds], "action")
    else:
        bounded = graph.add("Max", [outputs, graph.constant("lowest actions", low)], "bounded below")
        graph.add("Min", [bounded, graph.constant("highest actions", high)], "action")


def _sparse_network(graph: GraphBuilder, layer: SparseRecurrentLayer, inputs: str, carried: str, outputs: str) -> None:
    """Add one step of [U R] [x; z] + b, split into h and y, and the activation of h."""
    weights = np.concatenate([_dense(matrix, layer) for matrix in layer.matrices()], axis=1)
    everything = graph.add("Concat", [inputs, carried], "inputs and state", axis=1)
    matrix, bias = graph.constant("weights", weights.T), graph.constant("bias", layer.bias.detach().cpu().numpy())
    sums = graph.add("Gemm", [everything, matrix, bias], "sums")
    hidden, _ = graph.split(sums, [layer.n_hidden, layer.specification.n_outputs], ["hidden sums", outputs])
    hidden = graph.add({"relu": "Relu", "tanh": "Tanh"}[layer.activation], [hidden], "hidden")
    graph.add("Concat", [hidden, outputs], "next_state", axis=1)


def _dense(matrix: BlockMatrix, layer: SparseRecurrentLayer) -> NDArray[np.float32]:
    filled = np.zeros(matrix.shape, np.float32)
    filled[matrix.rows, matrix.columns] = np.concatenate(
        [layer.weights[block].detach().cpu().numpy() for block in matrix.blocks]
    )
    return filled


def _lstm(graph: GraphBuilder, policy: LstmPolicy, inputs: str, carried: str, outputs: str) -> None:
    """Add one step of PyTorch's LSTM and the linear head."""
    size = policy.actor.hidden_size
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in policy.actor.named_parameters()}
    weights = np.concatenate([tensors["weight_ih_l0"], tensors["weight_hh_l0"]], axis=1)
    bias = tensors["bias_ih_l0"] + tensors["bias_hh_l0"]
    # PyTorch has the gates in the order input, forget, cell, output; here the three sigmoids lie side by side.
    order = np.arange(4 * size).reshape(4, size)[[0, 1, 3, 2]].ravel()
    h, c = graph.split(carried, [size, size], ["h", "c"])
    everything = graph.add("Concat", [inputs, h], "inputs and h", axis=1)
    matrix, bias = graph.constant("weights", weights[order].T), graph.constant("bias", bias[order])
    sums = graph.add("Gemm", [everything, matrix, bias], "gate sums")
    gates, cell = graph.split(sums, [3 * size, size], ["sigmoid sums", "cell sums"])
    gates = graph.add("Sigmoid", [gates], "gates")
    cell = graph.add("Tanh", [cell], "cell")
    i, f, o = graph.split(gates, [size] * 3, ["input gate", "forget gate", "output gate"])
    kept, added = graph.add("Mul", [f, c], "kept"), graph.add("Mul", [i, cell], "added")
    c = graph.add("Add", [kept, added], "next c")
    h = graph.add("Mul", [o, graph.add("Tanh", [c], "bounded c")], "next h")
    graph.add("Concat", [h, c], "next_state", axis=1)
    head = policy.action_net
    matrix = graph.constant("head weights", head.weight.detach().cpu().numpy().T)
    bias = graph.constant("head bias", head.bias.detach().cpu().numpy())
    graph.add("Gemm", [h, matrix, bias], outputs)
