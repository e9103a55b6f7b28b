"""Steps per second of a whole training on five of POPGym's tasks: python -m benchmarks.popgym_speed.

16 environments × 256 steps, 4 minibatches, 10 epochs, no early stop, 10,000 weights per network.
"""

from functools import partial
from statistics import median

import gymnasium
from gymnasium.wrappers import FlattenObservation

from agents.configuration import TrainingConfiguration, configure
from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, tabulate
from benchmarks.training import ours, stock
from envs.lookup import make_environment

TASKS = ("RepeatFirstEasy", "RepeatPreviousEasy", "PositionOnlyCartPoleEasy", "MultiarmedBanditEasy", "HigherLowerEasy")
N_ENVS, N_STEPS = 16, 256
ROLLOUT = N_ENVS * N_STEPS
LOOP = {"n_steps": N_STEPS, "batch_size": ROLLOUT // 4, "n_epochs": 10}


def configuration(task: str, architecture: str) -> TrainingConfiguration:
    """Return the common settings of both contenders."""
    return configure(f"popgym-{task}-v0", architecture=architecture, budget=10_000, n_envs=N_ENVS, **LOOP)


def flat(settings: TrainingConfiguration) -> gymnasium.Env:
    """Make an environment that shows flat vectors, as the stock trainer takes them."""
    return FlattenObservation(make_environment(settings.env, wrappers=settings.wrappers))


def measure(rounds: int) -> Finding:
    """Measure our training and the stock one, task by task."""
    figures = {
        task: alternate(
            {
                "ours": ours(configuration(task, "varied"), ROLLOUT),
                "our LSTM": ours(configuration(task, "lstm"), ROLLOUT),
                "stock": stock(configuration(task, "lstm"), partial(flat, configuration(task, "lstm"))),
            },
            rounds,
        )
        for task in TASKS
    }
    table = tabulate(
        figures,
        ("task", lambda task: task),
        ("p = 0.5, steps/s", lambda task: f"{median(figures[task]['ours']):,.0f}"),
        ("our LSTM, steps/s", lambda task: f"{median(figures[task]['our LSTM']):,.0f}"),
        ("stock RecurrentPPO, LSTM, steps/s", lambda task: f"{median(figures[task]['stock']):,.0f}"),
        ("times stock", lambda task: f"{median_ratio(figures[task]['ours'], figures[task]['stock']):.2f}"),
    )
    notes = (
        f"{N_ENVS} environments × {N_STEPS} steps, one after the other, 4 minibatches, 10 epochs, no early stop, "
        f"10,000 weights per network, wrapped as in POPGym's paper, {rounds} rounds; ratios are medians over rounds. "
        "Stock runs with torch's default threads."
    )
    return Finding({"steps_per_second": figures}, [table, notes])


if __name__ == "__main__":
    run_benchmark("popgym_speed", "POPGym: speed", __doc__, measure)
