"""Initial values of the weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from policies.network.specification import BLOCKS, NetworkSpecification
from policies.refusal import Refusal

DEFAULT_GAIN = 0.95
INPUT_GAIN = 1.0
OUTPUT_GAIN = 0.05

_ATTEMPTS = 100
_STATES = 16
_STEPS = 50


@dataclass(frozen=True)
class Initialization:
    """How initial weights are drawn, as parsed from `--init`.

    `scaled`: zero-mean normal with standard deviation gain / sqrt(mean weights per row of the block). With a gain of
    W_hh below 1 states neither explode nor die; hidden blocks of which some state would still grow from step to step,
    as small ones sometimes would, are drawn again. The gains of the blocks into `y` are small, so that the first
    outputs are near zero. `normal`: one standard deviation for all weights (`normal:0.05` in Hershey & Paffenroth,
    arXiv 2509.15057).

    :param kind: "scaled" or "normal"
    :param value: the gain of W_hh for scaled, the standard deviation for normal
    """

    kind: str
    value: float

    def draw(
        self,
        specification: NetworkSpecification,
        patterns: Mapping[str, NDArray[np.int64]],
        seed: int | np.random.Generator,
    ) -> dict[str, NDArray[np.float64]]:
        """Draw every block's weights.

        :param patterns: block -> flat row-major positions of its weights
        :param seed: seed, or a generator, which is advanced
        :return: block -> float64 of length `specification.weights[block]`
        """
        rng = np.random.default_rng(seed)
        weights = {}
        for block in BLOCKS:
            deviation, count = self.standard_deviation(specification, block), specification.weights[block]
            values = rng.normal(0.0, deviation, count)
            if self.kind == "scaled" and block == "hh" and self.value < 1:
                for _ in range(_ATTEMPTS):
                    # With few weights per row a single large one may close a loop.
                    values = values.clip(-self.value, self.value)
                    if not _grows(patterns[block], values, specification.n_hidden, rng):
                        break
                    values = rng.normal(0.0, deviation, count)
            weights[block] = values
        return weights

    def standard_deviation(self, specification: NetworkSpecification, block: str) -> float:
        """Return the standard deviation of one block's weights."""
        if self.kind == "normal":
            return self.value
        gain = OUTPUT_GAIN if block[0] == "y" else self.value if block == "hh" else INPUT_GAIN
        per_row = specification.weights[block] / specification.shape(block)[0]
        return gain / max(per_row, 1.0) ** 0.5


def parse_initialization(text: str) -> Initialization:
    """Parse `scaled`, `scaled:GAIN` (gain of W_hh) or `normal:STD`.

    :raises Refusal: for any other text, and numbers that are not positive and finite
    """
    kind, colon, number = text.partition(":")
    if text == "scaled":
        return Initialization("scaled", DEFAULT_GAIN)
    if kind not in ("scaled", "normal") or not colon:
        raise Refusal(f"`init` {text!r} is unknown: scaled, scaled:GAIN or normal:STD is needed")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise Refusal(f"`init` {text!r}: a positive number is needed after the colon, such as {kind}:0.05")
    return Initialization(kind, value)


def _grows(positions: NDArray[np.int64], values: NDArray[np.float64], n_hidden: int, rng: np.random.Generator) -> bool:
    """Tell whether ReLU units with these weights and no inputs grow from random states; small blocks sometimes do."""
    matrix = csr_array((values, np.divmod(positions, n_hidden)), shape=(n_hidden, n_hidden))
    states = rng.random((n_hidden, _STATES))
    for _ in range(_STEPS):
        states = np.maximum(matrix @ states, 0.0)
    return bool((np.linalg.norm(states, axis=0) > np.sqrt(n_hidden)).any())
