"""Evaluation of a policy over episodes whose seeds are given."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from agents.runs.normalization import ObservationNormalization
from policies.refusal import Refusal

EVALUATION_SEED = 1_000_000_000
"""Episode i of the evaluations during training is seeded EVALUATION_SEED + i; training seeds lie far below."""
FINAL_SEED = 1_500_000_000
"""Episode i of the evaluation that ends a training is seeded FINAL_SEED + i: episodes that chose nothing before."""
FRESH_SEED = 2_000_000_000
"""Episode i of an evaluation of its own is seeded FRESH_SEED + i: no training, nor its evaluations, has played it."""

EPISODE_FIGURES = ("lifted",)
"""Entries of an episode's last info that are reported beside the return, where an environment gives them: of the hammer
task the share of the steps with the hammer lifted."""

LONGEST_EPISODE = 100_000
"""Steps after which an evaluation takes an episode for one that never ends."""


class RecurrentPolicy(Protocol):
    """What acts: a Stable-Baselines3 policy, or anything that is called like one."""

    def predict(
        self, observation: np.ndarray, state: Any, episode_start: np.ndarray, deterministic: bool = ...
    ) -> tuple[np.ndarray, Any]:
        """Choose the actions of B environments.

        :param observation: (B, n_x)
        :param state: what the last call returned; None before the first
        :param episode_start: (B,), true where the state is zeroed before the step
        :return: (B, …) actions, and the state to pass on
        """


@dataclass(frozen=True)
class Evaluation:
    """What a policy got; one entry per episode, in the order of their seeds."""

    returns: np.ndarray
    """undiscounted sum of the registered rewards"""
    lengths: np.ndarray
    """environment steps"""
    successes: np.ndarray | None
    """bool, or None where the environment defines no success"""
    seconds: float
    figures: Mapping[str, np.ndarray] = field(default_factory=dict)
    """of `EPISODE_FIGURES` those that the environment reports, one entry per episode"""

    @property
    def mean_return(self) -> float:
        """Mean return over the episodes."""
        return float(self.returns.mean())

    @property
    def std_return(self) -> float:
        """Standard deviation of the return over the episodes."""
        return float(self.returns.std())

    @property
    def success_rate(self) -> float | None:
        """Share of the episodes that succeeded, if the environment defines success."""
        return None if self.successes is None else float(self.successes.mean())

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain numbers, for result files."""
        return {
            "episodes": len(self.returns),
            "mean_return": self.mean_return,
            "std_return": self.std_return,
            "success_rate": self.success_rate,
            "mean_length": float(self.lengths.mean()),
        } | {f"mean_{name}": float(values.mean()) for name, values in self.figures.items()}


def evaluate(
    policy: RecurrentPolicy,
    environments: VecEnv,
    *,
    episodes: int,
    first_seed: int,
    normalization: ObservationNormalization | None = None,
    deterministic: bool = True,
) -> Evaluation:
    """Run episodes seeded first_seed, first_seed + 1, …, as many at a time as there are environments.

    Every environment plays one episode and waits for the others, so that an episode depends on its seed alone and
    the mean is not biased towards short episodes.

    :param policy: the policy; its state starts at zero in every episode
    :param environments: environments that report the registered reward, not normalized
    :param normalization: applied to observations before the policy sees them
    """
    n = environments.num_envs
    returns = np.zeros(episodes)
    lengths = np.zeros(episodes, dtype=np.int64)
    successes: list[bool] = [False] * episodes
    has_success = False
    figures: dict[str, np.ndarray] = {}
    started = time.perf_counter()
    for first in range(0, episodes, n):
        environments.seed(first_seed + first)
        observations = environments.reset()
        running = np.arange(n) < episodes - first
        state = None
        episode_starts = np.ones(n, dtype=bool)
        steps = 0
        while running.any():
            check_length(steps)
            steps += 1
            assert isinstance(observations, np.ndarray)
            seen = observations if normalization is None else normalization(observations)
            actions, state = policy.predict(seen, state, episode_starts, deterministic=deterministic)
            observations, _, dones, infos = environments.step(actions)
            episode_starts = dones
            for index in np.flatnonzero(running & dones):
                info = infos[index]
                returns[first + index] = info["episode"]["r"]
                lengths[first + index] = info["episode"]["l"]
                if "is_success" in info:
                    has_success = True
                    successes[first + index] = bool(info["is_success"])
                for name in EPISODE_FIGURES:
                    if name in info:
                        figures.setdefault(name, np.zeros(episodes))[first + index] = info[name]
            running &= ~dones
    seconds = time.perf_counter() - started
    return Evaluation(returns, lengths, np.array(successes) if has_success else None, seconds, figures)


def check_length(steps: int) -> None:
    """Give up an episode that never ends.

    :raises Refusal: after `LONGEST_EPISODE` steps
    """
    if steps == LONGEST_EPISODE:
        raise Refusal(
            f"an episode of the evaluation is not over after {steps:,} steps: "
            "`env_arguments` max_episode_steps=N is needed"
        )
