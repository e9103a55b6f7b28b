"""What the runs of many configurations can say: intervals over configurations, and how much of the scores a model
explains."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from agents.trained.intervals import Interval, bootstrap_interval

CLUSTER_RESAMPLES = 2_000
"""Fewer than of single values, which are resampled all together."""
FOLDS = 5
PARTITIONS = 20
"""Random partitions into folds that a cross-validated figure is the mean of."""


def interval_over_clusters(statistic: Callable[..., np.ndarray], *samples: Sequence[np.ndarray]) -> Interval | None:
    """Return the bootstrap interval of a statistic of one or several samples made of clusters, drawing whole clusters.

    Seeds of one configuration resemble each other, so configurations are what is drawn again.

    :param samples: each a list of clusters, the values of a configuration
    """

    def of_clusters(*chosen: np.ndarray) -> np.ndarray:
        return statistic(
            *(
                np.concatenate([clusters[int(index)] for index in indices])
                for clusters, indices in zip(samples, chosen, strict=True)
            )
        )

    numbers = (np.arange(len(clusters)) for clusters in samples)
    return bootstrap_interval(*numbers, statistic=of_clusters, resamples=CLUSTER_RESAMPLES)


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
    names, rows = np.unique(np.asarray(configurations), return_inverse=True)
    smallest = len(names) - -(-len(names) // folds)
    if len(names) < 2 * folds or smallest < features.shape[1] + 2 or np.ptp(scores) == 0:
        return None
    generator = np.random.default_rng(0)
    values = []
    for _ in range(PARTITIONS):
        # A configuration's place in a random order decides its fold.
        split = PredefinedSplit((np.argsort(generator.permutation(len(names))) % folds)[rows])
        missed, spread = (
            np.sum((scores - cross_val_predict(model, features, scores, cv=split)) ** 2)
            for model in (LinearRegression(), DummyRegressor())
        )
        values.append(1.0 - missed / spread)
    return float(np.mean(values))


def proportion_features(hidden_proportion: np.ndarray) -> np.ndarray:
    """Return p and p², (n, 2)."""
    p = np.asarray(hidden_proportion, dtype=np.float64)
    return np.stack([p, p**2], axis=1)


def size_features(n_hidden: np.ndarray, densities: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return log n_h and the densities of the blocks, (n, 1 + number of blocks)."""
    return np.stack([np.log(np.asarray(n_hidden, dtype=np.float64)), *densities.values()], axis=1)
