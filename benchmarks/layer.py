"""Forward and backward over 200 steps, the layer against torch's own: python -m benchmarks.layer.

46 inputs and 26 outputs, as AdroitHandHammer-v1 has them; gradients of the parameters alone. At density 1: against
nn.RNN of as many units and nn.LSTM of equal weights. Sparse: against a masked dense map and our dense network of equal
weights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from agents.training import torch_threads
from benchmarks.harness import Finding, alternate, markdown_table, median_ratio, run_benchmark, seconds, tabulate
from policies.network.architectures import specify_architecture
from policies.network.specification import BLOCKS, NetworkSpecification, specify
from policies.recurrent.layer import SparseRecurrentLayer

N_INPUTS, N_OUTPUTS, N_STEPS = 46, 26, 200
BATCH_SIZES = (4, 16, 64)
BUDGETS = (10_000, 50_000, 400_000)
SPARSE_BUDGET = 400_000
SPARSE_DENSITIES = {"hx": 1.0, "hh": 0.01, "hy": 0.01, "yx": 1.0, "yh": 0.01, "yy": 0.01}
TIMES_MASKED = {4: 60, 16: 25, 64: 15}
"""Batch size -> how many times faster than the masked dense map the sparse layer is to be."""
TIMES_DENSE = {4: 3, 16: 4, 64: 4}
"""Batch size -> how many times the cost of the dense network of equal weights the sparse one may have at most."""
SECONDS = 0.2
"""Short passes are repeated for about so long within one measurement."""

with torch_threads("cpu"):
    OUR_THREADS = torch.get_num_threads()

Figures = dict[str, list[float]]


class Network(NamedTuple):
    """A contender: its parameters, its map from inputs (T, B, n_x) to outputs (T, B, n_y), and torch's threads."""

    parameters: Sequence[nn.Parameter]
    outputs: Callable[[Tensor], Tensor]
    threads: int


def ours(layer: SparseRecurrentLayer) -> Network:
    """Return our layer, with torch's threads as train.py sets them."""

    def outputs(inputs: Tensor) -> Tensor:
        return layer(inputs, torch.zeros(inputs.shape[1], layer.state_size), outputs_only=True).outputs

    return Network(list(layer.parameters()), outputs, OUR_THREADS)


def torch_rnn(specification: NetworkSpecification, threads: int) -> Network:
    """Return nn.RNN with ReLU and as many units as our state has; the last of them are the outputs."""
    rnn = nn.RNN(N_INPUTS, specification.n_hidden + N_OUTPUTS, nonlinearity="relu")
    return Network(list(rnn.parameters()), lambda inputs: rnn(inputs)[0][..., specification.n_hidden :], threads)


def torch_lstm(budget: int, threads: int, *, per_step: bool) -> Network:
    """Return nn.LSTM and a linear head of equal weights, called whole, or once per step as sb3-contrib does."""
    size = specify_architecture("lstm", N_INPUTS, N_OUTPUTS, budget).actor.n_hidden
    lstm, head = nn.LSTM(N_INPUTS, size), nn.Linear(size, N_OUTPUTS)

    def whole(inputs: Tensor) -> Tensor:
        return head(lstm(inputs)[0])

    def stepped(inputs: Tensor) -> Tensor:
        T, B = inputs.shape[:2]
        h = c = torch.zeros(1, B, size)
        latent = []
        for x, start in zip(inputs, torch.zeros(T, B), strict=True):
            carried = (1.0 - start).view(1, B, 1)
            output, (h, c) = lstm(x[None], (carried * h, carried * c))
            latent.append(output)
        return head(torch.cat(latent))

    return Network([*lstm.parameters(), *head.parameters()], stepped if per_step else whole, threads)


def masked_dense_map(specification: NetworkSpecification, threads: int) -> Network:
    """Return the same network as `ours`, as full matrices times fixed masks and a loop over time in Python."""
    layer = SparseRecurrentLayer(specification)
    bias, *blocks = layer.tensors()
    matrices, masks = [], []
    for pattern in layer.matrices():
        weights = torch.cat([blocks.pop(0).detach() for _ in pattern.blocks])
        positions, zeros = torch.from_numpy(pattern.positions), torch.zeros(math.prod(pattern.shape))
        matrices.append(nn.Parameter(zeros.index_copy(0, positions, weights).view(pattern.shape)))
        masks.append(zeros.index_fill(0, positions, 1.0).view(pattern.shape))
    n_hidden = specification.n_hidden
    parameters = [*matrices, nn.Parameter(bias.detach().clone())]

    def outputs(inputs: Tensor) -> Tensor:
        U, R = (matrix * mask for matrix, mask in zip(matrices, masks, strict=True))
        state = torch.zeros(inputs.shape[1], layer.state_size)
        collected = []
        for x in inputs:
            sums = linear(x, U, parameters[-1]) + linear(state, R)
            state = torch.cat([sums[:, :n_hidden].relu(), sums[:, n_hidden:]], dim=1)
            collected.append(state[:, n_hidden:])
        return torch.stack(collected)

    return Network(parameters, outputs, threads)


