"""Steps per second of a whole training on AdroitHandHammer-v1: python -m benchmarks.training.

16 environments × 200 steps, 4 minibatches, 10 epochs, no early stop, 25,000 weights per network.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env as stock_vec_env
from stable_baselines3.common.logger import configure as configure_logger
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from agents.building import policy_recipe
from agents.configuration import TrainingConfiguration, configure
from agents.training import build_algorithm, plan_training, torch_threads, training_environments
from benchmarks.harness import Finding, alternate, median_ratio, run_benchmark, seconds, tabulate

ENV = "AdroitHandHammer-v1"
N_ENVS, N_STEPS, EPOCHS = 16, 200, 10
ROLLOUT = N_ENVS * N_STEPS
LOOP = {"n_steps": N_STEPS, "batch_size": ROLLOUT // 4, "n_epochs": EPOCHS}

SIMULATOR = "simulator alone, two threads"
PHYSICS = "mj_step alone, two threads"
ENVPOOL = "EnvPool's simulator alone, two threads"


def configuration(architecture: str) -> TrainingConfiguration:
    """Return the common settings of all contenders."""
    return configure(ENV, architecture=architecture, budget=25_000, n_envs=N_ENVS, target_kl=None, **LOOP)


def ours(settings: TrainingConfiguration, rollout: int = ROLLOUT) -> Callable[[], float]:
    """Return a measurement of the training that train.py does."""
    with torch_threads("cpu"):
        algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))
        return steps_per_second(algorithm, threads=1, rollout=rollout)


def steps_per_second(algorithm: RecurrentPPO, threads: int, rollout: int = ROLLOUT) -> Callable[[], float]:
    """Return a measurement: `rollout` steps and their updates; the first call warms up and is not counted."""
    algorithm.set_logger(configure_logger(None, []))

    def once() -> float:
        return rollout / seconds(lambda: algorithm.learn(rollout, reset_num_timesteps=False), threads=threads)

    once()
    return once


def registered_hammer() -> gymnasium.Env:
    """Make the environment as gymnasium-robotics registers it, in whatever process this is called."""
    import envs.adroit.robotics  # noqa: F401 registers it

    return gymnasium.make(ENV, disable_env_checker=True)


def stock(
    settings: TrainingConfiguration, make: Callable[[], gymnasium.Env], vec_env_class: type[VecEnv] = DummyVecEnv
) -> Callable[[], float]:
    """Return a measurement of sb3-contrib's RecurrentPPO on Stable-Baselines3's own environments.

    Monitor and VecNormalize are included, torch has its default threads. An LSTM is sb3-contrib's own policy.
    """
    policy_class, options = policy_recipe(settings, plan_training(settings))
    del options["optimizer_class"], options["optimizer_kwargs"]
    if settings.architecture == "lstm":
        del options["noise_correlation"]  # ours; the stock policy explores with white noise
    environments = VecNormalize(stock_vec_env(make, n_envs=settings.n_envs, seed=0, vec_env_cls=vec_env_class))
    algorithm = RecurrentPPO(
        "MlpLstmPolicy" if settings.architecture == "lstm" else policy_class,
        environments,
        settings.learning_rate,
        n_steps=settings.n_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.n_epochs,
        policy_kwargs=options,
        seed=0,
        device="cpu",
    )
    return steps_per_second(algorithm, torch.get_num_threads(), settings.n_envs * settings.n_steps)


def simulator_alone() -> float:
    """Step raw environments with random actions in two threads, and return steps per second."""
    environments = [registered_hammer().unwrapped for _ in range(N_ENVS)]
    for index, environment in enumerate(environments):
        environment.reset(seed=index)
    actions = np.random.default_rng(0).uniform(-1, 1, (N_STEPS, N_ENVS, 26)).astype(np.float32)
    figure = in_two_threads(lambda t, index: environments[index].step(actions[t, index]))
    for environment in environments:
        environment.close()
    return figure


def physics_alone() -> float:
    """Make the simulator's own call for a step, with random controls, and return steps per second."""
    environments: list[Any] = [registered_hammer().unwrapped for _ in range(N_ENVS)]
    for index, environment in enumerate(environments):
        environment.reset(seed=index)
    ranges = environments[0].model.actuator_ctrlrange
    drawn = np.random.default_rng(0).uniform(-1, 1, (N_STEPS, N_ENVS, 26))
    controls = ranges.mean(axis=1) + drawn * np.diff(ranges)[:, 0] / 2

    def step(t: int, index: int) -> None:
        environment = environments[index]
        environment.data.ctrl[:] = controls[t, index]
        mujoco.mj_step(environment.model, environment.data, nstep=environment.frame_skip)

    figure = in_two_threads(step)
    for environment in environments:
        environment.close()
    return figure


def envpool_alone() -> float:
    """Step EnvPool's own version of the environments with random actions, and return steps per second."""
    environments = import_module("envpool").make_gymnasium(ENV, num_envs=N_ENVS, num_threads=2, seed=0)
    environments.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (N_STEPS, N_ENVS, 26)).astype(np.float32)
    elapsed = seconds(lambda: [environments.step(drawn) for drawn in actions])
    environments.close()
    return ROLLOUT / elapsed


def in_two_threads(step: Callable[[int, int], object]) -> float:
    """Make every step of every environment, half of these in each of two threads, and return steps per second."""

    def work(share: range) -> None:
        for t in range(N_STEPS):
            for index in share:
                step(t, index)

    with ThreadPoolExecutor(2) as pool:
        elapsed = seconds(lambda: list(pool.map(work, (range(0, N_ENVS, 2), range(1, N_ENVS, 2)))))
    return ROLLOUT / elapsed


def measure(rounds: int) -> Finding:
    """Measure our training, the stock ones and the simulator, EnvPool's too where it is installed."""
    has_envpool = find_spec("envpool") is not None
    figures = alternate(
        {
            "this agent, p = 0.5": ours(configuration("varied")),
            "stock RecurrentPPO, our policy": stock(configuration("varied"), registered_hammer),
            "stock RecurrentPPO, LSTM, DummyVecEnv": stock(configuration("lstm"), registered_hammer),
            "stock RecurrentPPO, LSTM, SubprocVecEnv": stock(configuration("lstm"), registered_hammer, SubprocVecEnv),
            SIMULATOR: simulator_alone,
            PHYSICS: physics_alone,
            **({ENVPOOL: envpool_alone} if has_envpool else {}),
        },
        rounds,
    )
    lstm = max((name for name in figures if "LSTM" in name), key=lambda name: median(figures[name]))
    table = tabulate(
        figures,
        ("contender", lambda name: name),
        ("steps/s (median)", lambda name: f"{median(figures[name]):,.0f}"),
        ("times stock LSTM", lambda name: f"{median_ratio(figures[name], figures[lstm]):.2f}"),
        ("of the simulator alone", lambda name: f"{median_ratio(figures[name], figures[SIMULATOR]):.0%}"),
        ("of mj_step alone", lambda name: f"{median_ratio(figures[name], figures[PHYSICS]):.0%}"),
    )
    notes = (
        f"{ENV}, {N_ENVS} environments × {N_STEPS} steps, 4 minibatches, {EPOCHS} epochs, no early stop, 25,000 "
        f"weights per network, {rounds} rounds; ratios are medians over rounds, against the faster LSTM. "
        f"Stock runs with torch's default threads.{'' if has_envpool else ' EnvPool is not installed here.'}"
    )
    return Finding({"steps_per_second": figures}, [table, notes], packages=("envpool",) if has_envpool else ())


if __name__ == "__main__":
    run_benchmark("training", "Training", __doc__, measure)
