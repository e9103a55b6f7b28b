"""What weights that move cost a training: python -m benchmarks.rebalancing.

Processor time, of all threads, in one process: that of measuring and moving against that of everything else which the
same training does. What a move leaves to be laid out anew counts as its own. Memory: how far a fresh process grows in
updates with a move after each, against one whose weights stay.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from statistics import median
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import configure as make_logger
from torch import Tensor
from torch.optim import Optimizer

from agents.building import specification_of
from agents.configuration import TrainingConfiguration, configure
from agents.ppo.imitation import Demonstrations, ImitationLoss, fit
from agents.ppo.rebalancing import Moved, Rebalancing
from agents.ppo.rebalancing_callback import RebalancingCallback
from agents.ppo.sequence_ppo import SequencePPO
from agents.rebalancing_plan import rebalancings
from agents.training import build_algorithm, torch_threads, training_environments
from benchmarks.harness import MEGABYTE, Finding, in_new_process, megabytes, resident, run_benchmark, tabulate
from policies.recurrent.layer import SparseRecurrentLayer
from policies.sequence_policy import SequencePolicy

TASKS: Mapping[str, Mapping[str, Any]] = {
    "Random Anomaly, 100,000 weights": {"env": "RandomAnomaly-v0", "budget": 100_000},
    "Hammer, 50,000 weights": {"env": "AdroitHandHammer-v1", "budget": 50_000},
}
RULES = ("momentum", "magnitude")
EVERY = 10
FIT = "Hammer's demonstrations, 10,000 weights"
FIT_BUDGET, FIT_EPOCHS = 10_000, 4
DEMONSTRATIONS = 200, 450
"""Steps and episodes of a fit."""
HIDDEN_SIZES = (1_000, 10_000, 20_000)
"""Of networks whose memory is measured, of 100,000 weights."""


class TimedCallback(RebalancingCallback):
    """Measures its own processor time, and stops the training after one move."""

    seconds = 0.0
    last_step = 0

    def _on_step(self) -> bool:
        return self.num_timesteps <= self.last_step

    def _on_rollout_end(self) -> None:
        started = time.process_time()
        super()._on_rollout_end()
        self.seconds += time.process_time() - started

    def _on_rollout_start(self) -> None:
        started = time.process_time()
        super()._on_rollout_start()
        for layer in (self.model.policy.actor, self.model.policy.critic):
            lay_out(layer)
        self.seconds += time.process_time() - started


class TimedRebalancing(Rebalancing):
    """Measures its own processor time in a fit."""

    seconds = 0.0

    def step(
        self, policy: SequencePolicy, optimizer: Optimizer, progress: float, loss: Callable[[], Tensor]
    ) -> dict[str, Moved]:
        """Measure, move, and lay out what moved."""
        started = time.process_time()
        moved = super().step(policy, optimizer, progress, loss)
        lay_out(policy.actor)
        self.seconds += time.process_time() - started
        return moved


def lay_out(layer: SparseRecurrentLayer) -> None:
    """Lay out the matrices of a layer anew if something moved."""
    for matrix in layer.matrices():
        _ = matrix.by_row, matrix.by_column


@contextmanager
def learner(configuration: TrainingConfiguration) -> Iterator[SequencePPO]:
    """Give the learner of a configuration, on one thread."""
    with closing(training_environments(configuration)) as environments, torch_threads("cpu"):
        torch.manual_seed(0)
        specification = specification_of(configuration, environments.observation_space, environments.action_space)
        yield build_algorithm(configuration, specification, environments)


@contextmanager
def moving_soon(configuration: TrainingConfiguration) -> Iterator[tuple[SequencePPO, Rebalancing]]:
    """Give a training after its first rollout, which compiles and gives the optimizer its moments, and the rule."""
    _, rebalancing = rebalancings(configuration)
    assert rebalancing is not None
    with learner(configuration) as algorithm:
        algorithm.set_logger(make_logger(None, []))
        algorithm.learn(configuration.n_steps * configuration.n_envs)
        yield algorithm, rebalancing


def overhead(configuration: TrainingConfiguration) -> float:
    """Measure the share that moving adds to a training, over as many updates as one move is for."""
    with moving_soon(configuration) as (algorithm, rebalancing):
        callback = TimedCallback(rebalancing, every=EVERY)
        started = time.process_time()
        callback.last_step = (EVERY + 1) * configuration.n_steps * configuration.n_envs
        algorithm.learn(configuration.total_timesteps, callback=callback, reset_num_timesteps=False)
        return callback.seconds / (time.process_time() - started - callback.seconds)


def fit_overhead(rule: str) -> float:
    """Measure the share that moving adds to a fit, evaluations apart: noise in the shape of demonstrations will do."""
    configuration = configure(env="AdroitHandHammer-v1", budget=FIT_BUDGET, rebalance=rule, device="cpu")
    generator = np.random.default_rng(0)
    steps, episodes = DEMONSTRATIONS
    with learner(configuration) as algorithm:
        sizes = algorithm.observation_space.shape, algorithm.action_space.shape
        observations, actions = (generator.uniform(-1, 1, (steps, episodes, *size)).astype("f4") for size in sizes)
        shown = Demonstrations(observations, actions, np.full(episodes, steps), np.zeros(episodes))
        fitted = ImitationLoss(shown, None, algorithm.action_space, "cpu")
        few = ImitationLoss(shown.select(np.arange(4)), None, algorithm.action_space, "cpu", fitted.log_std)
        rebalancing = TimedRebalancing(rule, networks=("actor",))

        def fit_for(epochs: int, moving: Rebalancing | None) -> float:
            started = time.process_time()
            fit(
                algorithm.policy,
                fitted,
                few,
                epochs=epochs,
                learning_rate=1e-3,
                max_grad_norm=0.5,
                generator=generator,
                after_update=lambda: None,
                after_epoch=lambda point, epochs: None,
                progress=False,
                rebalancing=moving,
                rebalance_every=EVERY,
            )
            return time.process_time() - started

        fit_for(1, None)  # compiles
        whole = fit_for(FIT_EPOCHS, rebalancing)
        return rebalancing.seconds / (whole - rebalancing.seconds)


def growth(n_hidden: int, moving: bool) -> int | None:
    """Return the bytes that a process grows by at most in two updates, with a move after each or without.

    :return: None where there is no /proc to tell it
    """
    configuration = configure(
        env="RandomAnomaly-v0",
        budget=100_000,
        hidden_size=n_hidden,
        rebalance="momentum",
        rebalance_every=1,
        n_envs=1,
        n_steps=44,
        batch_size=44,
        n_epochs=1,
        device="cpu",
    )
    with moving_soon(configuration) as (algorithm, rebalancing):
        before = resident("VmRSS", reset_peak=True)
        callback = RebalancingCallback(rebalancing, every=1) if moving else None
        algorithm.learn(2 * configuration.n_steps, callback=callback, reset_num_timesteps=False)
        peak = resident("VmHWM")
    return None if before is None or peak is None else peak - before


def measure(rounds: int) -> Finding:
    """Measure every task and rule, and the memory of moves."""
    shares: dict[tuple[str, str], list[float]] = {}
    sizes = {}
    for turn in range(rounds):
        for task, options in TASKS.items():
            for rule in RULES:
                configuration = configure(
                    **options, rebalance=rule, rebalance_every=EVERY, device="cpu", reward="registered"
                )
                share = overhead(configuration)
                shares.setdefault((task, rule), []).append(share)
                sizes[task] = (configuration.n_envs, configuration.n_steps)
                print(f"  round {turn + 1}/{rounds}  {task}, {rule}: {share:.2%}", flush=True)
        for rule in RULES:
            shares.setdefault((FIT, rule), []).append(fit_overhead(rule))
            sizes[FIT] = DEMONSTRATIONS[::-1]
            print(f"  round {turn + 1}/{rounds}  {FIT}, {rule}: {shares[FIT, rule][-1]:.2%}", flush=True)
    table = tabulate(
        shares.items(),
        ("task", lambda item: item[0][0]),
        ("rule", lambda item: item[0][1]),
        ("environments × steps of a rollout, or episodes × steps", lambda item: "{} × {}".format(*sizes[item[0][0]])),
        ("added by moving (median)", lambda item: f"{median(item[1]):.1%}"),
        ("target", lambda _: "≤ 5%"),
    )
    memory = {n: {moving: in_new_process(growth, n, moving) for moving in (False, True)} for n in HIDDEN_SIZES}
    memory_table = tabulate(
        HIDDEN_SIZES,
        ("hidden units", lambda n: f"{n:,}"),
        ("MB that updates grow by", lambda n: megabytes(memory[n][False])),
        ("with moves", lambda n: megabytes(memory[n][True])),
        ("a float for each pair of units", lambda n: megabytes(4 * n * n)),
    )
    notes = (
        f"A move every {EVERY} updates, beside PPO of 30 % of both networks, the most there is; in a fit of "
        f"{FIT_EPOCHS} epochs of the actor's alone, as the share falls to zero; {rounds} rounds. "
        f"Memory: two updates of 44 steps of Random Anomaly (2,500 inputs), two networks of "
        f"100,000 weights, MB of {MEGABYTE:,} bytes; a move after each."
    )
    added = {f"{task}, {rule}": list(row) for (task, rule), row in shares.items()}
    grown = {str(n): {"still": own[False], "moving": own[True]} for n, own in memory.items()}
    return Finding({"added": added, "bytes": grown}, [table, memory_table, notes])


if __name__ == "__main__":
    run_benchmark("rebalancing", "Weights that move", __doc__, measure, rounds=3)
