"""The sparse recurrent layer: six weight blocks, iterated over time."""

from collections.abc import Sequence
from typing import NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from policies.initialization import parse_initialization
from policies.patterns import draw_patterns
from policies.recurrent.backends import choose_backends
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.compiled_scan import CompiledScan, DenseScan, LayerScan, SparseScan
from policies.recurrent.single_step import Stepper
from policies.recurrent.torch_scan import TorchScan
from policies.specification import BLOCKS, NetworkSpecification

ACTIVATIONS = ("relu", "tanh")


class LayerStates(NamedTuple):
    """What a layer computed over whole sequences.

    :param states: z = [h; y] after each step, (T, B, n_h + n_y)
    :param outputs: y, a copy of the last n_y entries of the states, (T, B, n_y); gradients that come through it alone
        need not be spread over all units
    """

    states: Tensor
    outputs: Tensor


class SparseRecurrentLayer(nn.Module):
    """A recurrent network as one block map (Hershey & Paffenroth, arXiv 2509.15057), stepped over time.

    The state is z = [h; y]. Every step updates both parts at once from the previous state:
    h' = act(W_hx x + W_hh h + W_hy y + b_h) and y' = W_yx x + W_yh h + W_yy y + b_y.

    :param specification: sizes and weight counts of the six blocks
    :param activation: "relu" or "tanh", of the hidden units
    :param initialization: "scaled", "scaled:GAIN" or "normal:STD"
    :param seed: seed of patterns and initial weights
    :param backend: "dense", "csr", or "auto", which picks by rule for input and recurrent weights separately
    :raises ValueError: for an unknown activation, initialization or backend
    """

    def __init__(
        self,
        specification: NetworkSpecification,
        *,
        activation: str = "relu",
        initialization: str = "scaled",
        seed: int = 0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is unknown: relu or tanh is needed")
        if backend not in ("auto", "dense", "csr"):
            raise ValueError(f"backend {backend!r} is unknown: auto, dense or csr is needed")
        self.specification = specification
        self.activation = activation
        self.backend = backend
        self.n_hidden = specification.n_hidden
        self.state_size = specification.n_hidden + specification.n_outputs
        rng = np.random.default_rng(seed)
        dtype = torch.get_default_dtype()
        patterns = draw_patterns(specification, rng)
        values = parse_initialization(initialization).draw(specification, patterns, rng)
        self.weights = nn.ParameterDict({b: nn.Parameter(torch.from_numpy(values[b]).to(dtype)) for b in BLOCKS})
        self.bias = nn.Parameter(torch.zeros(self.state_size, dtype=dtype))
        for block in BLOCKS:
            self.register_buffer(f"positions_{block}", torch.from_numpy(patterns[block]))
        self._matrices: tuple[BlockMatrix, BlockMatrix] | None = None
        self._stepper = Stepper()
        self.register_load_state_dict_post_hook(_forget_patterns)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode. In evaluation mode `step` keeps the matrices it has laid out, in training mode not."""
        if mode != self.training:
            self._stepper = Stepper()
        return super().train(mode)

    def positions(self, block: str) -> Tensor:
        """Return the flat row-major positions of a block's weights, int64, in the order of `weights[block]`."""
        return self.get_buffer(f"positions_{block}")

    def matrices(self) -> tuple[BlockMatrix, BlockMatrix]:
        """Return the patterns of the input matrix U (n x n_x) and the recurrent matrix R (n x n)."""
        if self._matrices is None:
            shapes = {block: self.specification.shape(block) for block in BLOCKS}
            patterns = {block: self.positions(block).cpu().numpy() for block in BLOCKS}
            self._matrices = (
                BlockMatrix([["hx"], ["yx"]], shapes, patterns),
                BlockMatrix([["hh", "hy"], ["yh", "yy"]], shapes, patterns),
            )
        return self._matrices

    def outputs(self, states: Tensor) -> Tensor:
        """Return the outputs y, the last n_y entries of states (..., n_h + n_y)."""
        return states[..., self.n_hidden :]

    def tensors(self) -> list[Tensor]:
        """Return the bias, the weights of U's blocks and the weights of R's blocks, as the scans take them."""
        weights = cast(
            dict[str, Tensor], self.weights._parameters
        )  # ParameterDict's own look-up would slow every step.
        return [self.bias, *(weights[block] for matrix in self.matrices() for block in matrix.blocks)]

    def backends(self, n_steps: int, batch_size: int) -> tuple[str, str]:
        """Return the backends of U, which multiplies all steps at once, and of R."""
        if self.backend != "auto":
            return self.backend, self.backend
        U, R = self.matrices()
        return choose_backends(U.density, R.density, n_steps, batch_size, self.activation == "relu")

    def compiled_scan(self, n_steps: int, batch_size: int) -> LayerScan:
        """Return a scan for one call of `CompiledScan`."""
        input_backend, recurrent_backend = self.backends(n_steps, batch_size)
        relu = self.activation == "relu"
        if recurrent_backend == "csr":
            return SparseScan(*self.matrices(), self.n_hidden, relu)
        return DenseScan(*self.matrices(), self.n_hidden, relu, dense_inputs=input_backend == "dense")

    def scan_in_torch(self, inputs: Tensor, state: Tensor, starts: Tensor | None) -> LayerStates:
        """Run over whole sequences in torch operations, on any device; arguments as in `forward`."""
        U, R = self.matrices()
        bias, *weights = self.tensors()
        states = TorchScan.apply(
            inputs,
            state,
            bias,
            torch.cat(weights[: len(U.blocks)]),
            torch.cat(weights[len(U.blocks) :]),
            starts,
            (U, R),
            self.backends(*inputs.shape[:2]),
            self.activation,
            self.n_hidden,
        )
        return LayerStates(states, self.outputs(states).clone())

    def forward(self, inputs: Tensor, state: Tensor, episode_starts: Tensor | None = None) -> LayerStates:
        """Run over whole sequences.

        :param inputs: (T, B, n_x), of the weights' dtype
        :param state: (B, n_h + n_y), before the first step
        :param episode_starts: (T, B), nonzero where the state is zeroed before the step
        :return: states (T, B, n_h + n_y) and outputs (T, B, n_y) after each step
        :raises ValueError: for other shapes or dtypes
        """
        return forward_together([self], inputs, [state], episode_starts)[0]

    def step(self, inputs: Tensor, state: Tensor, episode_starts: Tensor | None = None) -> Tensor:
        """Make a single step without gradients; faster in evaluation mode (`eval()`), see `train`.

        :param inputs: (B, n_x), of the weights' dtype
        :param state: (B, n_h + n_y)
        :param episode_starts: (B,), nonzero where the state is zeroed before the step
        :return: the new state (B, n_h + n_y)
        :raises ValueError: for other shapes or dtypes
        """
        _check(self, inputs, state, episode_starts, ("B",))
        if inputs.device.type != "cpu":
            with torch.no_grad():
                starts = None if episode_starts is None else episode_starts.bool()[None]
                return self.scan_in_torch(inputs[None], state, starts).states[0]
        return self._stepper.step(self, inputs, state, episode_starts)


def forward_together(
    layers: Sequence[SparseRecurrentLayer],
    inputs: Tensor,
    states: Sequence[Tensor],
    episode_starts: Tensor | None = None,
    *,
    n_threads: int | None = None,
) -> list[LayerStates]:
    """Run several layers over the same sequences, on the CPU at the same time.

    :param layers: layers of equal input size
    :param inputs: (T, B, n_x), of the weights' dtype
    :param states: one state (B, n_h + n_y) per layer, before the first step
    :param episode_starts: (T, B), nonzero where the state is zeroed before the step
    :param n_threads: threads to use on the CPU, all available cores by default; results do not depend on it
    :return: per layer its states (T, B, n_h + n_y) and outputs (T, B, n_y) after each step
    :raises ValueError: for other shapes or dtypes
    """
    for layer, state in zip(layers, states, strict=True):
        _check(layer, inputs, state, episode_starts, ("T", "B"))
    starts = None if episode_starts is None else episode_starts.bool()
    if inputs.device.type != "cpu":
        return [layer.scan_in_torch(inputs, state, starts) for layer, state in zip(layers, states, strict=True)]
    if starts is None:
        starts = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    tensors = [tensor for layer, state in zip(layers, states, strict=True) for tensor in (state, *layer.tensors())]
    scans = [layer.compiled_scan(*inputs.shape[:2]) for layer in layers]
    results = CompiledScan.apply(scans, inputs, starts, n_threads, *tensors)
    return [LayerStates(*pair) for pair in zip(results[::2], results[1::2], strict=True)]


def _check(
    layer: SparseRecurrentLayer, inputs: Tensor, state: Tensor, starts: Tensor | None, leading: tuple[str, ...]
) -> None:
    n_x, n, dtype = layer.specification.n_inputs, layer.state_size, layer.bias.dtype
    shape = inputs.shape
    if len(shape) != len(leading) + 1 or shape[-1] != n_x or 0 in shape:
        raise ValueError(
            f"inputs have shape {tuple(shape)}: ({', '.join(leading)}, {n_x}) with nothing empty is needed"
        )
    if state.shape != (shape[-2], n):
        raise ValueError(f"state has shape {tuple(state.shape)}: {(shape[-2], n)} is needed")
    if starts is not None and starts.shape != shape[:-1]:
        raise ValueError(f"episode starts have shape {tuple(starts.shape)}: {tuple(shape[:-1])} is needed")
    if inputs.dtype != dtype or state.dtype != dtype:
        raise ValueError(f"inputs are {inputs.dtype} and the state {state.dtype}: {dtype} is needed")


def _forget_patterns(layer: nn.Module, _: object) -> None:
    assert isinstance(layer, SparseRecurrentLayer)
    layer._matrices = None
    layer._stepper = Stepper()
