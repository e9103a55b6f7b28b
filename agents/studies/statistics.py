"""What a handful of runs can say: intervals in place of bare means, and how much of the scores a model explains.

Interquartile mean, probability of improvement and percentile bootstrap are those of Agarwal et al., "Deep Reinforcement
Learning at the Edge of the Statistical Precipice", arXiv 2108.13264.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from agents.trained.intervals import CONFIDENCE, Interval

RESAMPLES = 2_000
"""Of statistics other than a mean, which take longer."""
FOLDS = 5
PARTITIONS = 20
"""Random partitions into folds that a cross-validated figure is the mean of."""


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half: the lowest and the highest quarter, rounded down, are left out."""
    return float(stats.trim_mean(scores, 0.25, axis=None))


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> float:
    """Return the probability that a run of the first scores above a run of the second; a tie counts half."""
    differences = np.asarray(scores)[:, None] - np.asarray(others)[None, :]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def resampled_interval(statistic: Callable[..., float], *samples: np.ndarray) -> Interval | None:
    """Return the 95 % percentile bootstrap interval of a statistic of one or several independent samples.

    :return: (low, high), or None if a sample has a single value, which says nothing about its spread
    """
    if any(len(sample) < 2 for sample in samples):
        return None
    generator = np.random.default_rng(0)
    values = [
        statistic(*(sample[generator.integers(len(sample), size=len(sample))] for sample in samples))
        for _ in range(RESAMPLES)
    ]
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def interval_over_clusters(statistic: Callable[..., float], *samples: Sequence[np.ndarray]) -> Interval | None:
    """Return the bootstrap interval of a statistic of one or several samples made of clusters, drawing whole clusters.

    Seeds of one configuration resemble each other, so configurations are what is drawn again.

    :param samples: each a list of clusters, the values of a configuration
    """

    def of_clusters(*chosen: np.ndarray) -> float:
        return statistic(
            *(
                np.concatenate([clusters[index] for index in indices])
                for clusters, indices in zip(samples, chosen, strict=True)
            )
        )

    return resampled_interval(of_clusters, *(np.arange(len(clusters)) for clusters in samples))


def cross_validated_r2(
    features: np.ndarray, scores: np.ndarray, configurations: Sequence[str], *, folds: int = FOLDS
) -> float | None:
    """Return the share of the scores' variance that a linear model explains in configurations it has not seen.

    R² = 1 − Σ (score − prediction)² / Σ (score − mean)², where the model and the mean both come from the other folds:
    0 is as good as their mean, and it is negative where the model misleads. The folds split configurations, so that
    all seeds of one lie in the same fold. The mean over `PARTITIONS` random partitions.

    :param features: (n, k), without a constant
    :param scores: (n,)
    :param configurations: (n,) configuration of each row
    :return: None if there are fewer than two configurations for each fold, too few in the other folds to fit k + 1
        coefficients, or if all scores are equal
    """
    features = np.asarray(features, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    names, rows = np.unique(np.asarray(configurations), return_inverse=True)
    smallest = len(names) - -(-len(names) // folds)
    if len(names) < 2 * folds or smallest < features.shape[1] + 2 or np.ptp(scores) == 0:
        return None
    generator = np.random.default_rng(0)
    values = []
    for _ in range(PARTITIONS):
        fold_of_configuration = np.empty(len(names), dtype=np.int64)
        fold_of_configuration[generator.permutation(len(names))] = np.arange(len(names)) % folds
        fold = fold_of_configuration[rows]
        missed = spread = 0.0
        for held_out in range(folds):
            test = fold == held_out
            prediction = _fit(features[~test], scores[~test])(features[test])
            missed += float(np.sum((scores[test] - prediction) ** 2))
            spread += float(np.sum((scores[test] - scores[~test].mean()) ** 2))
        values.append(1.0 - missed / spread)
    return float(np.mean(values))


def _fit(features: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit scores = constant + features · coefficients by least squares."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    # A feature that does not vary here gets no coefficient.
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1.0), scale, np.inf)
    coefficients, *_ = np.linalg.lstsq((features - mean) / scale, scores - scores.mean(), rcond=None)
    return lambda unseen: scores.mean() + (unseen - mean) / scale @ coefficients


def proportion_features(hidden_proportion: np.ndarray) -> np.ndarray:
    """Return p and p², (n, 2)."""
    p = np.asarray(hidden_proportion, dtype=np.float64)
    return np.stack([p, p**2], axis=1)


def size_features(n_hidden: np.ndarray, densities: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return log n_h and the densities of the blocks, (n, 1 + number of blocks)."""
    return np.stack([np.log(np.asarray(n_hidden, dtype=np.float64)), *densities.values()], axis=1)
