"""A policy as a TorchScript module, for C++ programs on libtorch. PyTorch has deprecated the format: prefer ONNX.

The module's `forward(observation, state, episode_start)` returns (action, mean or logits, next_state), laid out as in
the ONNX file, see `agents.export.policy_graph`. The metadata lie beside it as extra files, one for each entry.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from agents.export.policy_graph import SOURCES, TARGETS, weights_of
from agents.export.sparse_product import full_blocks
from agents.runs.normalization import ObservationNormalization
from policies.lstm_policy import LstmPolicy
from policies.recurrent.layer import SparseRecurrentLayer
from policies.sequence_policy import SequencePolicy
from policies.varied_sparsity_policy import VariedSparsityPolicy


class PolicyStep(nn.Module):
    """One step of a policy's actor, from raw observations to deterministic actions."""

    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, policy: SequencePolicy, normalization: ObservationNormalization | None) -> None:
        super().__init__()
        n_inputs = math.prod(cast(spaces.Box, policy.observation_space).shape)
        if normalization is None:
            normalization = ObservationNormalization(np.zeros(n_inputs), np.ones(n_inputs), math.inf, 0.0)
        self.clip = normalization.clip
        self.register_buffer("mean", torch.from_numpy(normalization.mean))
        self.register_buffer("deviation", torch.from_numpy(np.sqrt(normalization.variance + normalization.epsilon)))
        self.discrete = isinstance(policy.action_space, spaces.Discrete)
        for name in ("low", "high"):
            bound = np.zeros(0) if self.discrete else getattr(policy.action_space, name)
            self.register_buffer(name, torch.tensor(bound, dtype=torch.float32))
        if isinstance(policy, LstmPolicy):
            self.network: nn.Module = _LstmNetwork(policy)
            self.state_size = 2 * policy.actor.hidden_size
        else:
            layer = cast(VariedSparsityPolicy, policy).actor
            self.network = _SparseNetwork(layer)
            self.state_size = layer.state_size

    def forward(self, observation: Tensor, state: Tensor, episode_start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make the step."""
        scaled = (observation.double() - self.mean) / self.deviation
        inputs = torch.clamp(scaled, -self.clip, self.clip).float()
        carried = state.masked_fill((episode_start != 0).unsqueeze(1), 0.0)
        parameters, next_state = self.network(inputs, carried)
        if self.discrete:
            return parameters.argmax(1), parameters, next_state
        return torch.minimum(torch.maximum(parameters, self.low), self.high), parameters, next_state


class _SparseNetwork(nn.Module):
    bias: Tensor
    full_columns: Tensor
    full_weights: Tensor
    row_ends: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, layer: SparseRecurrentLayer) -> None:
        super().__init__()
        self.n_hidden = layer.n_hidden
        self.relu = layer.activation == "relu"
        weights = weights_of(layer, TARGETS)
        source_of = np.repeat(list(SOURCES), [layer.specification.shape("h" + source)[1] for source in SOURCES])
        counts = {source: int((source_of[weights.columns] == source).sum()) for source in SOURCES}
        full = full_blocks({s: (int((source_of == s).sum()) * weights.n_rows, counts[s]) for s in SOURCES})
        in_full = np.isin(source_of, full)
        gathered = weights.select(~in_full)
        self.register_buffer("bias", layer.bias.detach().clone())
        self.register_buffer("full_columns", torch.from_numpy(np.flatnonzero(in_full)))
        self.register_buffer("full_weights", torch.from_numpy(weights.dense(in_full).T.copy()))
        by_row = np.lexsort((gathered.columns, gathered.rows))
        ends = np.searchsorted(gathered.rows[by_row], np.arange(weights.n_rows + 1))
        self.register_buffer("row_ends", torch.from_numpy(ends.astype(np.int32)))
        self.register_buffer("columns", torch.from_numpy(gathered.columns[by_row].astype(np.int32)))
        self.register_buffer("values", torch.from_numpy(gathered.values[by_row]))

    def forward(self, inputs: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        everything = torch.cat([inputs, carried], 1)
        sums = torch.addmm(self.bias, everything.index_select(1, self.full_columns), self.full_weights)
        if self.values.size(0) > 0:
            # A weighted bag of entries for every row is a sparse product, in one compiled operation.
            columns = everything.t().contiguous()
            sums = (
                sums
                + embedding_bag(
                    self.columns,
                    columns,
                    self.row_ends,
                    mode="sum",
                    per_sample_weights=self.values,
                    include_last_offset=True,
                ).t()
            )
        hidden, outputs = sums[:, : self.n_hidden], sums[:, self.n_hidden :]
        hidden = hidden.relu() if self.relu else hidden.tanh()
        return outputs, torch.cat([hidden, outputs], 1)


class _LstmNetwork(nn.Module):
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor
    head_weights: Tensor
    head_bias: Tensor

    def __init__(self, policy: LstmPolicy) -> None:
        super().__init__()
        for name, tensor in policy.actor.named_parameters():
            self.register_buffer(name, tensor.detach().clone())
        self.register_buffer("head_weights", policy.action_net.weight.detach().clone())
        self.register_buffer("head_bias", policy.action_net.bias.detach().clone())

    def forward(self, inputs: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        h, c = carried.chunk(2, 1)
        h, c = torch.lstm_cell(inputs, [h, c], self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        return torch.addmm(self.head_bias, h, self.head_weights.t()), torch.cat([h, c], 1)


def save_torchscript(
    policy: SequencePolicy,
    normalization: ObservationNormalization | None,
    properties: Mapping[str, str],
    path: Path,
) -> None:
    """Write a policy's actor as a TorchScript module with its metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.script(PolicyStep(policy, normalization).eval())
        torch.jit.save(module, str(path), _extra_files=dict(properties))


def load_torchscript(path: Path) -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Load a file that `save_torchscript` has just written, as a function like `OnnxPolicy.step`.

    A TorchScript file is a program: load none from elsewhere.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(path))
    state_size = module.state_size

    def step(
        observation: np.ndarray, state: np.ndarray | None = None, episode_start: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        B = len(observation)
        state = np.zeros((B, state_size), np.float32) if state is None else state
        start = np.zeros(B, np.float32) if episode_start is None else episode_start.astype(np.float32)
        with torch.no_grad():
            tensors = module(*(torch.from_numpy(array) for array in (observation, state, start)))
        action, parameters, next_state = (tensor.numpy() for tensor in tensors)
        return action, parameters, next_state

    return step
