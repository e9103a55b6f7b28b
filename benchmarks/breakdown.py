"""Where the processor time of a training goes, section by section: python -m benchmarks.breakdown.

Hammer with 25,000 and 50,000 weights in 32 environments, Random Anomaly with 100,000 weights, CartPole with 1,500.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.logger import configure as configure_logger
from stable_baselines3.common.vec_env import VecNormalize

from agents.configuration import TrainingConfiguration, configure
from agents.ppo import sequence_ppo
from agents.ppo.sequence_buffer import SequenceRolloutBuffer
from agents.ppo.sequence_ppo import SequencePPO
from agents.training import build_algorithm, plan_training, torch_threads, training_environments
from benchmarks.harness import Finding, run_benchmark, tabulate
from envs import contract
from envs.random_anomaly.batch import RandomAnomalyVecEnv
from envs.vectorized.batch import CheckedBatch
from envs.vectorized.finite import FiniteVecEnv
from envs.vectorized.threads import ThreadVecEnv
from policies.fused_adam import FusedAdam
from policies.recurrent import dense, kernels, threads
from policies.recurrent.layer import SparseRecurrentLayer
from policies.sequence_policy import SequencePolicy

HAMMER = {"reward": "progress", "n_envs": 32, "batch_size": 1600, "n_steps": 200, "target_kl": None}
SETTINGS = {
    "Hammer, 25,000": configure("AdroitHandHammer-v1", budget=25_000, **HAMMER),
    "Hammer, 50,000": configure("AdroitHandHammer-v1", budget=50_000, **HAMMER),
    "Random Anomaly, 100,000": configure("RandomAnomaly-v0", target_kl=None),
    "CartPole, 1,500": configure("CartPole-v1", target_kl=None),
}

Place = tuple[Any, str]
SECTIONS: dict[str, Sequence[Place]] = {
    "rollout: simulator": [
        (contract, "step"),
        (contract, "reset"),
        (CheckedBatch, "step_wait"),
        (RandomAnomalyVecEnv, "_draw"),
    ],
    "rollout: environments side by side": [(ThreadVecEnv, "step_wait"), (ThreadVecEnv, "_step_pending")],
    "rollout: finite, normalized": [(VecNormalize, "step_wait"), (FiniteVecEnv, "step_wait")],
    "rollout: networks' step": [(SparseRecurrentLayer, "step"), (SparseRecurrentLayer, "step_arrays")],
    "rollout: policy around it": [(SequencePolicy, "forward"), (SequencePolicy, "predict_values")],
    "rollout: buffer": [
        (SequenceRolloutBuffer, "add"),
        (SequenceRolloutBuffer, "compute_returns_and_advantage"),
    ],
    "rollout: loop of Stable-Baselines3": [(SequencePPO, "collect_rollouts")],
    "update: forward loop": [(kernels, "scan_sparse"), (kernels, "scan_dense")],
    "update: backward loop": [(kernels, "backpropagate_sparse"), (kernels, "backpropagate_dense")],
    "update: products of inputs": [(kernels, "multiply_sparse")],
    "update: gradients of weights": [(kernels, "gradient_sparse"), (dense, "_gather_gradient")],
    "update: other jobs, laying out": [(threads._Run, "work"), (kernels, "fill_dense")],
    "update: minibatches": [(SequenceRolloutBuffer, "_batch")],
    "update: loss": [(SequencePPO, "loss")],
    "update: backward around the loops": [(torch.Tensor, "backward")],
    "update: clipping": [(sequence_ppo, "clip_gradients")],
    "update: Adam": [(FusedAdam, "step"), (FusedAdam, "zero_grad")],
    "update: checks": [
        (sequence_ppo, "check_gradient"),
        (sequence_ppo, "check_rollout"),
        (sequence_ppo, "check_mismatch"),
    ],
    "update: growth": [(SequencePPO, "limit_growth")],
    "update: rest": [(SequencePPO, "train")],
    "rest": [(RecurrentPPO, "learn")],
}
"""Section -> the functions whose time it is, without that of functions of other sections that they call."""


SPREAD = {
    "rollout: simulator": 16,
    "rollout: environments side by side": 16,
    "update: forward loop": 4,
    "update: backward loop": 4,
    "update: products of inputs": 4,
    "update: gradients of weights": 4,
    "update: other jobs, laying out": 4,
}
"""Section -> cores that can share its work: environments, or the jobs of two networks. All others run on one."""


def forecast(figures: Mapping[str, float], cores: int) -> float:
    """Return the µs per step that so many cores would take if nothing were lost in sharing: a calculation."""
    return sum(value / min(cores, SPREAD.get(section, 1)) for section, value in figures.items())


class Sections:
    """Adds up processor time of all threads by section."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._local = threading.local()

    def timed(self, section: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that also adds its own time to a section."""

        def call(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(self._local, "inner", None)
            self._local.inner = 0.0
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.thread_time() - started
                with self._lock:
                    self.seconds[section] += elapsed - self._local.inner
                self._local.inner = None if outer is None else outer + elapsed

        return call


@contextmanager
def sections_timed() -> Iterator[Sections]:
    """Time the functions of all sections while this lasts."""
    sections = Sections()
    with ExitStack() as patches:
        for section, places in SECTIONS.items():
            for owner, name in places:
                patches.enter_context(patch.object(owner, name, sections.timed(section, getattr(owner, name))))
        yield sections


def microseconds(settings: TrainingConfiguration) -> Callable[[], dict[str, float]]:
    """Return a measurement: µs of processor time per environment step by section, over a rollout and its update."""
    rollout = settings.n_envs * settings.n_steps
    with torch_threads("cpu"):
        algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))
    algorithm.set_logger(configure_logger(None, []))

    def once() -> dict[str, float]:
        with torch_threads("cpu"), sections_timed() as sections:
            algorithm.learn(rollout, reset_num_timesteps=False)
        return {section: 1e6 * sections.seconds[section] / rollout for section in SECTIONS}

    once()
    return once


def measure(rounds: int) -> Finding:
    """Measure the sections of all settings."""
    contenders = {name: microseconds(settings) for name, settings in SETTINGS.items()}
    raw: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            raw[name].append(measure())
    medians = {
        name: {section: median(figures[section] for figures in found) for section in SECTIONS}
        for name, found in raw.items()
    }
    calculated = {f"calculated: {cores} cores": cores for cores in (2, 4, 16)}
    for figures in medians.values():
        forecasts = {name: forecast(figures, cores) for name, cores in calculated.items()}
        figures.update({"**sum**": sum(figures.values()), **forecasts})

    def column(name: str) -> tuple[str, Callable[[str], str]]:
        return name, lambda section: f"{medians[name][section]:.2f}"

    table = tabulate([*SECTIONS, "**sum**", *calculated], ("section", lambda section: section), *map(column, medians))
    notes = (
        "Microseconds of processor time per environment step, of all threads together, without what waits: so two "
        f"cores take half of it at best. Medians over {rounds} rollouts and their updates. Hammer: 32 environments × "
        "200 steps, minibatches of 8 sequences; the others: their presets. No early stop. The last rows are no "
        "measurements: simulators spread over up to 16 cores, the jobs of the two networks over up to 4, everything "
        "else on one, nothing lost in sharing."
    )
    return Finding({"microseconds": raw}, [table, notes])


if __name__ == "__main__":
    run_benchmark("breakdown", "Breakdown of a training", __doc__, measure)
