"""Normalization of observations by fixed statistics, for evaluation, loading and export."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

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


class FixedStatistics(RunningMeanStd):
    """Statistics for a VecNormalize that stay as they are.

    :param observations: (rows, n_x), the data they are taken from
    """

    def __init__(self, observations: np.ndarray) -> None:
        super().__init__(shape=observations.shape[1:])
        self.mean = observations.mean(axis=0, dtype=np.float64)
        variance = observations.var(axis=0, dtype=np.float64)
        # Divided by next to nothing, the slightest deviation from a constant would be the largest input of all.
        self.var = np.where(variance < CONSTANT**2, 1.0, variance)
        self.count = len(observations)

    def update(self, arr: np.ndarray) -> None:
        """Ignore new data."""
