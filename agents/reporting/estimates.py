"""A figure with its interval, and how both are written."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import stats

from agents.trained.intervals import CONFIDENCE, Interval, bootstrap_interval, wilson_interval


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval; None where a single run or configuration says nothing about it."""

    value: float
    interval: Interval | None

    @classmethod
    def of(cls, statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> Self:
        """Return a statistic of independent samples, each drawn from by itself."""
        return cls(float(statistic(*samples)), bootstrap_interval(*samples, statistic=statistic))

    def __str__(self) -> str:
        if self.interval is None:
            return number(self.value)
        return f"{number(self.value)} ({number(self.interval[0])} to {number(self.interval[1])})"


def interval_of_mean(scores: np.ndarray, final: Mapping[str, Any]) -> Interval | None:
    """Return the 95 % interval of a mean score: over runs, by the bootstrap; of a single run over its episodes.

    :param scores: (n,) of the runs, returns or success rates
    :param final: the figures of the first run's final evaluation
    :return: None of a single run whose score has no known spread
    """
    if len(scores) > 1:
        return bootstrap_interval(scores)
    (score,), episodes = scores.tolist(), final["episodes"]
    if score == final.get("success_rate"):
        return wilson_interval(round(score * episodes), episodes)
    if score != final["mean_return"]:
        return None
    # Of norm.interval a deviation of 0, which episodes of the highest return have, would make NaN.
    margin = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * final["std_return"] / math.sqrt(episodes)
    return score - margin, score + margin


def number(value: float) -> str:
    """Write a score with three significant digits, whole numbers from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