def one_pass(network: Network, batch_size: int) -> Callable[[], None]:
    """Return a function that runs 200 steps forward and backward: random inputs, the loss a random projection."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N_STEPS, batch_size, N_INPUTS, generator=generator)
    projection = torch.randn(N_STEPS, batch_size, N_OUTPUTS, generator=generator)

    def run() -> None:
        for parameter in network.parameters:
            parameter.grad = None
        (network.outputs(inputs) * projection).sum().backward()

    return run


def milliseconds(network: Network, batch_size: int) -> Callable[[], float]:
    """Return a measurement of `one_pass` in ms; the passes made here warm up and are not counted."""
    run = one_pass(network, batch_size)
    # The first pass of all may load libraries and kernels; one that took much longer than a measurement says enough.
    first = seconds(run, threads=network.threads)
    repeats = 1 if first > 10 * SECONDS else max(1, round(SECONDS / seconds(run, threads=network.threads)))
    return lambda: 1000 * seconds(run, repeats=repeats, threads=network.threads)


def compare(networks: Mapping[str, Network], batch_size: int, rounds: int) -> Figures:
    """Measure networks in turn at one batch size; returns name -> ms, one per round."""
    return alternate({name: milliseconds(network, batch_size) for name, network in networks.items()}, rounds)


def compare_dense(rounds: int) -> tuple[dict[str, Figures], str]:
    """Compare at density 1; returns the figures and the table."""
    threads = torch.get_num_threads()
    figures, rows = {}, []
    for budget in BUDGETS:
        specification = specify(N_INPUTS, N_OUTPUTS, budget, densities=dict.fromkeys(BLOCKS, 1.0))
        networks = {
            "ours": ours(SparseRecurrentLayer(specification)),
            "nn.RNN": torch_rnn(specification, threads),
            "nn.LSTM whole": torch_lstm(budget, threads, per_step=False),
            "nn.LSTM per step": torch_lstm(budget, threads, per_step=True),
        }
        for batch_size in BATCH_SIZES:
            print(f"density 1, budget {budget:,}, n_h {specification.n_hidden}, batch {batch_size}, ms", flush=True)
            found = figures[f"budget {budget}, batch {batch_size}"] = compare(networks, batch_size, rounds)
            medians = (f"{median(values):.2f}" for values in found.values())
            ratio = median_ratio(found["ours"], found["nn.RNN"])
            rows.append((f"{budget:,} (n_h {specification.n_hidden})", batch_size, *medians, f"{ratio:.2f}", "≤ 1"))
    return figures, markdown_table(("budget", "batch", *networks, "ours / nn.RNN", "target"), rows)


def compare_sparse(rounds: int, masked_rounds: int) -> tuple[dict[str, Figures], str]:
    """Compare the sparse network with its dense relatives; returns the figures and the table."""
    sparse = specify(N_INPUTS, N_OUTPUTS, SPARSE_BUDGET, densities=SPARSE_DENSITIES)
    dense = specify(N_INPUTS, N_OUTPUTS, SPARSE_BUDGET, densities=dict.fromkeys(BLOCKS, 1.0))
    sparse_network, dense_network = ours(SparseRecurrentLayer(sparse)), ours(SparseRecurrentLayer(dense))
    masked = masked_dense_map(sparse, torch.get_num_threads())
    fast, slow = {}, {}
    for batch_size in BATCH_SIZES:
        print(f"n_h {sparse.n_hidden} sparse, batch {batch_size}, ms", flush=True)
        fast[batch_size] = compare({"ours": sparse_network, "ours, dense": dense_network}, batch_size, rounds)
        slow[batch_size] = compare({"ours": sparse_network, "masked": masked}, batch_size, masked_rounds)
    table = tabulate(
        BATCH_SIZES,
        ("batch", lambda size: size),
        (f"ours, n_h {sparse.n_hidden}", lambda size: f"{median(fast[size]['ours']):,.1f}"),
        (f"ours, dense, n_h {dense.n_hidden}", lambda size: f"{median(fast[size]['ours, dense']):,.1f}"),
        ("sparse / dense", lambda size: f"{median_ratio(fast[size]['ours'], fast[size]['ours, dense']):.2f}"),
        ("target", lambda size: f"≤ {TIMES_DENSE[size]}"),
        ("masked dense map", lambda size: f"{median(slow[size]['masked']):,.0f}"),
        ("masked / ours", lambda size: f"{median_ratio(slow[size]['masked'], slow[size]['ours']):.0f}"),
        ("target", lambda size: f"≥ {TIMES_MASKED[size]}"),
    )
    figures = {f"against dense, batch {size}": found for size, found in fast.items()}
    return figures | {f"against masked, batch {size}": found for size, found in slow.items()}, table


def measure(rounds: int, masked_rounds: int) -> Finding:
    """Compare with torch's own networks at density 1, and the sparse network with its dense relatives."""
    torch.manual_seed(0)
    dense_figures, dense_table = compare_dense(rounds)
    sparse_figures, sparse_table = compare_sparse(rounds, masked_rounds)
    return Finding(
        {"milliseconds": {"density 1": dense_figures, "sparse": sparse_figures}},
        [
            f"Milliseconds for forward and backward over {N_STEPS} steps, {N_INPUTS} inputs, {N_OUTPUTS} outputs, in "
            "training mode, gradients of the parameters alone. Density 1:",
            dense_table,
            f"hx and yx dense, the other blocks at 0.01, about {SPARSE_BUDGET:,} weights in both networks; the masked "
            "dense map is the same sparse network as full matrices, stepped in Python:",
            sparse_table,
            f"Medians over {rounds} rounds, of the masked dense map over {masked_rounds}; ratios are medians "
            "over rounds. nn.RNN has as many units as ours has hidden units and outputs; nn.LSTM has a linear head "
            f"and as many weights. Torch's contenders run with {torch.get_num_threads()} torch threads, its default; "
            f"ours with {OUR_THREADS}, as in train.py, beside its own workers, one for each core.",
        ],
    )


if __name__ == "__main__":
    masked = {"masked_rounds": "rounds of the masked dense map, which takes seconds"}
    run_benchmark("layer", "Layer", __doc__, measure, more_rounds=masked)
