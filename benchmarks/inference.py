"""One `predict` for one environment in µs, against the stock LSTM: python -m benchmarks.inference.

46 observations, 26 actions, deterministic, 50,000 weights per network; with one torch thread and with its default.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from benchmarks.harness import alternate, describe, machine, markdown_table, median_ratio, write_result, write_section
from policies.network.architectures import specify_architecture
from policies.recurrent.layer import SparseRecurrentLayer
from policies.varied_sparsity_policy import VariedSparsityPolicy

N_INPUTS, N_OUTPUTS, BUDGET, PROPORTION = 46, 26, 50_000, 0.5
CALLS = 1000

OURS, LSTM, LAYER = "our policy, predict", "stock LSTM policy, predict", "our layer, step alone"


def microseconds(call: Callable[[], None], threads: int) -> Callable[[], float]:
    """Return a measurement: µs per call over many calls; the calls made here warm up and are not counted."""

    def once() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        started = time.perf_counter()
        for _ in range(CALLS):
            call()
        seconds = time.perf_counter() - started
        torch.set_num_threads(before)
        return 1_000_000 * seconds / CALLS

    once()
    return once


def predictions(policy: RecurrentActorCriticPolicy) -> Callable[[], None]:
    """Return a call that predicts the next step of an episode and carries the state on."""
    observation = np.random.default_rng(0).standard_normal(N_INPUTS).astype(np.float32)
    carried: list[tuple[np.ndarray, ...] | None] = [None]
    start = np.array([False])

    def call() -> None:
        _, carried[0] = policy.predict(observation, carried[0], start, deterministic=True)

    return call


def layer_steps(layer: SparseRecurrentLayer) -> Callable[[], None]:
    """Return a call that makes the layer's next step."""
    layer.eval()
    inputs = torch.randn(1, N_INPUTS, generator=torch.Generator().manual_seed(0))
    carried = [torch.zeros(1, layer.state_size)]

    def call() -> None:
        carried[0] = layer.step(inputs, carried[0])

    return call


def main() -> None:
    """Measure, print, and write results/inference.json and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="only print")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    observation_space = spaces.Box(-np.inf, np.inf, (N_INPUTS,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (N_OUTPUTS,), np.float32)
    lstm_size = specify_architecture("lstm", N_INPUTS, N_OUTPUTS, BUDGET).actor.n_hidden
    ours = VariedSparsityPolicy(
        observation_space, action_space, lambda _: 1e-3, budget=BUDGET, hidden_proportion=PROPORTION
    )
    lstm = RecurrentActorCriticPolicy(
        observation_space, action_space, lambda _: 1e-3, net_arch=[], lstm_hidden_size=lstm_size
    )
    calls = {OURS: predictions(ours), LSTM: predictions(lstm), LAYER: layer_steps(ours.actor)}
    default_threads = torch.get_num_threads()
    thread_counts = sorted({1, default_threads})
    contenders = {
        f"{name}, torch threads {threads}": microseconds(call, threads)
        for threads in thread_counts
        for name, call in calls.items()
    }
    figures = alternate(contenders, arguments.rounds)
    rows = [
        (
            name,
            threads,
            f"{statistics.median(figures[f'{name}, torch threads {threads}']):.1f}",
            f"{median_ratio(*(figures[f'{of}, torch threads {threads}'] for of in (LSTM, name))):.2f}",
        )
        for threads in thread_counts
        for name in calls
    ]
    table = markdown_table(("one environment, one step", "torch threads", "µs (median)", "times as fast as LSTM"), rows)
    print(table)
    if not arguments.no_write:
        facts = machine()
        write_result("inference", {"machine": facts, "rounds": arguments.rounds, "microseconds": figures})
        write_section(
            "inference",
            f"### Inference\n\n`python -m benchmarks.inference --rounds {arguments.rounds}`\n\n{table}\n\n"
            f"{N_INPUTS} observations, {N_OUTPUTS} actions, deterministic; {BUDGET:,} weights per network: ours at "
            f"p = {PROPORTION} (n_h {ours.actor.n_hidden}), sb3-contrib's LSTM policy with `net_arch=[]` and "
            f"{lstm_size} units. Means over {CALLS:,} calls, medians over {arguments.rounds} rounds. {describe(facts)}",
        )


if __name__ == "__main__":
    main()
