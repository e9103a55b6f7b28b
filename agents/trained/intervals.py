"""Confidence intervals of what an evaluation measures."""

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000

Interval = tuple[float, float]


def bootstrap_interval(
    *samples: np.ndarray, statistic: Callable[..., np.ndarray] = np.mean, resamples: int = RESAMPLES
) -> Interval | None:
    """Return the percentile bootstrap interval of a mean or another statistic: 95 %, always the same resamples.

    The percentiles need no assumption about the distribution of returns, which is rarely normal, and are defined where
    all values are equal, unlike the bias-corrected ones (Efron & Tibshirani 1993, chapter 13).

    :param samples: (n,) independent values each, of as many populations as the statistic has arguments
    :param statistic: of samples; with a parameter `axis` it takes many resamples, (..., n), at once
    :return: lower and upper end; None if a sample has fewer than two values, which say nothing about its spread, or
        values that are not finite
    """
    if any(len(values) < 2 or not np.isfinite(values).all() for values in samples):
        return None
    sizes = [len(values) for values in samples]
    result = stats.bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // min(math.prod(sizes), sum(sizes) ** 2)),  # those in memory together
        paired=False,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def wilson_interval(successes: int, n: int) -> Interval:
    """Return Wilson's 95 % score interval of a share (Wilson 1927, JASA 22).

    Unlike the bootstrap's, it has a width where all n succeed or none: 100 of 100 is 0.963 to 1.

    :param n: at least 1
    """
    interval = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
