"""Steps per second of a whole training on AdroitHandHammer-v1: python -m benchmarks.training.

16 environments × 200 steps, 4 minibatches, 10 epochs, no early stop, 25,000 weights per network.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env as stock_vec_env
from stable_baselines3.common.logger import configure as configure_logger
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from agents.building import policy_recipe
from agents.configuration import TrainingConfiguration, configure
from agents.training import build_algorithm, plan_training, torch_threads, training_environments
from benchmarks.harness import alternate, describe, machine, markdown_table, median_ratio, write_result, write_section

ENV = "AdroitHandHammer-v1"
N_ENVS, N_STEPS, EPOCHS = 16, 200, 10
ROLLOUT = N_ENVS * N_STEPS


def configuration(architecture: str) -> TrainingConfiguration:
    """Return the common settings of all contenders."""
    return configure(
        ENV,
        architecture=architecture,
        budget=25_000,
        n_envs=N_ENVS,
        n_steps=N_STEPS,
        batch_size=ROLLOUT // 4,
        n_epochs=EPOCHS,
        target_kl=None,
    )


def steps_per_second(algorithm: RecurrentPPO, threads: int, rollout: int = ROLLOUT) -> Callable[[], float]:
    """Return a measurement: `rollout` steps and their updates; the first call warms up and is not counted."""
    algorithm.set_logger(configure_logger(None, []))

    def once() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        started = time.perf_counter()
        algorithm.learn(rollout, reset_num_timesteps=False)
        torch.set_num_threads(before)
        return rollout / (time.perf_counter() - started)

    once()
    return once


def registered_hammer() -> gymnasium.Env:
    """Make the environment as gymnasium-robotics registers it, in whatever process this is called."""
    import envs.adroit.robotics  # noqa: F401 registers it

    return gymnasium.make(ENV, disable_env_checker=True)


def stock(architecture: str, vec_env_class: type[VecEnv]) -> RecurrentPPO:
    """Build sb3-contrib's RecurrentPPO on Stable-Baselines3's own environments, Monitor and VecNormalize included."""
    settings = configuration(architecture)
    policy_class, options = policy_recipe(settings, plan_training(settings))
    del options["optimizer_kwargs"]
    if architecture == "lstm":
        del options["noise_correlation"]  # ours; the stock policy explores with white noise
    environments = VecNormalize(stock_vec_env(registered_hammer, n_envs=N_ENVS, seed=0, vec_env_cls=vec_env_class))
    return RecurrentPPO(
        "MlpLstmPolicy" if architecture == "lstm" else policy_class,
        environments,
        learning_rate=settings.learning_rate,
        n_steps=N_STEPS,
        batch_size=settings.batch_size,
        n_epochs=EPOCHS,
        policy_kwargs=options,
        seed=0,
        device="cpu",
    )


def simulator_alone() -> float:
    """Step raw environments with random actions in two threads, and return steps per second."""
    environments = [registered_hammer().unwrapped for _ in range(N_ENVS)]
    for index, environment in enumerate(environments):
        environment.reset(seed=index)
    actions = np.random.default_rng(0).uniform(-1, 1, (N_STEPS, N_ENVS, 26)).astype(np.float32)

    def work(share: range) -> None:
        for t in range(N_STEPS):
            for index in share:
                environments[index].step(actions[t, index])

    threads = [threading.Thread(target=work, args=(range(k, N_ENVS, 2),)) for k in range(2)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for environment in environments:
        environment.close()
    return ROLLOUT / seconds


def main() -> None:
    """Measure, print, and write results/training.json and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="only print")
    arguments = parser.parse_args()

    ours = configuration("varied")
    all_threads = torch.get_num_threads()
    with torch_threads("cpu"):
        algorithm = build_algorithm(ours, plan_training(ours), training_environments(ours))
        fast = steps_per_second(algorithm, 1)
    contenders = {
        "this agent, p = 0.5": fast,
        "stock RecurrentPPO, our policy": steps_per_second(stock("varied", DummyVecEnv), all_threads),
        "stock RecurrentPPO, LSTM, DummyVecEnv": steps_per_second(stock("lstm", DummyVecEnv), all_threads),
        "stock RecurrentPPO, LSTM, SubprocVecEnv": steps_per_second(stock("lstm", SubprocVecEnv), all_threads),
        "simulator alone, two threads": simulator_alone,
    }
    figures = alternate(contenders, arguments.rounds)
    reference = max((name for name in figures if "LSTM" in name), key=lambda name: statistics.median(figures[name]))
    alone = figures["simulator alone, two threads"]
    rows = [
        (
            name,
            f"{statistics.median(values):,.0f}",
            f"{median_ratio(values, figures[reference]):.2f}",
            f"{median_ratio(values, alone):.0%}",
        )
        for name, values in figures.items()
    ]
    table = markdown_table(("contender", "steps/s (median)", "times stock LSTM", "of the simulator alone"), rows)
    facts = machine()
    print(table)
    if not arguments.no_write:
        write_result("training", {"machine": facts, "rounds": arguments.rounds, "steps_per_second": figures})
        write_section(
            "training",
            f"### Training\n\n`python -m benchmarks.training --rounds {arguments.rounds}`\n\n{table}\n\n"
            f"{ENV}, {N_ENVS} environments × {N_STEPS} steps, 4 minibatches, {EPOCHS} epochs, no early stop, 25,000 "
            f"weights per network, {arguments.rounds} rounds; ratios are medians over rounds, against the faster LSTM. "
            f"Stock runs with torch's default threads. {describe(facts)}",
        )


if __name__ == "__main__":
    main()
