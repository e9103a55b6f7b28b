"""Evaluation of a policy over episodes whose seeds are given, and such episodes as they were played."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from agents.configuration import option_name
from agents.runs.normalization import ObservationNormalization
from envs import contract
from envs.episode import PlayedEpisode
from envs.vectorized.finite import all_finite, first_not_finite, refuse_observation, refuse_reward
from policies.refusal import OneLine
from policies.streams import say

EVALUATION_SEED = 1_000_000_000
"""Episode i of the evaluations during training is seeded EVALUATION_SEED + i; training seeds lie far below."""
FINAL_SEED = 1_500_000_000
"""Episode i of the evaluation that ends a training is seeded FINAL_SEED + i: episodes that chose nothing before."""
FRESH_SEED = 2_000_000_000
"""Episode i of an evaluation of its own is seeded FRESH_SEED + i: no training, nor its evaluations, has played it."""

LONGEST_EPISODE = 30_000
"""Steps after which an evaluation takes an episode for one that never ends, and counts what it has seen of it. The
longest of known benchmarks, Atari's, end after 27,000 (Machado et al. 2018, arXiv 1709.06009)."""


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
    """what else the environment reported of each episode, see `envs.task`; one entry per episode"""
    cut: int = 0
    """how many episodes were not over after `LONGEST_EPISODE` steps, and count as far as they went"""

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
        """Return the figures as plain numbers, for result files; `cut_episodes` is there if any were cut."""
        figures = {
            "episodes": len(self.returns),
            "mean_return": self.mean_return,
            "std_return": self.std_return,
            "success_rate": self.success_rate,
            "mean_length": float(self.lengths.mean()),
        } | {f"mean_{name}": float(values.mean()) for name, values in self.figures.items()}
        return figures | ({"cut_episodes": self.cut} if self.cut else {})

    def say_cut(self) -> None:
        """Say on standard error that episodes were cut, if any were, and what ends them."""
        if self.cut:
            line = (
                f"warning: {self.cut} of {len(self.returns)} episodes of an evaluation were not over after "
                f"{LONGEST_EPISODE:,} steps and count as far as they went: "
                "`env_arguments` max_episode_steps=N limits them"
            )
            say(OneLine(line).render(option_name))


def evaluate(
    policy: RecurrentPolicy,
    environments: VecEnv,
    *,
    episodes: int,
    first_seed: int,
    normalization: ObservationNormalization | None = None,
    deterministic: bool = True,
    figures: Sequence[str] = (),
) -> Evaluation:
    """Play episodes, see `play_episodes`, and report what the policy got.

    :param figures: entries of an episode's last info to report, where they are
    """
    started = time.perf_counter()
    played = play_episodes(
        policy,
        environments,
        episodes=episodes,
        first_seed=first_seed,
        normalization=normalization,
        deterministic=deterministic,
        keep=0,
    )
    seconds = time.perf_counter() - started
    infos = [episode.info for episode in played]
    has_success = any("is_success" in info for info in infos)
    return Evaluation(
        np.array([info["episode"]["r"] for info in infos], dtype=np.float64),
        np.array([info["episode"]["l"] for info in infos], dtype=np.int64),
        np.array([bool(info.get("is_success")) for info in infos]) if has_success else None,
        seconds,
        {
            name: np.array([info.get(name, 0.0) for info in infos], dtype=np.float64)
            for name in figures
            if any(name in info for info in infos)
        },
        sum(not episode.over for episode in played),
    )


def play_episodes(
    policy: RecurrentPolicy,
    environments: VecEnv,
    *,
    episodes: int,
    first_seed: int,
    normalization: ObservationNormalization | None = None,
    deterministic: bool = True,
    keep: int,
) -> list[PlayedEpisode]:
    """Run episodes seeded first_seed, first_seed + 1, …, as many at a time as there are environments.

    Every environment plays one episode and waits for the others, so that an episode depends on its seed alone and
    the mean is not biased towards short episodes. One that is not over after `LONGEST_EPISODE` steps ends there.

    Environments that have only so many different episodes say so as `distinct_episodes`: those of as many seeds in a
    row, whichever is the first. More are not played, since none counts twice.

    :param policy: the policy; its state starts at zero in every episode
    :param environments: environments that report the registered reward, not normalized
    :param normalization: applied to observations before the policy sees them
    :param keep: episodes whose observations and actions are kept, the first ones
    :return: the episodes in the order of their seeds
    :raises NotFinite: for a NaN or an infinity in one of them; the text names its seed and step
    """
    n = environments.num_envs
    episodes = min(episodes, getattr(environments, "distinct_episodes", episodes))
    played: dict[int, PlayedEpisode] = {}
    for first in range(0, episodes, n):
        environments.seed(first_seed + first)
        observations = environments.reset()
        running = np.arange(n) < episodes - first
        state = None
        episode_starts = np.ones(n, dtype=bool)
        steps = 0
        returns = np.zeros(n)
        infos: list[dict[str, Any]] = []
        seen: list[list[np.ndarray]] = [[] for _ in range(n)]
        done: list[list[np.ndarray]] = [[] for _ in range(n)]
        while running.any() and steps < LONGEST_EPISODE:
            assert isinstance(observations, np.ndarray)
            _check_observations(observations, running, first_seed + first, steps)
            steps += 1
            normalized = observations if normalization is None else normalization(observations)
            actions, state = policy.predict(normalized, state, episode_starts, deterministic=deterministic)
            for index in np.flatnonzero(running[: max(0, keep - first)]):
                seen[index].append(observations[index].copy())
                done[index].append(actions[index].copy())
            observations, rewards, dones, infos = environments.step(actions)
            episode_starts = dones
            returns += rewards
            if not all_finite(rewards[running]):
                bad, found = first_not_finite(np.where(running, rewards, 0.0))
                refuse_reward(_where(bad, first_seed + first, steps), found)
            for index in np.flatnonzero(running & dones):
                terminal = infos[index]["terminal_observation"]
                if not all_finite(terminal):
                    refuse_observation(_where(index, first_seed + first, steps), first_not_finite(terminal[None])[1])
                played[first + int(index)] = PlayedEpisode(np.array(seen[index]), np.array(done[index]), infos[index])
            running &= ~dones
        for index in np.flatnonzero(running):
            info = _seen_so_far(infos[index], float(returns[index]), steps)
            played[first + int(index)] = PlayedEpisode(np.array(seen[index]), np.array(done[index]), info, over=False)
    return [played[index] for index in range(episodes)]


def _check_observations(observations: np.ndarray, running: np.ndarray, first_seed: int, step: int) -> None:
    """Refuse what is not finite in an episode of the evaluation, and zero it in those that nobody asked for."""
    if all_finite(observations):
        return
    for index in np.flatnonzero(running):
        if not all_finite(observations[index]):
            refuse_observation(_where(index, first_seed, step), first_not_finite(observations[index][None])[1])
    observations[~running] = 0.0


def _where(index: int | np.integer, first_seed: int, step: int) -> str:
    return f"environment {index} (seed {first_seed + index}, episode 1, step {step})"


def _seen_so_far(info: Mapping[str, Any], total: float, steps: int) -> dict[str, Any]:
    """Return the info of an episode that is not over as one of its last step would be."""
    ours = contract.passed_on({name: info[name] for name in info if name not in contract.RESERVED}, last=True)
    if "is_success" not in ours and (success := contract.as_truth(ours.get("success"))) is not None:
        ours["is_success"] = success
    return {**ours, "episode": {"r": round(total, 6), "l": steps}}
