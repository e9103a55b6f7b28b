"""Normalization of observations by fixed statistics, for evaluation, loading and export."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from envs.flattening import FlatBox
from policies.refusal import Refusal

CONSTANT = 1e-6
"""An entry whose standard deviation over all data is less than this is taken for constant, and not scaled."""


@dataclass(frozen=True)
class ObservationNormalization:
    """clip((observation − mean) / √(variance + epsilon), −clip, clip), as VecNormalize does it.

    mean and variance are float64 arrays of shape (n_x,).
    """

    mean: np.ndarray
    variance: np.ndarray
    clip: float
    epsilon: float

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Normalize (…, n_x) observations; returns float32."""
        scaled = (observations - self.mean) / np.sqrt(self.variance + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)

    @classmethod
    def of(cls, environments: VecNormalize) -> "ObservationNormalization":
        """Copy the statistics that a VecNormalize has gathered so far."""
        statistics = environments.obs_rms
        return cls(statistics.mean.copy(), statistics.var.copy(), environments.clip_obs, environments.epsilon)

    def to_json(self) -> str:
        """Write the statistics as JSON; numbers keep every bit."""
        return json.dumps(
            {"mean": self.mean.tolist(), "variance": self.variance.tolist(), "clip": self.clip, "epsilon": self.epsilon}
        )

    @classmethod
    def from_json(cls, text: str, n_inputs: int) -> "ObservationNormalization":
        """Read what `to_json` wrote.

        :raises Refusal: if the text is no such JSON, or its arrays are not (n_inputs,) finite numbers
        """
        try:
            entries: dict[str, Any] = json.loads(text)
            mean = np.asarray(entries["mean"], dtype=np.float64)
            variance = np.asarray(entries["variance"], dtype=np.float64)
            clip, epsilon = float(entries["clip"]), float(entries["epsilon"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Refusal(f"the normalization statistics are damaged: {error!r}") from None
        if mean.shape != (n_inputs,) or variance.shape != (n_inputs,):
            raise Refusal(f"the normalization statistics have shape {mean.shape}: ({n_inputs},) is needed")
        if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0).all()):
            raise Refusal("the normalization statistics hold a number that is not finite")
        if not (0 < clip < np.inf and 0 < epsilon < np.inf):
            raise Refusal("the normalization statistics hold a clip or epsilon that is no positive number")
        return cls(mean, variance, clip, epsilon)


def kept_entries(space: spaces.Space) -> np.ndarray:
    """Return (n_x,) bool, the entries of observations that are not normalized: zeros and ones that say which."""
    return space.discrete if isinstance(space, FlatBox) else np.zeros(space.shape or (), bool)


class PartialStatistics(RunningMeanStd):
    """Statistics for a VecNormalize that leave some entries as they are: of mean 0 and variance 1, whatever comes.

    :param kept: (n_x,) bool, those entries
    """

    def __init__(self, kept: np.ndarray) -> None:
        super().__init__(shape=kept.shape)
        self.kept = kept

    def update_from_moments(self, batch_mean: np.ndarray, batch_var: np.ndarray, batch_count: float) -> None:
        """Take in new data."""
        mean, variance = np.where(self.kept, 0.0, batch_mean), np.where(self.kept, 1.0, batch_var)
        super().update_from_moments(mean, variance, batch_count)


class FixedStatistics(RunningMeanStd):
    """Statistics for a VecNormalize that stay as they are.

    :param observations: (rows, n_x), the data they are taken from
    :param kept: (n_x,) bool, entries that have mean 0 and variance 1 instead (default: none)
    """

    def __init__(self, observations: np.ndarray, kept: np.ndarray | bool = False) -> None:
        super().__init__(shape=observations.shape[1:])
        self.mean = np.where(kept, 0.0, observations.mean(axis=0, dtype=np.float64))
        variance = observations.var(axis=0, dtype=np.float64)
        # Divided by next to nothing, the slightest deviation from a constant would be the largest input of all.
        self.var = np.where(kept | (variance < CONSTANT**2), 1.0, variance)
        self.count = len(observations)

    def update(self, arr: np.ndarray) -> None:
        """Ignore new data."""
