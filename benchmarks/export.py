"""Exported policies, one step of one environment in onnxruntime: python -m benchmarks.export.

At a budget of 50,000 weights beside sb3-contrib's LSTM policy; and a network of 4,404 hidden units at 1 % density
beside the same network stored as full matrices. 46 observations, 26 actions, one thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from agents.export.export import step_microseconds
from agents.export.graph import policy_model
from agents.export.onnx_policy import OnnxPolicy, PolicyMetadata, read_policy
from agents.runs.normalization import ObservationNormalization
from benchmarks.harness import alternate, describe, machine, markdown_table, median_ratio, write_result, write_section
from benchmarks.inference import BUDGET, LSTM, N_INPUTS, N_OUTPUTS, PROPORTION, predictions
from benchmarks.layer import SPARSE_BUDGET, SPARSE_DENSITIES
from policies.network.architectures import specify_architecture
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

    def once() -> float:
        microseconds = []
        for _ in range(STEPS):
            started = time.perf_counter()
            call()
            microseconds.append(1e6 * (time.perf_counter() - started))
        return min(microseconds)

    return once


def main() -> None:
    """Measure, print, and write results/export.json and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-write", action="store_true", help="only print")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    box = spaces.Box(-np.inf, np.inf, (N_INPUTS,), np.float32), spaces.Box(-1.0, 1.0, (N_OUTPUTS,), np.float32)
    lstm_size = specify_architecture("lstm", N_INPUTS, N_OUTPUTS, BUDGET).actor.n_hidden
    ours = VariedSparsityPolicy(*box, lambda _: 1e-3, budget=BUDGET, hidden_proportion=PROPORTION)
    sparse = VariedSparsityPolicy(*box, lambda _: 1e-3, budget=SPARSE_BUDGET, densities=SPARSE_DENSITIES)
    lstm = RecurrentActorCriticPolicy(*box, lambda _: 1e-3, net_arch=[], lstm_hidden_size=lstm_size)
    small, small_bytes = exported(ours)
    gathered, gathered_bytes = exported(sparse)
    full, full_bytes = exported(sparse, gather=False)
    figures = alternate(
        {
            EXPORTED: steps(small),
            LSTM: calls(predictions(lstm)),
            GATHERED: steps(gathered),
            FULL: steps(full),
        },
        arguments.rounds,
    )
    median = {name: statistics.median(values) for name, values in figures.items()}

    against_lstm = markdown_table(
        ("50,000 weights", "MB", "µs per step", "target", "times as fast as LSTM"),
        [
            (
                f"{EXPORTED}, n_h {ours.actor.n_hidden}",
                f"{small_bytes / 1e6:.2f}",
                f"{median[EXPORTED]:.1f}",
                f"≤ {STEP_TARGET:.0f}",
                f"{median_ratio(figures[LSTM], figures[EXPORTED]):.1f}",
            ),
            (f"{LSTM}, {lstm_size} units", "", f"{median[LSTM]:.1f}", "", "1.0"),
        ],
    )
    against_full = markdown_table(
        (
            f"{SPARSE_BUDGET:,} weights, n_h {sparse.actor.n_hidden:,}",
            "MB",
            "target",
            "µs per step",
            "of full matrices",
            "target",
        ),
        [
            (
                GATHERED,
                f"{gathered_bytes / 1e6:.2f}",
                f"≤ {SIZE_TARGET / 1e6:.0f}",
                f"{median[GATHERED]:,.0f}",
                f"{median_ratio(figures[GATHERED], figures[FULL]):.2f}",
                f"≤ {TIMES_FULL_TARGET}",
            ),
            (FULL, f"{full_bytes / 1e6:.2f}", "", f"{median[FULL]:,.0f}", "1.00", ""),
        ],
    )
    print(f"{against_lstm}\n\n{against_full}")
    if not arguments.no_write:
        facts = machine() | {"onnxruntime": onnxruntime.__version__}
        content = {"full": full_bytes, "gathered": gathered_bytes, "small": small_bytes}
        write_result(
            "export", {"machine": facts, "rounds": arguments.rounds, "microseconds": figures, "bytes": content}
        )
        write_section(
            "export",
            f"### Export\n\n`python -m benchmarks.export --rounds {arguments.rounds}`\n\n{against_lstm}\n\n"
            f"hx and yx dense, the other blocks at 0.01:\n\n{against_full}\n\n"
            f"{N_INPUTS} observations, {N_OUTPUTS} actions, one environment, NumPy arrays in and out, one thread; "
            f"observation normalization and action bounds are inside the exported files. Medians over "
            f"{arguments.rounds} rounds of the least of {STEPS} steps, which other work on the machine does not "
            f"lengthen. {describe(facts)}",
        )


if __name__ == "__main__":
    main()
