"""How differences between states grow along a sequence, and the limit on it that a recurrent network is kept to.

Where they grow, a network's map is expanding: a rounding of one step is amplified by every later one, and after some
hundred steps the states depend on it alone. Neither the spectral radius nor the norm of the recurrent matrix shows
it: which units are silent decides, and with them the inputs. So the growth is measured where it counts, along the
sequences that the network has just seen. (An estimate of the largest Lyapunov exponent by a second trajectory; Benettin
et al. 1980, Meccanica 15.)
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_BURST = 100.0
"""Largest factor by which a difference may be amplified for a while. What expands has factors of thousands."""
SETTLED = 100
"""After so many steps a difference may be no larger than it was; of memory that never fades it is as large."""
LARGEST_STATE = 10.0
"""The norm of a state up to which that holds. A rounding is in proportion to the state that is rounded, so along larger
states differences may be kept less, in inverse proportion: otherwise the roundings of a thousand steps add up to what
counts. Before `SETTLED` steps there are too few of them."""

_ATTEMPTS = 50
_DIFFERENCE = 1e-3
"""Size of the difference: small beside states, and large beside their roundings."""

Run = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A network over sequences: inputs (T, B, n_x), the state (B, n) before the first step and episode starts (T, B), all
zero, give what is compared of the states after each step, (T, B, k)."""


class Growth(NamedTuple):
    """What limiting a network's growth came to."""

    before: float
    """factor by which a difference grew, as `growth` measures it: more than 1 is beyond the limit"""
    scale: float
    """what the weights of its loops were multiplied by, 1 if nothing had to be done"""


def growth(run: Run, state_size: int, inputs: Tensor) -> float:
    """Measure by which factor a small random difference between two states grows along sequences, against the limit.

    :param run: the network
    :param state_size: n
    :param inputs: (T, B, n_x), of sequences that are not interrupted by a reset
    :return: the largest factor after `SETTLED` steps, times the largest state's norm over `LARGEST_STATE` where it is
        larger, or a hundredth of the largest factor before if that is more; infinite where states are not finite. More
        than 1 is beyond the limit
    """
    return _growth(run, state_size, inputs)[1]


def _growth(run: Run, state_size: int, inputs: Tensor) -> tuple[float, float]:
    """Return `growth` for states of any size, and as it is."""
    T, B = inputs.shape[:2]
    directions = torch.randn(B, state_size, generator=torch.Generator().manual_seed(0)).to(inputs)
    moved = _DIFFERENCE * directions / directions.norm(dim=1, keepdim=True)
    with torch.no_grad():
        states = torch.cat([torch.zeros_like(moved), moved])
        both = run(inputs.repeat(1, 2, 1), states, inputs.new_zeros(T, 2 * B)).double()
    factors = (both[:, B:] - both[:, :B]).norm(dim=2) / _DIFFERENCE
    factors[:SETTLED] /= LARGEST_BURST
    grown = _largest(factors)
    factors[SETTLED:] *= (both[:, :B].norm(dim=2).max() / LARGEST_STATE).clamp(min=1)
    return grown, _largest(factors)


def _largest(values: Tensor) -> float:
    return float(torch.nan_to_num(values, nan=math.inf, posinf=math.inf).max())


def limit_growth(run: Run, loops: Sequence[Tensor], state_size: int, inputs: Tensor) -> Growth:
    """Scale a network's loops down, in place, until no difference grows beyond the limit along the sequences.

    A network within the limit is left as it is.

    :param loops: weights such that every loop of the recurrence passes through one of them
    :param run: and the other arguments are those of `growth`
    """
    before, scale = math.nan, 1.0
    for _ in range(_ATTEMPTS):
        grown, factor = _growth(run, state_size, inputs)
        before = factor if math.isnan(before) else before
        if factor <= 1:
            break
        # The growth of a step falls as its loops are scaled; a little more, since other units may wake up. States that
        # are large because they grow, as differences do, are so no longer.
        by = max(0.99 * (grown if grown > 1 else factor) ** (-1 / len(inputs)), 0.5)
        with torch.no_grad():
            for weights in loops:
                weights.mul_(by)
        scale *= by
    return Growth(before, scale)
