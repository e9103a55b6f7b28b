"""Our trainer beside stock RecurrentPPO, and the start of a fresh process: python -m benchmarks.stock.

CartPole with its preset of 1,500 weights, and LSTM and GRU on AdroitHandHammer-v1 as in benchmarks/training.py.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median

import gymnasium

from agents.configuration import configure
from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, seconds, tabulate
from benchmarks.training import configuration, ours, registered_hammer, stock

POLE = "CartPole-v1"
IMPORT = "torch is imported"
HAMMER_LSTM, POLE_LSTM = "Hammer, stock RecurrentPPO, LSTM", "CartPole, stock RecurrentPPO, LSTM"
FIRST = """
import json, sys
from stable_baselines3.common.logger import configure as make_logger
from agents.configuration import configure
from agents.training import build_algorithm, plan_training, torch_threads, training_environments
settings = configure(**json.loads(sys.argv[1]))
with torch_threads("cpu"):
    algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))
    algorithm.set_logger(make_logger(None, []))
    algorithm.env.step(algorithm.policy.predict(algorithm.env.reset())[0])
    if sys.argv[2] == "update":
        algorithm.learn(settings.n_envs * settings.n_steps)
"""
"""What a fresh process does: with "step" one step of all environments, with "update" a rollout and its update too."""
TASKS = {
    "CartPole": {"env": POLE},
    "Hammer": {"env": "AdroitHandHammer-v1", "budget": 25_000, "n_envs": 16, "batch_size": 800, "n_steps": 200},
}


def cartpole(architecture: str) -> Callable[[], float]:
    """Return a measurement of our training on CartPole."""
    settings = configure(POLE, architecture=architecture, target_kl=None)
    return ours(settings, settings.n_envs * settings.n_steps)


def fresh(*command: str) -> Callable[[], float]:
    """Return a measurement: seconds that a fresh Python takes; what it compiles is kept from the process before."""

    def once() -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", *command], check=True, capture_output=True))

    once()
    return once


def measure(rounds: int) -> Finding:
    """Measure the trainings, and then the first step."""
    figures = alternate(
        {
            "CartPole, this agent, varied": cartpole("varied"),
            "CartPole, our trainer, LSTM": cartpole("lstm"),
            POLE_LSTM: stock(configure(POLE, architecture="lstm"), lambda: gymnasium.make(POLE)),
            "Hammer, our trainer, LSTM": ours(configuration("lstm")),
            "Hammer, our trainer, GRU": ours(configuration("gru")),
            HAMMER_LSTM: stock(configuration("lstm"), registered_hammer),
        },
        rounds,
    )
    starts = alternate(
        {
            IMPORT: fresh("import torch"),
            **{
                f"{name}, {end}": fresh(FIRST, json.dumps(task), end.split()[-1])
                for name, task in TASKS.items()
                for end in ("first step", "first update")
            },
        },
        rounds,
    )

    def times_stock(name: str) -> str:
        reference = figures[POLE_LSTM if name.startswith("CartPole") else HAMMER_LSTM]
        return f"{median_ratio(figures[name], reference):.2f}"

    table = tabulate(
        figures,
        ("contender", lambda name: name),
        ("steps/s (median)", lambda name: f"{median(figures[name]):,.0f}"),
        ("times stock LSTM", times_stock),
    )
    start_table = tabulate(
        starts,
        ("a fresh process, up to", lambda name: name),
        ("seconds (median)", lambda name: f"{median(starts[name]):.2f}"),
        ("without importing torch", lambda name: f"{median(starts[name]) - median(starts[IMPORT]):.2f}"),
        ("target", lambda name: "≤ 4" if name.endswith("step") else ""),
    )
    notes = (
        "Presets' settings for CartPole, those of the table of trainings for Hammer; no early stop. Imports and "
        "environments are part of a fresh process's time, and a whole rollout of its first update; its kernels were "
        f"compiled before. {rounds} rounds; ratios are medians over rounds."
    )
    return Finding({"steps_per_second": figures, "seconds": starts}, [table, start_table, notes])


if __name__ == "__main__":
    run_benchmark("stock", "Beside the stock trainer", __doc__, measure)
