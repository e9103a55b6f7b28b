"""Time and memory against the hidden size at a fixed budget of 400,000 weights: python -m benchmarks.scaling.

Forward and backward over 200 steps at batch 16, 46 inputs, 26 outputs; memory of an update with Adam.
"""

from collections.abc import Iterable, Mapping
from statistics import median

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.harness import (
    FOLDER,
    MEGABYTE,
    Finding,
    alternate,
    in_new_process,
    median_ratio,
    megabytes,
    resident,
    run_benchmark,
    tabulate,
)
from benchmarks.layer import N_INPUTS, N_OUTPUTS, N_STEPS, milliseconds, one_pass, ours
from policies.fused_adam import FusedAdam
from policies.network.specification import BLOCKS, DEFAULT_HIDDEN_PROPORTION, NetworkSpecification, specify
from policies.recurrent.layer import SparseRecurrentLayer

BUDGET = 400_000
BATCH_SIZE = 16
DENSE_HIDDEN_SIZE = 584
HIDDEN_SIZES = (DENSE_HIDDEN_SIZE, 1000, 2000, 4404, 10_000, 20_000)
FIGURE = FOLDER / "figures" / "scaling.png"

Memory = Mapping[str, int | None]


def specification(n_hidden: int) -> NetworkSpecification:
    """Return the network of a hidden size: the dense one, or p = 0.5, or the least p that fits where 0.5 does not."""
    if n_hidden == DENSE_HIDDEN_SIZE:
        return specify(N_INPUTS, N_OUTPUTS, BUDGET, densities=dict.fromkeys(BLOCKS, 1.0))
    outer_size = n_hidden * (N_INPUTS + 2 * N_OUTPUTS) + N_OUTPUTS * (N_INPUTS + N_OUTPUTS)
    proportion = max(DEFAULT_HIDDEN_PROPORTION, 1 - outer_size / BUDGET)
    return specify(N_INPUTS, N_OUTPUTS, BUDGET, hidden_proportion=proportion, hidden_size=n_hidden)


def memory(n_hidden: int) -> Memory:
    """Count the bytes that training a network takes, in a process that has done nothing else.

    :return: weights, gradients, optimizer (Adam's moments), patterns (the positions of the weights, in buffers and
        compressed), states (those of all steps) and update (most that the process grew by during the first update; None
        where /proc does not tell)
    """
    torch.set_num_threads(1)
    small = specify(N_INPUTS, N_OUTPUTS, 10_000)
    for backend in ("dense", "csr"):  # So that what the libraries load at their first call does not count.
        one_pass(ours(SparseRecurrentLayer(small, backend=backend)), BATCH_SIZE)()

    layer = SparseRecurrentLayer(specification(n_hidden))
    parameters = list(layer.parameters())
    optimizer = FusedAdam(parameters)
    run = one_pass(ours(layer), BATCH_SIZE)
    before = resident("VmRSS", reset_peak=True)
    run()
    optimizer.step()
    peak = resident("VmHWM")
    moments = [optimizer.state[parameter][name] for parameter in parameters for name in ("exp_avg", "exp_avg_sq")]
    return {
        "weights": tensor_bytes(parameters),
        "gradients": tensor_bytes(parameter.grad for parameter in parameters if parameter.grad is not None),
        "optimizer": tensor_bytes(moments),
        "patterns": tensor_bytes(layer.buffers()) + pattern_bytes(layer),
        "states": N_STEPS * BATCH_SIZE * layer.state_size * layer.bias.element_size(),
        "update": None if before is None or peak is None else peak - before,
    }


def tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Return the bytes of all elements."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def pattern_bytes(layer: SparseRecurrentLayer) -> int:
    """Return the bytes of all arrays in which the layer keeps where the weights of U and R lie."""
    kept = [value for matrix in layer.matrices() for value in vars(matrix).values()]
    arrays = [part for value in kept for part in (value if isinstance(value, tuple) else (value,))]
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def persistent(memory: Memory) -> int:
    """Return the bytes of weights, gradients and optimizer."""
    return sum(memory[name] or 0 for name in ("weights", "gradients", "optimizer"))


