"""One `predict` for one environment in µs, against the stock LSTM: python -m benchmarks.inference.

46 observations, 26 actions, deterministic, 50,000 weights per network; with one torch thread and with its default.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, seconds, tabulate
from policies.network.architectures import specify_architecture
from policies.recurrent.layer import SparseRecurrentLayer
from policies.varied_sparsity_policy import VariedSparsityPolicy

N_INPUTS, N_OUTPUTS, BUDGET, PROPORTION = 46, 26, 50_000, 0.5
SPACES = spaces.Box(-np.inf, np.inf, (N_INPUTS,), np.float32), spaces.Box(-1.0, 1.0, (N_OUTPUTS,), np.float32)
CALLS = 1000

OURS, LSTM, LAYER = "our policy, predict", "stock LSTM policy, predict", "our layer, step alone"


def our_policy(**network: Any) -> VariedSparsityPolicy:
    """Return our policy with a network so specified."""
    return VariedSparsityPolicy(*SPACES, lambda _: 1e-3, **network)


def stock_lstm() -> RecurrentActorCriticPolicy:
    """Return sb3-contrib's policy, its LSTM the largest that fits the budget."""
    size = specify_architecture("lstm", N_INPUTS, N_OUTPUTS, BUDGET).actor.n_hidden
    return RecurrentActorCriticPolicy(*SPACES, lambda _: 1e-3, net_arch=[], lstm_hidden_size=size)


def microseconds(call: Callable[[], None], threads: int) -> Callable[[], float]:
    """Return a measurement: µs per call over many calls; the calls made here warm up and are not counted."""

    def once() -> float:
        return 1e6 * seconds(call, repeats=CALLS, threads=threads)

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


def measure(rounds: int) -> Finding:
    """Measure each contender with each number of torch threads."""
    torch.manual_seed(0)
    ours, lstm = our_policy(budget=BUDGET, hidden_proportion=PROPORTION), stock_lstm()
    calls = {OURS: predictions(ours), LSTM: predictions(lstm), LAYER: layer_steps(ours.actor)}
    rows = [(name, threads) for threads in sorted({1, torch.get_num_threads()}) for name in calls]

    def key(name: str, threads: int) -> str:
        return f"{name}, torch threads {threads}"

    figures = alternate({key(*row): microseconds(calls[row[0]], row[1]) for row in rows}, rounds)
    table = tabulate(
        rows,
        ("one environment, one step", lambda row: row[0]),
        ("torch threads", lambda row: row[1]),
        ("µs (median)", lambda row: f"{median(figures[key(*row)]):.1f}"),
        ("times as fast as LSTM", lambda row: f"{median_ratio(figures[key(LSTM, row[1])], figures[key(*row)]):.2f}"),
    )
    notes = (
        f"{N_INPUTS} observations, {N_OUTPUTS} actions, deterministic; {BUDGET:,} weights per network: ours at "
        f"p = {PROPORTION} (n_h {ours.actor.n_hidden}), sb3-contrib's LSTM policy with `net_arch=[]` and "
        f"{lstm.lstm_actor.hidden_size} units. Means over {CALLS:,} calls, medians over {rounds} rounds."
    )
    return Finding({"microseconds": figures}, [table, notes])


if __name__ == "__main__":
    run_benchmark("inference", "Inference", __doc__, measure)
