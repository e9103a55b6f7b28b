"""Steps per second on RandomAnomaly-v0, environment alone and training: python -m benchmarks.random_anomaly_speed.

The training is that of the preset which makes the table of accuracies, at 100,000 weights per network.
"""

from collections.abc import Callable
from statistics import median

import numpy as np

from agents.configuration import configure
from benchmarks.harness import Finding, alternate, run_benchmark, seconds, tabulate
from benchmarks.training import ours
from envs.vectorized.make import make_vec_env
from policies.network.architectures import ARCHITECTURES

ENV = "RandomAnomaly-v0"


def environment_alone(n_envs: int, episodes: int) -> Callable[[], float]:
    """Return a measurement of the batched environment in one thread."""
    environments = make_vec_env(ENV, n_envs=n_envs, seed=0, vectorization="batched", training=True)
    actions = np.zeros(n_envs, dtype=np.int64)
    environments.reset()
    return lambda: n_envs / seconds(lambda: environments.step(actions), repeats=11 * episodes)


def measure(rounds: int) -> Finding:
    """Measure the environment and the training of every architecture."""
    preset = configure(ENV)
    rollout = preset.n_envs * preset.n_steps
    contenders = {"environment alone": environment_alone(preset.n_envs, 2)}
    for architecture in ARCHITECTURES:
        contenders[f"training, {architecture}"] = ours(configure(ENV, architecture=architecture), 4 * rollout)
    figures = alternate(contenders, rounds)
    table = tabulate(
        figures.items(),
        ("contender", lambda item: item[0]),
        ("steps/s (median)", lambda item: f"{median(item[1]):,.0f}"),
    )
    notes = (
        f"The preset's own settings: {preset.n_envs} environments × {preset.n_steps} steps, {preset.n_epochs} epochs "
        f"of minibatches of {preset.batch_size // preset.n_steps} episodes, so one update per "
        f"{preset.batch_size / preset.n_epochs:.0f} steps; {preset.budget:,} weights per network. The environment "
        "alone runs in one thread."
    )
    return Finding({"steps_per_second": figures}, [table, notes])


if __name__ == "__main__":
    run_benchmark("random_anomaly_speed", "Random Anomaly: speed", __doc__, measure)
