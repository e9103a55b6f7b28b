"""A policy as an ONNX graph, built node by node with onnx's own helpers.

    observation (B, n_x), state (B, n), episode_start (B,)  →  action, mean or logits (B, n_y), next_state (B, n)

The state is what the network carries from step to step: [h; y] of the sparse networks, [h; c] of an LSTM. The deviation
of exploration noise is no part of it: the action is the deterministic one.
"""

import math
from typing import cast

import numpy as np
import onnx
from gymnasium import spaces
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor

from agents.export.graph import GraphBuilder
from agents.export.onnx_policy import IR_VERSION, OPSET, PolicyMetadata
from agents.export.sparse_product import SparseRows, add_product, full_blocks
from agents.runs.normalization import ObservationNormalization
from policies.lstm_policy import LstmPolicy
from policies.network.specification import BLOCKS
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.layer import SparseRecurrentLayer
from policies.sequence_policy import SequencePolicy
from policies.varied_sparsity_policy import VariedSparsityPolicy

SOURCES, TARGETS = "xhy", "hy"
START_COLUMN = "start of row"
"""Name of the episode starts as a column (B, 1)."""

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


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
        _sparse_network(graph, cast(VariedSparsityPolicy, policy).actor, inputs, carried, parameters, gather)
    actor = metadata.specification.actor
    n_x, n_y, n = actor.n_inputs, actor.n_outputs, actor.state_size
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
    column = graph.add("Unsqueeze", [starts, graph.constant("second axis", np.array([1], np.int64))], START_COLUMN)
    return graph.add("Where", [column, graph.constant("zero", np.float32(0)), "state"], "carried")


def _clipped(graph: GraphBuilder, outputs: str, space: spaces.Box) -> None:
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    if (low == low[0]).all() and (high == high[0]).all():
        bounds = [graph.constant("lowest action", low[0]), graph.constant("highest action", high[0])]
        graph.add("Clip", [outputs, *bounds], "action")
    else:
        bounded = graph.add("Max", [outputs, graph.constant("lowest actions", low)], "bounded below")
        graph.add("Min", [bounded, graph.constant("highest actions", high)], "action")


def _sparse_network(
    graph: GraphBuilder, layer: SparseRecurrentLayer, inputs: str, carried: str, outputs: str, gather: bool
) -> None:
    """Add one step of the block map: h' = act(W_hx x + W_hh h + W_hy y + b_h), y' = W_yx x + W_yh h + W_yy y + b_y.

    Blocks that are full matrices in the file are multiplied in one Gemm, both targets together if their full blocks
    read the same sources; the weights of the other blocks are gathered.
    """
    shapes = {block: layer.specification.shape(block) for block in BLOCKS}
    full = {}
    for target in TARGETS:
        row = {source: target + source for source in SOURCES}
        blocks = {source: (math.prod(shapes[block]), len(layer.weights[block])) for source, block in row.items()}
        full[target] = "".join(full_blocks(blocks)) if gather else SOURCES
    sources = {"xhy": graph.add("Concat", [inputs, carried], "x, h, y", axis=1), "x": inputs}
    if set(full.values()) != {"xhy"}:
        sources["h"], sources["y"] = graph.split(carried, [shapes["hh"][1], shapes["hy"][1]], ["h", "y"])
    if full["h"] == full["y"]:
        sums = _sums(graph, layer, TARGETS, full["h"], sources, "sums")
        graph.split(sums, [shapes["hh"][0], shapes["yh"][0]], ["sums of h", outputs])
    else:
        _sums(graph, layer, "h", full["h"], sources, "sums of h")
        _sums(graph, layer, "y", full["y"], sources, outputs)
    hidden = graph.add({"relu": "Relu", "tanh": "Tanh"}[layer.activation], ["sums of h"], "next h")
    graph.add("Concat", [hidden, outputs], "next_state", axis=1)


def _sums(
    graph: GraphBuilder, layer: SparseRecurrentLayer, targets: str, full: str, sources: dict[str, str], name: str
) -> str:
    """Add the weighted sums of x, h and y and the bias, for the rows of some targets; returns `name`.

    :param full: the sources whose blocks are full matrices in the file
    """
    weights = weights_of(layer, targets)
    widths = [layer.specification.shape("h" + source)[1] for source in SOURCES]
    in_full = np.repeat([source in full for source in SOURCES], widths)
    first_row = 0 if "h" in targets else layer.n_hidden
    sums = graph.constant(f"{name}: bias", _array(layer.bias)[first_row : first_row + weights.n_rows])
    if full:
        if full not in sources:
            sources[full] = graph.add("Concat", [sources[source] for source in full], ", ".join(full), axis=1)
        matrix = graph.constant(f"{name}: weights", weights.dense(in_full).T)
        output = name if in_full.all() else f"{name}: full blocks"
        sums = graph.add("Gemm", [sources[full], matrix, sums], output)
    if not in_full.all():
        batch = graph.add("Shape", [START_COLUMN], f"{name}: shape of the batch")
        gathered = add_product(graph, f"{name}: other blocks", weights.select(~in_full), sources["xhy"], batch)
        sums = graph.add("Add", [sums, gathered], name)
    return sums


def weights_of(layer: SparseRecurrentLayer, targets: str) -> SparseRows:
    """Return the weights that lead to some targets, "h", "y" or "hy"; the columns are those of [x, h, y]."""
    shapes = {block: layer.specification.shape(block) for block in BLOCKS}
    patterns = {block: layer.positions(block).cpu().numpy() for block in BLOCKS}
    pattern = BlockMatrix([[target + source for source in SOURCES] for target in targets], shapes, patterns)
    values = np.concatenate([_array(layer.weights[block]) for block in pattern.blocks])
    return SparseRows(pattern.shape[0], pattern.rows, pattern.columns, values)


def _lstm(graph: GraphBuilder, policy: LstmPolicy, inputs: str, carried: str, outputs: str) -> None:
    """Add one step of PyTorch's LSTM and the linear head."""
    size = policy.actor.hidden_size
    tensors = {name: _array(tensor) for name, tensor in policy.actor.named_parameters()}
    # PyTorch has the gates in the order input, forget, cell, output; here the three sigmoids lie side by side.
    order = np.arange(4 * size).reshape(4, size)[[0, 1, 3, 2]].ravel()
    h, c = graph.split(carried, [size, size], ["h", "c"])
    everything = graph.add("Concat", [inputs, h], "inputs and h", axis=1)
    weights = np.concatenate([tensors["weight_ih_l0"], tensors["weight_hh_l0"]], axis=1)[order]
    biases = (tensors["bias_ih_l0"] + tensors["bias_hh_l0"])[order]
    constants = [graph.constant("weights", weights.T), graph.constant("biases", biases)]
    sums = graph.add("Gemm", [everything, *constants], "gate sums")
    gates, cell = graph.split(sums, [3 * size, size], ["sigmoid sums", "cell sums"])
    gates = graph.add("Sigmoid", [gates], "gates")
    cell = graph.add("Tanh", [cell], "cell")
    i, f, o = graph.split(gates, [size] * 3, ["input gate", "forget gate", "output gate"])
    kept, added = graph.add("Mul", [f, c], "kept"), graph.add("Mul", [i, cell], "added")
    c = graph.add("Add", [kept, added], "next c")
    h = graph.add("Mul", [o, graph.add("Tanh", [c], "bounded c")], "next h")
    graph.add("Concat", [h, c], "next_state", axis=1)
    head = policy.action_net
    constants = [graph.constant("head weights", _array(head.weight).T), graph.constant("head bias", _array(head.bias))]
    graph.add("Gemm", [h, *constants], outputs)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy()
