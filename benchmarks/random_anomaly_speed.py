"""Steps per second on RandomAnomaly-v0, environment alone and training: python -m benchmarks.random_anomaly_speed.

The training is that of the preset which makes the table of accuracies, at 100,000 weights per network.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from agents.configuration import configure
from agents.training import build_algorithm, plan_training, torch_threads, training_environments
from benchmarks.harness import alternate, describe, machine, markdown_table, write_result, write_section
from benchmarks.training import steps_per_second
from envs.vectorized.make import make_vec_env
from policies.network.architectures import ARCHITECTURES

ENV = "RandomAnomaly-v0"


def environment_alone(n_envs: int, episodes: int) -> Callable[[], float]:
    """Return a measurement of the batched environment in one thread."""
    environments = make_vec_env(ENV, n_envs=n_envs, seed=0, vectorization="batched", training=True)
    actions = np.zeros(n_envs, dtype=np.int64)
    environments.reset()

    def once() -> float:
        steps = 11 * episodes
        started = time.perf_counter()
        for _ in range(steps):
            environments.step(actions)
        return steps * n_envs / (time.perf_counter() - started)

    return once


def main() -> None:
    """Measure, print, and write results/random_anomaly_speed.json and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="only print")
    arguments = parser.parse_args()

    preset = configure(ENV)
    rollout = preset.n_envs * preset.n_steps
    contenders: dict[str, Callable[[], float]] = {"environment alone": environment_alone(preset.n_envs, 2)}
    for architecture in ARCHITECTURES:
        settings = configure(ENV, architecture=architecture)
        with torch_threads("cpu"):
            algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))
            contenders[f"training, {architecture}"] = steps_per_second(algorithm, 1, rollout=4 * rollout)
    figures = alternate(contenders, arguments.rounds)
    rows = [(name, f"{statistics.median(values):,.0f}") for name, values in figures.items()]
    table = markdown_table(("contender", "steps/s (median)"), rows)
    print(table)
    if not arguments.no_write:
        facts = machine()
        updates = preset.n_epochs * rollout / preset.batch_size / rollout
        write_result(
            "random_anomaly_speed", {"machine": facts, "rounds": arguments.rounds, "steps_per_second": figures}
        )
        write_section(
            "random anomaly speed",
            f"### Random Anomaly: speed\n\n`python -m benchmarks.random_anomaly_speed --rounds {arguments.rounds}`\n\n"
            f"{table}\n\nThe preset's own settings: {preset.n_envs} environments × {preset.n_steps} steps, "
            f"{preset.n_epochs} epochs of minibatches of {preset.batch_size // preset.n_steps} episodes, so one update "
            f"per {1 / updates:.0f} steps; {preset.budget:,} weights per network. The environment alone runs in one "
            f"thread. {describe(facts)}",
        )


if __name__ == "__main__":
    main()
