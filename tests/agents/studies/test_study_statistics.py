"""The statistics of the report on cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.reporting.statistics import probability_of_improvement
from agents.studies.statistics import (
    cross_validated_r2,
    interval_over_clusters,
    proportion_features,
    size_features,
)
from agents.trained.intervals import bootstrap_interval

SCORES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12).map(np.array)


@settings(max_examples=10)
@given(SCORES)
def test_interval_lies_within_the_scores_and_is_repeatable(scores: np.ndarray) -> None:
    interval = bootstrap_interval(scores)
    if len(scores) == 1:
        assert interval is None
        return
    assert interval is not None
    slack = 1e-9 * (1 + np.abs(scores).max())
    assert scores.min() - slack <= interval[0] <= interval[1] <= scores.max() + slack
    assert bootstrap_interval(scores) == interval


def test_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    scores = np.random.default_rng(0).normal(2.0, 1.0, 400)
    low, high = bootstrap_interval(scores) or (0, 0)
    half = 1.96 * scores.std() / 20
    assert low == pytest.approx(scores.mean() - half, abs=0.02)
    assert high == pytest.approx(scores.mean() + half, abs=0.02)


def test_two_runs_by_hand() -> None:
    # Of two values, the mean of two draws is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval(np.array([0.0, 1.0])) == (0.0, 1.0)
    assert bootstrap_interval(np.array([2.0, 3.0]), np.array([0.0, 1.0]), statistic=probability_of_improvement) == (
        1.0,
        1.0,
    )


def test_clusters_are_drawn_whole() -> None:
    # Two configurations whose seeds agree: with seeds drawn one by one the mean could be anything between.
    clusters = [np.zeros(50), np.ones(50)]
    assert interval_over_clusters(np.mean, clusters) == (0.0, 1.0)
    narrow = bootstrap_interval(np.concatenate(clusters))
    assert narrow is not None
    assert 0.3 < narrow[0] < narrow[1] < 0.7
    assert interval_over_clusters(np.mean, clusters[:1]) is None
    assert interval_over_clusters(probability_of_improvement, clusters, clusters) == (0.0, 1.0)


def names(n: int, seeds: int = 1) -> list[str]:
    return [f"c{index:03d}" for index in range(n) for _ in range(seeds)]


def test_r2_of_an_exact_law_is_one() -> None:
    p = np.linspace(0.02, 0.9, 25)
    assert cross_validated_r2(proportion_features(p), 3 + 2 * p - 5 * p**2, names(25)) == pytest.approx(1.0)


def test_r2_of_noise_is_not_positive() -> None:
    generator = np.random.default_rng(0)
    p, scores = generator.uniform(0, 1, 60), generator.normal(size=60)
    value = cross_validated_r2(proportion_features(p), scores, names(60))
    assert value is not None
    assert -0.3 < value < 0.05


def test_r2_by_hand() -> None:
    # Ten configurations, each in two kinds; the feature tells the kinds apart, the noise within a kind is ±1. With
    # the line through the kinds' means, the residuals are about ±1 and the deviations from the mean ±9 or ±11.
    kind = np.repeat([0.0, 1.0], 50)
    scores = 20 * kind + np.tile([1.0, -1.0], 50)
    value = cross_validated_r2(kind[:, None], scores, names(100))
    assert value == pytest.approx(1 - 1 / 101, abs=0.002)


def test_seeds_of_one_configuration_stay_together() -> None:
    # Scores that depend on nothing but the configuration: a model that sees other seeds of it could know them.
    generator = np.random.default_rng(1)
    scores = np.repeat(generator.normal(size=20), 5)
    which = np.repeat(np.eye(20)[:, :10] * 1.0, 5, axis=0)
    value = cross_validated_r2(which, scores, names(20, 5))
    assert value is not None
    assert value < 0.1
    alone = cross_validated_r2(which, scores, names(100))
    assert alone is not None
    assert alone > 0.3


def test_r2_needs_enough_configurations() -> None:
    p = np.linspace(0.1, 0.9, 9)
    assert cross_validated_r2(proportion_features(p), p, names(9)) is None
    assert cross_validated_r2(np.zeros((10, 7)), np.arange(10.0), names(10)) is None
    assert cross_validated_r2(np.zeros((30, 1)), np.ones(30), names(30)) is None


def test_a_feature_that_does_not_vary_does_no_harm() -> None:
    p = np.linspace(0.02, 0.9, 25)
    features = np.column_stack([proportion_features(p), np.full(25, 0.3)])
    assert cross_validated_r2(features, p**2, names(25)) == pytest.approx(1.0)


def test_size_features() -> None:
    features = size_features(np.array([1, 10]), {"hh": np.array([0.1, 0.2]), "hx": np.array([0.3, 0.4])})
    np.testing.assert_allclose(features, [[0, 0.1, 0.3], [np.log(10), 0.2, 0.4]])
