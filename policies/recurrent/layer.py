"""The sparse recurrent layer: six weight blocks, iterated over time."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from policies.network.grouped_patterns import draw_grouped_patterns
from policies.network.initialization import parse_initialization
from policies.network.patterns import draw_patterns
from policies.network.specification import BLOCKS, NetworkSpecification
from policies.recurrent import group_kernels, grouped, kernels
from policies.recurrent.arrangement import Recurrence
from policies.recurrent.block_matrix import BlockMatrix
from policies.recurrent.compiled_scan import CompiledScan
from policies.recurrent.sparse import lane_groups
from policies.recurrent.torch_scan import TorchScan
from policies.refusal import Refusal

ACTIVATIONS = ("relu", "tanh")
PATTERNS = {"unstructured": draw_patterns, "blocks": draw_grouped_patterns}
"""Name -> function that draws which weights there are."""
COMPRESSED = {"unstructured": "csr", "blocks": "groups"}
"""Name of a pattern -> backend that suits it where few positions have a weight."""
_INPUT_BLOCKS, _RECURRENT_BLOCKS = (("hx",), ("yx",)), (("hh", "hy"), ("yh", "yy"))
_ORDER = tuple(block for layout in (_INPUT_BLOCKS, _RECURRENT_BLOCKS) for row in layout for block in row)


class LayerStates(NamedTuple):
    """What a layer computed over whole sequences.

    :param states: z = [h; y] after each step, (T, B, n_h + n_y); empty if outputs alone were asked for
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
    :param backend: "dense", "csr", "groups", or "auto", which picks by rule for input and recurrent weights separately
    :param pattern: "unstructured", or "blocks": groups of rows that share their columns, see `draw_grouped_patterns`
    :raises ValueError: for an unknown activation, initialization, backend or pattern
    """

    def __init__(
        self,
        specification: NetworkSpecification,
        *,
        activation: str = "relu",
        initialization: str = "scaled",
        seed: int = 0,
        backend: str = "auto",
        pattern: str = "unstructured",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is unknown: relu or tanh is needed")
        if backend not in ("auto", "dense", "csr", "groups"):
            raise ValueError(f"backend {backend!r} is unknown: auto, dense, csr or groups is needed")
        if pattern not in PATTERNS:
            raise ValueError(f"pattern {pattern!r} is unknown: {' or '.join(PATTERNS)} is needed")
        self.specification = specification
        self.activation = activation
        self.backend = backend
        self.pattern = pattern
        self.n_hidden = specification.n_hidden
        self.state_size = specification.n_hidden + specification.n_outputs
        rng = np.random.default_rng(seed)
        dtype = torch.get_default_dtype()
        patterns = PATTERNS[pattern](specification, rng)
        values = parse_initialization(initialization).draw(specification, patterns, rng)
        self.weights = nn.ParameterDict({b: nn.Parameter(torch.from_numpy(values[b]).to(dtype)) for b in BLOCKS})
        self.bias = nn.Parameter(torch.zeros(self.state_size, dtype=dtype))
        for block in BLOCKS:
            self.register_buffer(f"positions_{block}", torch.from_numpy(patterns[block]))
        self._matrices: tuple[BlockMatrix, BlockMatrix] | None = None
        self._stepper = _Stepper()
        self.register_load_state_dict_post_hook(_forget_patterns)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode. In evaluation mode `step` keeps the matrices it has laid out, in training mode not."""
        if mode != self.training:
            self._stepper = _Stepper()
        return super().train(mode)

    def positions(self, block: str) -> Tensor:
        """Return the flat row-major positions of a block's weights, int64, in the order of `weights[block]`."""
        return self.get_buffer(f"positions_{block}")

    def place(self, weights: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Give blocks other positions and values of their weights, and perhaps another number of them.

        The parameters stay the objects that they are, as an optimizer knows them, but their gradients are dropped.

        :param weights: block -> flat row-major positions, sorted, int64, and values of as many weights
        :raises ValueError: if a block cannot have so many
        """
        counts = {block: len(positions) for block, (positions, _) in weights.items()}
        specification = dataclasses.replace(self.specification, weights={**self.specification.weights, **counts})
        for block, (positions, values) in weights.items():
            parameter = self.weights[block]
            if values.shape != positions.shape:
                raise ValueError(f"block {block}: {len(values)} values for {len(positions)} positions")
            values = values.detach().to(parameter)
            parameter.grad = None
            # While a graph is alive autograd expects gradients of the old length, unless the type was another between.
            parameter.data = torch.empty(0, dtype=torch.float16, device=parameter.device)
            parameter.data = values
            # A new tensor: a state dict that was taken before goes on to hold the old one.
            self.register_buffer(f"positions_{block}", positions.to(parameter.device))
        self.specification = specification
        _forget_patterns(self, None)

    def take_counts(self, counts: Mapping[str, int]) -> None:
        """Have as many weights in each block as a state that is about to be loaded, if they are as many in all.

        What does not fit is left, for the loader to refuse.
        """
        own = self.specification.weights
        differing = {block: count for block, count in counts.items() if block in own and count != own[block]}
        if differing and sum({**own, **differing}.values()) == sum(own.values()):
            with suppress(Refusal):
                self.place({block: (torch.arange(n), torch.zeros(n)) for block, n in differing.items()})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        names = {block: f"{prefix}positions_{block}" for block in BLOCKS}
        self.take_counts({block: state_dict[name].numel() for block, name in names.items() if name in state_dict})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def matrices(self) -> tuple[BlockMatrix, BlockMatrix]:
        """Return the patterns of the input matrix U (n x n_x) and the recurrent matrix R (n x n)."""
        if self._matrices is None:
            self._matrices = self.matrix(_INPUT_BLOCKS), self.matrix(_RECURRENT_BLOCKS)
        return self._matrices

    def matrix(self, layout: Sequence[Sequence[str]]) -> BlockMatrix:
        """Return the pattern of a matrix of some blocks; see `BlockMatrix`."""
        shapes = {block: self.specification.shape(block) for block in BLOCKS}
        patterns = {block: self.positions(block).cpu().numpy() for block in BLOCKS}
        return BlockMatrix(layout, shapes, patterns)

    def outputs(self, states: Tensor) -> Tensor:
        """Return the outputs y, the last n_y entries of states (..., n_h + n_y)."""
        return states[..., self.n_hidden :]

    def tensors(self) -> list[Tensor]:
        """Return the bias, the weights of U's blocks and the weights of R's blocks, as the scans take them."""
        # The look-ups of Module and ParameterDict would slow every step.
        weights = cast(dict[str, Tensor], cast(nn.Module, self._modules["weights"])._parameters)
        return [cast(Tensor, self._parameters["bias"]), *map(weights.__getitem__, _ORDER)]

    def recurrence(self, n_steps: int, batch_size: int) -> Recurrence:
        """Return what a scan is to compute."""
        (U, R), relu, backends = self.matrices(), self.activation == "relu", (self.backend, self.backend)
        if self.backend == "auto":
            compressed = COMPRESSED[self.pattern]
            backends = choose_backends(U.density, R.density, n_steps, batch_size, relu, compressed)
        return Recurrence(U, R, self.n_hidden, relu, backends)

    def scan_in_torch(self, inputs: Tensor, state: Tensor, starts: Tensor | None) -> LayerStates:
        """Run over whole sequences in torch operations, on any device; arguments as in `forward`."""
        recurrence = self.recurrence(*inputs.shape[:2])
        bias, *weights = self.tensors()
        states = TorchScan.apply(recurrence, starts, inputs, state, bias, *recurrence.concatenate(weights))
        return LayerStates(states, self.outputs(states).clone())

    def forward(
        self, inputs: Tensor, state: Tensor, episode_starts: Tensor | None = None, *, outputs_only: bool = False
    ) -> LayerStates:
        """Run over whole sequences; see `forward_together`."""
        return forward_together([self], inputs, [state], episode_starts, outputs_only=outputs_only)[0]

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
        begun = None if episode_starts is None else episode_starts.numpy()
        return torch.from_numpy(self._stepper.step(self, inputs.detach().numpy(), state.detach().numpy(), begun))

    def step_arrays(self, inputs: np.ndarray, state: np.ndarray, episode_starts: np.ndarray | None) -> np.ndarray:
        """Make a single step from and to arrays, for a layer on the CPU, in less time than one of tensors takes.

        Arguments and result are those of `step`.

        :raises ValueError: for other shapes or dtypes
        """
        _check(self, inputs, state, episode_starts, ("B",))
        return self._stepper.step(self, inputs, state, episode_starts)


def forward_together(
    layers: Sequence[SparseRecurrentLayer],
    inputs: Tensor,
    states: Sequence[Tensor],
    episode_starts: Tensor | None = None,
    *,
    outputs_only: bool = False,
    n_threads: int | None = None,
) -> list[LayerStates]:
    """Run several layers over the same sequences, on the CPU at the same time.

    :param layers: layers of equal input size
    :param inputs: (T, B, n_x), of the weights' dtype
    :param states: one state (B, n_h + n_y) per layer, before the first step
    :param episode_starts: (T, B), nonzero where the state is zeroed before the step
    :param outputs_only: leave the states away, which spares memory and time
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
    recurrences = [layer.recurrence(*inputs.shape[:2]) for layer in layers]
    results = CompiledScan.apply(recurrences, inputs, starts, not outputs_only, n_threads, *tensors)
    nothing = inputs.new_empty(0)
    return [
        LayerStates(nothing if states is None else states, outputs)
        for states, outputs in zip(results[::2], results[1::2], strict=True)
    ]


def choose_backends(
    input_density: float,
    recurrent_density: float,
    n_steps: int,
    batch_size: int,
    relu: bool = True,
    compressed: str = "csr",
) -> tuple[str, str]:
    """Return the backends, "dense" or the compressed one, of the input matrix U and the recurrent matrix R.

    Cost of the compressed recurrent matrix relative to the full one, forward and backward of a whole layer (20 inputs,
    4 outputs), processor time of one thread on an AVX-512 x86-64 machine; beside it the density at which both cost the
    same:

        ReLU     batch   density 0.1   0.2   0.3   0.45  0.6   1.0    equal at     tanh: equal at
        n 260     1              1.15  1.50  1.99  2.64  3.43  5.27     0.08            0.13
        n 260     4              0.65  0.75  1.03  1.29  1.72  2.57     0.29            0.50
        n 260    16              0.34  0.46  0.75  0.74  0.92  1.34     0.66            1.0
        n 260    64              0.42  0.53  0.64  0.90  1.11  1.81     0.52            1.0
        n 600     1              0.84  1.99  2.01  2.86  3.73  5.99     0.11            0.21
        n 600     4              0.38  0.60  0.85  1.19  1.56  2.66     0.37            0.60
        n 600    16              0.23  0.36  0.55  0.71  0.89  1.60     0.67            1.0
        n 600    64              0.37  0.41  0.52  0.74  1.33  1.57     0.53            1.0

    A weight of the compressed matrix is one vector operation for up to 16 columns, hence the rise with the batch size.
    The full matrix skips silent units, half of all with ReLU and none with tanh.

    Row groups (a pattern of blocks) cost less: processor time relative to the full matrix with ReLU, on an AVX2 machine

                     density 0.2   0.45  0.8
        n 260     4          0.70  0.85  1.15
        n 260    16          0.57  0.88  1.22
        n 260    64          0.51  0.76  1.21
        n 600     4          0.55  0.91  1.39
        n 600    16          0.41  0.77  1.18
        n 600    64          0.37  0.73  1.10

    :param n_steps: steps of the sequence; U multiplies all of them at once, R one at a time
    :param compressed: "csr", or "groups" for patterns of blocks
    """
    limit = _limit(batch_size, 0.55 if relu else 0.95, relu)
    if compressed == "groups":
        limit = min(0.6 if relu else 0.95, 1.5 * limit)
    recurrent = compressed if recurrent_density < limit else "dense"
    # The loop over a compressed R takes columns, in which the kernels for compressed inputs match dense products even
    # for a full U (n 261, 46 inputs, 800 columns, both directions: 0.54 ms against 0.65 ms).
    few = recurrent == compressed or input_density < _limit(n_steps * batch_size, 0.5, relu)
    return compressed if few else "dense", recurrent


def _limit(n_columns: int, highest: float, relu: bool) -> float:
    return min(highest, (0.1 if relu else 0.17) * n_columns**0.85)


_OF_ARRAYS = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
"""Type of weights -> the same type of arrays."""


class _Stepper:
    """Makes steps with matrices that are laid out once and, in evaluation mode, kept until a parameter changes.

    In training mode they are laid out for every step: a fused optimizer changes parameters without telling their
    version counters, so nothing would show that the matrices are out of date. Nor do writes through `.data`: whoever
    makes some calls `train()` and `eval()` after them.
    """

    def __init__(self) -> None:
        self._versions: list[tuple[int, int]] = []
        self._tensors: list[Tensor] = []
        self._products: dict[int, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}

    def __reduce__(self) -> tuple[type["_Stepper"], tuple[()]]:
        return _Stepper, ()  # a copy, too, lays out matrices of its own

    def step(
        self, layer: SparseRecurrentLayer, inputs: np.ndarray, state: np.ndarray, episode_starts: np.ndarray | None
    ) -> np.ndarray:
        """Make the step; see `SparseRecurrentLayer.step`."""
        tensors = layer.tensors()
        versions = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if layer.training or versions != self._versions:
            # The old tensors were held until here, so that no new one could have taken their place in memory.
            self._versions, self._tensors, self._products = versions, [tensor.detach() for tensor in tensors], {}
        B = len(inputs)
        if B not in self._products:
            recurrence = layer.recurrence(1, B)
            (U, R), (for_U, for_R) = recurrence.concatenate(self._tensors[1:]), recurrence.backends
            self._products[B] = _product(recurrence.U, U, for_U, B), _product(recurrence.R, R, for_R, B)
        everywhere = np.zeros(B, np.bool_)
        starts = everywhere if episode_starts is None else episode_starts != 0
        (multiply_inputs, *input_matrix), (multiply_state, *recurrent_matrix) = self._products[B]
        x, z = np.ascontiguousarray(inputs), np.ascontiguousarray(state)
        out = np.empty((B, layer.state_size), x.dtype)
        out[:] = self._tensors[0].numpy()
        multiply_inputs(out, x, *input_matrix, everywhere, 0, True)
        multiply_state(out, z, *recurrent_matrix, starts, layer.n_hidden, layer.activation == "relu")
        return out


def _product(matrix: BlockMatrix, tensor: Tensor, backend: str, batch_size: int) -> tuple[Any, ...]:
    """Return a kernel and the matrix as it takes it."""
    weights, (n_rows, n_columns) = tensor.numpy(), matrix.shape
    if backend == "groups":
        groups, values = matrix.by_group, grouped.arranged(matrix, tensor)
        return group_kernels.step_groups, values.view(-1).numpy(), groups.rows, groups.starts, groups.columns
    if backend == "csr":
        form = matrix.by_row
        lanes, _ = lane_groups(batch_size, n_columns)
        return kernels.step_sparse, weights[form.order], form.starts, form.columns, (0,) * lanes
    transposed = np.zeros((n_columns, n_rows), weights.dtype)
    kernels.fill_dense(weights, *matrix.by_column, transposed, 0, n_columns)
    return kernels.step_dense, transposed


def _check(
    layer: SparseRecurrentLayer,
    inputs: Tensor | np.ndarray,
    state: Tensor | np.ndarray,
    starts: Tensor | np.ndarray | None,
    leading: tuple[str, ...],
) -> None:
    n_x, n, dtype = layer.specification.n_inputs, layer.state_size, cast(Tensor, layer._parameters["bias"]).dtype
    shape = inputs.shape
    if len(shape) != len(leading) + 1 or shape[-1] != n_x or 0 in shape:
        raise ValueError(
            f"inputs have shape {tuple(shape)}: ({', '.join(leading)}, {n_x}) with nothing empty is needed"
        )
    if state.shape != (shape[-2], n):
        raise ValueError(f"state has shape {tuple(state.shape)}: {(shape[-2], n)} is needed")
    if starts is not None and starts.shape != shape[:-1]:
        raise ValueError(f"episode starts have shape {tuple(starts.shape)}: {tuple(shape[:-1])} is needed")
    if not inputs.dtype == state.dtype == (dtype if isinstance(inputs, Tensor) else _OF_ARRAYS[dtype]):
        raise ValueError(f"inputs are {inputs.dtype} and the state {state.dtype}: {dtype} is needed")


def _forget_patterns(layer: nn.Module, _: object) -> None:
    assert isinstance(layer, SparseRecurrentLayer)
    layer._matrices = None
    layer._stepper = _Stepper()
