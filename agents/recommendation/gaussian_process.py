"""A Gaussian process over trainings, as plain arrays: fitted by `fitting`.

The score of a network is a constant, plus a function of the network that all tasks share, plus a function of task and
network together. Both are smooth: networks alike come to much the same, on tasks alike all the more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from agents.recommendation.networks import N_FEATURES, N_NETWORK_FEATURES


@dataclass(frozen=True)
class GaussianProcess:
    """What the process expects, given trainings.

    :ivar rows: (n, features) float64, what is known of them, see `networks.features`
    :ivar weights: (n,) float64, what each counts for
    :ivar constant: (1,) float64, what is expected far from all of them
    :ivar variances: (2,) float64, of the shared function and of the one of task and network
    :ivar lengths: (3,) float64, distances over which they change: of networks in the first, of networks and of tasks
        in the second
    """

    rows: np.ndarray
    weights: np.ndarray
    constant: np.ndarray
    variances: np.ndarray
    lengths: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return what is expected, (m,) float64.

        :param rows: (m, features)
        """
        shared, together = smooth(*squared_distances(rows, self.rows), self.variances, self.lengths)
        return self.constant[0] + (shared + together) @ self.weights

    def arrays(self) -> dict[str, Any]:
        """Return all arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "GaussianProcess":
        """Return the process of `arrays`.

        :raises ValueError: if they are those of none
        """
        process = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        shapes = {
            "rows": (len(process.weights), N_FEATURES),
            "weights": (len(process.weights),),
            "constant": (1,),
            "variances": (2,),
            "lengths": (3,),
        }
        for name, shape in shapes.items():
            array = getattr(process, name)
            is_of_one = array.dtype == np.float64 and array.shape == shape and np.isfinite(array).all()
            if not is_of_one or (name == "lengths" and not (array > 0).all()):
                raise ValueError("the arrays are those of no Gaussian process")
        return process


def squared_distances(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return those of all pairs of rows, in the features of the network and in those of the task, (m, n) each."""
    network, task = slice(0, N_NETWORK_FEATURES), slice(N_NETWORK_FEATURES, None)
    of_networks, of_tasks = (cdist(one[:, part], other[:, part], "sqeuclidean") for part in (network, task))
    return of_networks, of_tasks


def smooth(
    networks: np.ndarray, tasks: np.ndarray, variances: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariances of the two functions, (m, n) each.

    :param networks: squared distances, (m, n), see `squared_distances`, as `tasks`
    :param variances: (2,), see `GaussianProcess`
    :param lengths: (3,)
    """
    first, second, of_tasks = 2 * lengths**2
    shared = variances[0] * np.exp(-networks / first)
    return shared, variances[1] * np.exp(-networks / second - tasks / of_tasks)
