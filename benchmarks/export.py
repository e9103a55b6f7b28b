"""Exported policies, one step of one environment in onnxruntime: python -m benchmarks.export.

At a budget of 50,000 weights beside sb3-contrib's LSTM policy; and a network of 4,404 hidden units at 1 % density
beside the same network stored as full matrices. 46 observations, 26 actions, one thread.
"""

from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from agents.export.export import step_microseconds
from agents.export.graph import policy_model
from agents.export.onnx_policy import OnnxPolicy, PolicyMetadata, read_policy
from agents.runs.normalization import ObservationNormalization
from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, seconds, tabulate
from benchmarks.inference import BUDGET, LSTM, N_INPUTS, N_OUTPUTS, PROPORTION, our_policy, predictions, stock_lstm
from benchmarks.layer import SPARSE_BUDGET, SPARSE_DENSITIES
from policies.varied_sparsity_policy import VariedSparsityPolicy

STEPS = 200
STEP_TARGET, SIZE_TARGET, TIMES_FULL_TARGET = 30.0, 4e6, 0.5

EXPORTED = "exported, onnxruntime"
GATHERED, FULL = "exported", "as full matrices"


def exported(policy: VariedSparsityPolicy, *, gather: bool = True) -> tuple[OnnxPolicy, int]:
    """Return a policy as the ONNX file acts, normalization inside, and the bytes of the file."""
    metadata = PolicyMetadata("AdroitHandHammer-v1", {}, policy.specification, {}, {})
    normalization = ObservationNormalization(np.zeros(N_INPUTS), np.ones(N_INPUTS), 10.0, 1e-8)
    content = policy_model(policy, normalization, metadata, gather=gather).SerializeToString()
    return read_policy(content), len(content)


def steps(policy: OnnxPolicy) -> Callable[[], float]:
    """Return a measurement: the µs of a step, arrays in and arrays out, the least of many."""
    return lambda: min(step_microseconds(policy.step, N_INPUTS, STEPS))


def calls(call: Callable[[], None]) -> Callable[[], float]:
    """Return a measurement: the µs of a call, the least of many."""
    return lambda: min(1e6 * seconds(call) for _ in range(STEPS))


def measure(rounds: int) -> Finding:
    """Measure the small policy beside the LSTM, and the large one beside itself as full matrices."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    ours, lstm = our_policy(budget=BUDGET, hidden_proportion=PROPORTION), stock_lstm()
    sparse = our_policy(budget=SPARSE_BUDGET, densities=SPARSE_DENSITIES)
    files = {EXPORTED: exported(ours), GATHERED: exported(sparse), FULL: exported(sparse, gather=False)}
    contenders = {name: steps(policy) for name, (policy, _) in files.items()}
    figures = alternate(contenders | {LSTM: calls(predictions(lstm))}, rounds)

    def megabytes(name: str) -> str:
        return f"{files[name][1] / 1e6:.2f}" if name in files else ""

    units = {EXPORTED: f"n_h {ours.actor.n_hidden}", LSTM: f"{lstm.lstm_actor.hidden_size} units"}
    against_lstm = tabulate(
        (EXPORTED, LSTM),
        ("50,000 weights", lambda name: f"{name}, {units[name]}"),
        ("MB", megabytes),
        ("µs per step", lambda name: f"{median(figures[name]):.1f}"),
        ("target", lambda name: f"≤ {STEP_TARGET:.0f}" if name == EXPORTED else ""),
        ("times as fast as LSTM", lambda name: f"{median_ratio(figures[LSTM], figures[name]):.1f}"),
    )
    against_full = tabulate(
        (GATHERED, FULL),
        (f"{SPARSE_BUDGET:,} weights, n_h {sparse.actor.n_hidden:,}", lambda name: name),
        ("MB", megabytes),
        ("target", lambda name: f"≤ {SIZE_TARGET / 1e6:.0f}" if name == GATHERED else ""),
        ("µs per step", lambda name: f"{median(figures[name]):,.0f}"),
        ("of full matrices", lambda name: f"{median_ratio(figures[name], figures[FULL]):.2f}"),
        ("target", lambda name: f"≤ {TIMES_FULL_TARGET}" if name == GATHERED else ""),
    )
    notes = (
        f"{N_INPUTS} observations, {N_OUTPUTS} actions, one environment, NumPy arrays in and out, one thread; "
        f"observation normalization and action bounds are inside the exported files. Medians over {rounds} rounds of "
        f"the least of {STEPS} steps, which other work on the machine does not lengthen."
    )
    sizes = {"full": files[FULL][1], "gathered": files[GATHERED][1], "small": files[EXPORTED][1]}
    return Finding(
        {"microseconds": figures, "bytes": sizes},
        [against_lstm, "hx and yx dense, the other blocks at 0.01:", against_full, notes],
        packages=("onnxruntime",),
    )


if __name__ == "__main__":
    run_benchmark("export", "Export", __doc__, measure, rounds=9)