def full_matrices(n_hidden: int) -> int:
    """Return the bytes of weights, gradients and optimizer, were U and R full matrices times a mask."""
    n = n_hidden + N_OUTPUTS
    return 4 * 4 * n * (n + N_INPUTS + 1)


def draw(medians: Mapping[int, float], memories: Mapping[int, Memory]) -> Figure:
    """Draw time, and memory beside what full matrices would take."""
    figure = Figure(figsize=(8, 3.4), dpi=100, layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    time_axes.plot(medians.keys(), medians.values(), "o-")
    time_axes.set(ylabel=f"ms for {N_STEPS} steps and back", ylim=(0, None))
    full = [full_matrices(n) / MEGABYTE for n in HIDDEN_SIZES]
    memory_axes.plot(HIDDEN_SIZES, full, "--", color="gray", label="full matrices")
    kept = [persistent(memories[n]) / MEGABYTE for n in HIDDEN_SIZES]
    memory_axes.plot(HIDDEN_SIZES, kept, "o-", label="ours, per weight")
    memory_axes.set(ylabel="MB of weights, gradients, Adam", yscale="log")
    memory_axes.legend(frameon=False)
    for axes in (time_axes, memory_axes):
        axes.set(xlabel=f"hidden size, at {BUDGET:,} weights", xscale="log")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def measure(rounds: int) -> Finding:
    """Measure a network of each hidden size, its memory in a process of its own."""
    networks = {n: specification(n) for n in HIDDEN_SIZES}
    contenders = {
        f"n_h {n}": milliseconds(ours(SparseRecurrentLayer(network)), BATCH_SIZE) for n, network in networks.items()
    }
    figures = alternate(contenders, rounds)
    medians = {n: median(figures[f"n_h {n}"]) for n in HIDDEN_SIZES}
    memories = {n: in_new_process(memory, n) for n in HIDDEN_SIZES}
    table = tabulate(
        HIDDEN_SIZES,
        ("n_h", lambda n: f"{n:,}{' (dense)' if n == DENSE_HIDDEN_SIZE else ''}"),
        ("p", lambda n: f"{networks[n].hidden_proportion:.2f}"),
        ("density of hh", lambda n: f"{networks[n].densities['hh']:.4f}"),
        ("ms", lambda n: f"{medians[n]:.1f}"),
        ("times dense", lambda n: f"{median_ratio(figures[f'n_h {n}'], figures[f'n_h {DENSE_HIDDEN_SIZE}']):.2f}"),
        ("µs per step", lambda n: f"{1000 * medians[n] / N_STEPS:.0f}"),
        ("weights, gradients, optimizer", lambda n: megabytes(persistent(memories[n]))),
        ("as full matrices", lambda n: megabytes(full_matrices(n))),
        ("patterns", lambda n: megabytes(memories[n]["patterns"])),
        ("states", lambda n: megabytes(memories[n]["states"])),
        ("growth in an update", lambda n: megabytes(memories[n]["update"])),
    )
    notes = (
        f"{BUDGET:,} weights, {N_INPUTS} inputs, {N_OUTPUTS} outputs; p = 0.5, or the least p that fits where 0.5 does "
        f"not. Time: forward and backward of {N_STEPS} steps at batch {BATCH_SIZE}, medians over {rounds} rounds. "
        "Memory in MB of 10⁶ bytes: weights and biases, gradients and Adam's moments, and what they would be as full "
        "matrices times a mask; patterns, the positions of the weights, in buffers and compressed; states, the "
        "activations of all steps that backward needs, which grow with n_h; and the most that a fresh process grew by "
        "in its first update, from gradients to the scan's working space."
    )
    return Finding(
        {"milliseconds": figures, "bytes": memories},
        [table, f"![Time and memory against the hidden size]({FIGURE.relative_to(FOLDER).as_posix()})", notes],
        pictures={FIGURE: draw(medians, memories)},
    )


if __name__ == "__main__":
    run_benchmark("scaling", "Scaling", __doc__, measure)
