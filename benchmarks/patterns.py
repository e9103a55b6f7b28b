"""Patterns of the sparse layer against our dense network of equal weights: python -m benchmarks.patterns.

Forward and backward over 200 steps, 46 inputs and 26 outputs, about 400,000 weights. Processor time of one thread, on
one core: on a busy machine it says more than the time that passes.
"""

import os
import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, tabulate
from benchmarks.layer import BUDGETS, N_INPUTS, N_OUTPUTS, N_STEPS, SPARSE_DENSITIES, one_pass, ours
from benchmarks.scaling import specification
from policies.network.blocks import PATTERNS
from policies.network.specification import BLOCKS, NetworkSpecification, specify
from policies.recurrent.layer import SparseRecurrentLayer

BUDGET = BUDGETS[-1]
SPARSE = specify(N_INPUTS, N_OUTPUTS, BUDGET, densities=SPARSE_DENSITIES)
CASES = [(SPARSE, 4, 2), (SPARSE, 16, 2), (SPARSE, 64, 2), (specification(20_000), 16, 5)]
"""Sparse network, batch size, and how many times the cost of the dense one is aimed at."""
DENSE = "dense"


def processor_time(network: NetworkSpecification, pattern: str, batch_size: int) -> Callable[[], float]:
    """Return a measurement of a forward and backward pass in ms of processor time; the pass made here warms up."""
    run = one_pass(ours(SparseRecurrentLayer(network, pattern=pattern)), batch_size)
    run()

    def measure() -> float:
        started = time.process_time()
        run()
        return 1000 * (time.process_time() - started)

    return measure


def measure(rounds: int) -> Finding:
    """Measure both patterns beside the dense network, for each case in turn."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # before the layer's workers are made, one for each core
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    dense = specify(N_INPUTS, N_OUTPUTS, BUDGET, densities=dict.fromkeys(BLOCKS, 1.0))
    figures = {}
    for network, batch_size, _ in CASES:
        print(f"n_h {network.n_hidden}, batch {batch_size}, ms of one core", flush=True)
        contenders = {DENSE: processor_time(dense, PATTERNS[0], batch_size)}
        contenders |= {pattern: processor_time(network, pattern, batch_size) for pattern in PATTERNS}
        figures[network.n_hidden, batch_size] = alternate(contenders, rounds)
    rows = [
        (figures[network.n_hidden, batch_size], network, batch_size, target) for network, batch_size, target in CASES
    ]
    table = tabulate(
        rows,
        ("n_h", lambda row: f"{row[1].n_hidden:,}"),
        ("batch", lambda row: row[2]),
        (f"dense, n_h {dense.n_hidden}, ms", lambda row: f"{median(row[0][DENSE]):,.0f}"),
        *((f"{pattern}, ms", lambda row, pattern=pattern: f"{median(row[0][pattern]):,.0f}") for pattern in PATTERNS),
        *(
            (f"{pattern} / dense", lambda row, pattern=pattern: f"{median_ratio(row[0][pattern], row[0][DENSE]):.2f}")
            for pattern in PATTERNS
        ),
        ("target", lambda row: f"≤ {row[3]}"),
    )
    return Finding(
        {"milliseconds": {f"n_h {n}, batch {batch_size}": found for (n, batch_size), found in figures.items()}},
        [
            f"Milliseconds of processor time, one thread on one core, for forward and backward over {N_STEPS} steps, "
            f"{N_INPUTS} inputs, {N_OUTPUTS} outputs, about {BUDGET:,} weights in all networks. n_h "
            f"{SPARSE.n_hidden:,}: hx and yx dense, the other blocks at 0.01; n_h 20,000: p = 0.5.",
            table,
            f"Medians over {rounds} rounds, measured in turn in one process; ratios are medians over rounds.",
        ],
    )


if __name__ == "__main__":
    run_benchmark("patterns", "Patterns", __doc__, measure)
