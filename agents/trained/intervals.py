"""Confidence intervals of what an evaluation measures."""

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000

Interval = tuple[float, float]


def bootstrap_interval(values: np.ndarray) -> Interval | None:
    """Return the percentile bootstrap interval of a mean: 95 %, 10,000 resamples, always the same ones.

    The percentiles need no assumption about the distribution of returns, which is rarely normal, and are defined where
    all values are equal, unlike the bias-corrected ones (Efron & Tibshirani 1993, chapter 13).

    :param values: (n,) independent values
    :return: lower and upper end; None for fewer than two values or values that are not finite
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(values)),  # resamples that are held in memory together
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
