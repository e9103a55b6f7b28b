"""How good a trained policy is: its evaluation over fresh episodes, with intervals."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.errors import EvaluationStopped
from agents.evaluation import Evaluation, evaluate
from agents.trained.failures import explained_failures
from agents.trained.intervals import Interval, bootstrap_interval, wilson_interval
from agents.trained.policy import TrainedPolicy
from agents.training import evaluation_environments, torch_threads
from envs.contract import EnvironmentFailure
from envs.lookup import check_render_mode
from envs.rendering import check_display
from envs.task import task_of
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy


@dataclass(frozen=True)
class PolicyReport:
    """What a policy got, in the environment it was asked to act in."""

    policy: TrainedPolicy
    evaluation: Evaluation
    first_seed: int
    """episode i is seeded first_seed + i"""
    deterministic: bool

    @property
    def return_interval(self) -> Interval | None:
        """95 % interval of the mean return, by the bootstrap; None from a single episode."""
        return bootstrap_interval(self.evaluation.returns)

    @property
    def success_interval(self) -> Interval | None:
        """95 % interval of the success rate, Wilson's; None where the environment defines no success."""
        successes = self.evaluation.successes
        return None if successes is None else wilson_interval(int(successes.sum()), len(successes))

    @property
    def steps_per_second(self) -> float:
        """Environment steps of the episodes per second, all environments together."""
        return float(self.evaluation.lengths.sum() / self.evaluation.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts, lists and tables for JSON; numbers that are not finite are None."""
        entries: dict[str, Any] = {
            "policy": str(self.policy.source),
            "env": self.policy.env,
            "env_arguments": dict(self.policy.env_arguments),
            "wrappers": list(self.policy.wrappers),
            "seed": self.first_seed,
            "deterministic": self.deterministic,
            **self.evaluation.summary(),
            "mean_return_interval": self.return_interval,
            "success_rate_interval": self.success_interval,
            "steps_per_second": self.steps_per_second,
        }
        return {name: _plain(value) for name, value in entries.items()}

    def __str__(self) -> str:
        evaluation = self.evaluation
        n = len(evaluation.returns)
        actions = "" if self.deterministic else ", actions drawn at random"
        lines = [
            f"{self.policy.source} in {self.policy.env}: {n:,} episode{'s' * (n != 1)} from seed "
            f"{self.first_seed}{actions}",
            _line("mean return", f"{evaluation.mean_return:,.2f}", self.return_interval, ",.2f"),
            _line("standard deviation", f"{evaluation.std_return:,.2f}"),
        ]
        if evaluation.success_rate is not None:
            lines.append(
                _line(task_of(self.policy.env).score, f"{evaluation.success_rate:.1%}", self.success_interval, ".1%")
            )
        lines.append(_line("mean length", f"{evaluation.lengths.mean():,.1f} steps"))
        if evaluation.cut:
            lines.append(_line("cut episodes", f"{evaluation.cut:,}"))
        lines.append(_line("speed", f"{self.steps_per_second:,.0f} steps/s"))
        return "\n".join(lines)


def evaluate_policy(
    policy: TrainedPolicy, *, episodes: int, first_seed: int, deterministic: bool = True, watch: bool = False
) -> PolicyReport:
    """Play episodes seeded first_seed, first_seed + 1, …, many at a time.

    :param deterministic: take the likeliest action; otherwise actions are drawn, from a generator seeded first_seed
    :param watch: show the episodes in a window, one after the other; once it is closed, the rest is played unseen
    :raises EvaluationStopped: if an environment raises, or returns what does not fit or is not finite
    :raises Refusal: if a number does not fit, an ONNX policy is to draw actions, or there is no window to watch
    """
    arguments, side_by_side, vectorization = policy.env_arguments, episodes, policy.vectorization
    check_episodes(policy, episodes, first_seed, deterministic)
    if watch:
        check_render_mode(policy.env, policy.env_arguments, "human", policy.wrappers)
        check_display()
        arguments, side_by_side, vectorization = {**arguments, "render_mode": "human"}, 1, "serial"
    environments = evaluation_environments(policy.env, arguments, side_by_side, vectorization, policy.wrappers)
    with torch_threads("cpu"), torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*GLFW")  # it minds that a window was closed
        torch.manual_seed(first_seed)
        try:
            # Kernels are compiled when they are first called, which is no part of the speed.
            policy.parameters(np.zeros((1, environments.num_envs, *environments.observation_space.shape), np.float32))
            with explained_failures():
                evaluation = evaluate(
                    policy.policy,
                    environments,
                    episodes=episodes,
                    first_seed=first_seed,
                    normalization=policy.normalization,
                    deterministic=deterministic,
                    figures=task_of(policy.env).figures,
                )
        except EvaluationStopped as error:
            failure = error.__cause__
            at_first_reset = isinstance(failure, EnvironmentFailure) and (failure.episode, failure.step) == (1, 0)
            if watch and at_first_reset:  # which opens the window
                raise Refusal(f"`watch`: {policy.env} cannot be shown here: {error}") from failure
            raise
        finally:
            environments.close()
    evaluation.say_cut()
    return PolicyReport(policy, evaluation, first_seed, deterministic)


def check_episodes(
    policy: TrainedPolicy, episodes: int, first_seed: int, deterministic: bool, *, field: str = "episodes"
) -> None:
    """Refuse what cannot be played.

    :param field: what the number of episodes is called
    :raises Refusal: one line that names the field at fault
    """
    if episodes < 1:
        raise Refusal(f"`{field}` {episodes} does not fit: at least 1 is needed")
    if not 0 <= first_seed < 2**31:
        raise Refusal(f"`seed` {first_seed} does not fit: a whole number from 0 to {2**31 - 1} is needed")
    if not deterministic and not isinstance(policy.policy, SequencePolicy):
        raise Refusal(f"`stochastic` does not fit {policy.source}: an ONNX file holds no exploration noise")


def _line(name: str, value: str, interval: Interval | None = None, form: str = "") -> str:
    line = f"  {name:<20}{value:>12}"
    return line if interval is None else f"{line}   95 % interval {interval[0]:{form}} to {interval[1]:{form}}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
