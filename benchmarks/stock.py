"""Our trainer beside stock RecurrentPPO, and the time to the first step: python -m benchmarks.stock.

CartPole with its preset of 1,500 weights, and LSTM and GRU on AdroitHandHammer-v1 as in benchmarks/training.py.
"""

import subprocess
import sys
from collections.abc import Callable
from statistics import median

import gymnasium

from agents.configuration import configure
from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, seconds, tabulate
from benchmarks.training import configuration, ours, registered_hammer, stock

POLE = "CartPole-v1"
HAMMER_LSTM, POLE_LSTM = "Hammer, stock RecurrentPPO, LSTM", "CartPole, stock RecurrentPPO, LSTM"
FIRST_STEP = """
from agents.configuration import configure
from agents.training import build_algorithm, plan_training, torch_threads, training_environments
settings = configure("AdroitHandHammer-v1", budget=25_000, n_envs=16, batch_size=800, n_steps=200)
with torch_threads("cpu"):
    algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))
    algorithm.env.step(algorithm.policy.predict(algorithm.env.reset())[0])
"""


def cartpole(architecture: str) -> Callable[[], float]:
    """Return a measurement of our training on CartPole."""
    settings = configure(POLE, architecture=architecture, target_kl=None)
    return ours(settings, settings.n_envs * settings.n_steps)


def first_step() -> float:
    """Return the seconds until a fresh process has acted once; what it compiles is kept from the process before."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", FIRST_STEP], check=True, capture_output=True))


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
    first_step()
    starts = alternate({"seconds to the first step": first_step}, rounds)

    def times_stock(name: str) -> str:
        reference = figures[POLE_LSTM if name.startswith("CartPole") else HAMMER_LSTM]
        return f"{median_ratio(figures[name], reference):.2f}"

    table = tabulate(
        figures,
        ("contender", lambda name: name),
        ("steps/s (median)", lambda name: f"{median(figures[name]):,.0f}"),
        ("times stock LSTM", times_stock),
    )
    (found,) = starts.values()
    notes = (
        f"A fresh process has made its first step on Hammer after {median(found):.1f} s, imports and environments "
        f"included, its kernels compiled before. Presets' settings for CartPole, those of the table of trainings for "
        f"Hammer; no early stop. {rounds} rounds; ratios are medians over rounds."
    )
    return Finding({"steps_per_second": figures, "seconds": starts}, [table, notes])


if __name__ == "__main__":
    run_benchmark("stock", "Beside the stock trainer", __doc__, measure)
