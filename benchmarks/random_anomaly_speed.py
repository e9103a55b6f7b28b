"""Steps per second on RandomAnomaly-v0, environment alone and training: python -m benchmarks.random_anomaly_speed.

The training is that of the preset which makes the table of accuracies, at 100,000 weights per network.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from agents.configuration import configure
from agents.training import build_algorithm, plan_training, training_environments
from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, seconds, tabulate
from benchmarks.training import ours, steps_per_second
from envs.vectorized.make import make_vec_env
from policies import varied_sparsity_policy
from policies.network.architectures import ARCHITECTURES
from policies.recurrent.layer import LayerStates, SparseRecurrentLayer

ENV = "RandomAnomaly-v0"
FULL = "training, varied, full matrices in torch"


def environment_alone(n_envs: int, episodes: int) -> Callable[[], float]:
    """Return a measurement of the batched environment in one thread."""
    environments = make_vec_env(ENV, n_envs=n_envs, seed=0, vectorization="batched", training=True)
    actions = np.zeros(n_envs, dtype=np.int64)
    environments.reset()
    return lambda: n_envs / seconds(lambda: environments.step(actions), repeats=11 * episodes)


def full_matrices(rollout: int) -> Callable[[], float]:
    """Return a measurement of the same training with the networks' matrices filled in, multiplied by torch.

    Its sequences run through `TorchScan`: full matrices, put together once for each minibatch, and torch's products on
    all threads. Single steps are those of the other contenders.
    """
    settings = configure(ENV)
    algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))

    def in_torch(
        layers: Sequence[SparseRecurrentLayer], inputs: Tensor, states: Sequence[Tensor], starts: Tensor, **_: Any
    ) -> list[LayerStates]:
        return [layer.scan_in_torch(inputs, state, starts.bool()) for layer, state in zip(layers, states, strict=True)]

    for layer in (algorithm.policy.actor, algorithm.policy.critic):
        layer.backend = "dense"
    with patch.object(varied_sparsity_policy, "forward_together", in_torch):
        measurement = steps_per_second(algorithm, torch.get_num_threads(), rollout)

    def once() -> float:
        with patch.object(varied_sparsity_policy, "forward_together", in_torch):
            return measurement()

    return once


def measure(rounds: int) -> Finding:
    """Measure the environment and the training of every architecture."""
    preset = configure(ENV)
    rollout = preset.n_envs * preset.n_steps
    contenders = {"environment alone": environment_alone(preset.n_envs, 2)}
    for architecture in ARCHITECTURES:
        contenders[f"training, {architecture}"] = ours(configure(ENV, architecture=architecture), 4 * rollout)
    contenders[FULL] = full_matrices(4 * rollout)
    figures = alternate(contenders, rounds)
    table = tabulate(
        figures.items(),
        ("contender", lambda item: item[0]),
        ("steps/s (median)", lambda item: f"{median(item[1]):,.0f}"),
        ("times full matrices", lambda item: f"{median_ratio(item[1], figures[FULL]):.2f}"),
    )
    notes = (
        f"The preset's own settings: {preset.n_envs} environments × {preset.n_steps} steps, {preset.n_epochs} epochs "
        f"of minibatches of {preset.batch_size // preset.n_steps} episodes, so one update per "
        f"{preset.batch_size / preset.n_epochs:.0f} steps; {preset.budget:,} weights per network. The environment "
        "alone runs in one thread. Full matrices: the network of the first training, its matrices filled in and "
        f"multiplied by torch with {torch.get_num_threads()} threads."
    )
    return Finding({"steps_per_second": figures}, [table, notes])


if __name__ == "__main__":
    run_benchmark("random_anomaly_speed", "Random Anomaly: speed", __doc__, measure)
