"""Rollout and update of a Hammer training on one core and on two, and what more would do: python -m benchmarks.cores.

32 environments × 200 steps, minibatches of 8 sequences, 10 epochs, no early stop, 25,000 and 50,000 weights a network.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure as configure_logger

from agents.configuration import TrainingConfiguration, configure
from agents.training import build_algorithm, plan_training, torch_threads, training_environments
from benchmarks.harness import Finding, run_benchmark, tabulate

BUDGETS = (25_000, 50_000)
HAMMER: Mapping[str, Any] = {"reward": "progress", "n_envs": 32, "batch_size": 1600, "n_steps": 200, "target_kl": None}
SPREAD = {"rollout": 16, "update": 4}
"""Phase -> cores that can share its work."""

Seconds = dict[str, float]


class Phases(BaseCallback):
    """Takes the time at which rollouts begin and end."""

    begun = ended = 0.0

    def _on_rollout_start(self) -> None:
        self.begun = time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.ended = time.perf_counter()


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Let this thread, and those that it starts, use some cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        with torch_threads("cpu"):
            yield
    finally:
        os.sched_setaffinity(0, before)


def phases(settings: TrainingConfiguration, cores: set[int]) -> Callable[[], Seconds]:
    """Return a measurement: seconds of a rollout and of its update; the call made here warms up and is not counted."""
    with on_cores(cores):
        algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))
    algorithm.set_logger(configure_logger(None, []))

    def once() -> Seconds:
        clock = Phases()
        with on_cores(cores):
            algorithm.learn(settings.n_envs * settings.n_steps, clock, reset_num_timesteps=False)
        return {"rollout": clock.ended - clock.begun, "update": time.perf_counter() - clock.ended}

    once()
    return once


class Row(NamedTuple):
    """Seconds of a phase on one core and on two, medians over rounds."""

    budget: int
    phase: str
    one: float
    two: float

    @property
    def serial_share(self) -> float:
        """The share of the work that a second core does not help with, by Amdahl's law, from 0 to 1."""
        return min(1.0, max(0.0, 2 * self.two / self.one - 1))

    def forecast(self, cores: int) -> float:
        """Return the seconds that so many cores would take by Amdahl's law: a calculation."""
        share = self.serial_share
        return self.one * (share + (1 - share) / min(cores, SPREAD[self.phase]))


def measure(rounds: int) -> Finding:
    """Measure both networks on one core and on two, in turn.

    :raises SystemExit: where there are no two cores
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("two cores are needed")
    contenders = {
        (budget, count): phases(configure("AdroitHandHammer-v1", budget=budget, **HAMMER), set(cores[:count]))
        for budget in BUDGETS
        for count in (1, 2)
    }
    found: dict[tuple[int, int], list[Seconds]] = {key: [] for key in contenders}
    for turn in range(rounds):
        for key, contender in contenders.items():
            found[key].append(contender())
            print(f"  round {turn + 1}/{rounds}  {key}: {found[key][-1]}", flush=True)
    rows = [
        Row(budget, phase, *(median(seconds[phase] for seconds in found[budget, count]) for count in (1, 2)))
        for budget in BUDGETS
        for phase in SPREAD
    ]

    def calculated(cores: int) -> tuple[str, Callable[[Row], str]]:
        return f"calculated: {cores} cores (s)", lambda row: f"{row.forecast(cores):.2f}"

    table = tabulate(
        rows,
        ("weights", lambda row: f"{row.budget:,}"),
        ("phase", lambda row: row.phase),
        ("one core (s)", lambda row: f"{row.one:.2f}"),
        ("two cores (s)", lambda row: f"{row.two:.2f}"),
        ("times as fast", lambda row: f"{row.one / row.two:.2f}"),
        ("serial share", lambda row: f"{row.serial_share:.0%}"),
        *map(calculated, (4, 16)),
    )
    steps = HAMMER["n_envs"] * HAMMER["n_steps"]
    speeds = [
        f"{steps / sum(row.forecast(16) for row in rows if row.budget == budget):,.0f} steps with {budget:,} weights"
        for budget in BUDGETS
    ]
    notes = (
        f"AdroitHandHammer-v1, {HAMMER['n_envs']} environments × {HAMMER['n_steps']} steps, 4 minibatches, 10 epochs, "
        f"no early stop; medians over {rounds} rounds. Serial share: what a second core does not help with, by "
        "Amdahl's law. The last columns are no measurements: they follow from that share, environments spread over up "
        f"to {SPREAD['rollout']} cores and the jobs of the two networks over up to {SPREAD['update']}. Rollout and "
        f"update together that would be {' and '.join(speeds)} in a second on 16 cores."
    )
    raw = {f"{budget} weights, {count} cores": seconds for (budget, count), seconds in found.items()}
    return Finding({"seconds": raw}, [table, notes])


if __name__ == "__main__":
    run_benchmark("cores", "One core and two", __doc__, measure)
