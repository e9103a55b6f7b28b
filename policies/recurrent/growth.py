"""How differences between states grow along a sequence, and the limit on it that a recurrent network is kept to.

Where they grow, a network's map is expanding: a rounding of one step is amplified by every later one, and after some
hundred steps the states depend on it alone. Neither the spectral radius nor the norm of the recurrent matrix
R = [[W_hh, W_hy], [W_yh, W_yy]] shows it: which units are silent decides, and with them the inputs. So the growth is
measured where it counts, along the sequences that the network has just seen. (An estimate of the largest Lyapunov
exponent by a second trajectory; Benettin et al. 1980, Meccanica 15.)
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from policies.recurrent.layer import SparseRecurrentLayer

GROWTH_LIMIT = 10.0
"""Largest factor by which a difference may grow along a sequence. Memory that never fades has a factor of about 1, and
what is amplified for some steps before it fades stays below this; what expands has factors of thousands."""
LOOP_BLOCKS = ("hh", "hy", "yy")
"""Every loop of the recurrence passes through one of these, so that scaling them down ends its growth; the outputs
go on reading what they read."""

_ATTEMPTS = 50
_DIFFERENCE = 1e-3
"""Size of the difference relative to the state: small beside it, and large beside a rounding."""


class Growth(NamedTuple):
    """What limiting a network's growth came to."""

    before: float
    """factor by which a difference grew along a sequence; infinite if the states did not stay finite"""
    scale: float
    """what the weights of `LOOP_BLOCKS` were multiplied by, 1 if nothing had to be done"""


def growth(layer: SparseRecurrentLayer, inputs: Tensor, state: Tensor, episode_starts: Tensor) -> tuple[float, int]:
    """Measure by which factor a small random difference between two states grows along sequences.

    The difference is made after the first step and measured at each sequence's last step before its state is reset.

    :param inputs: (T, B, n_x); along a single step nothing grows
    :param state: (B, n_h + n_y), before the first step
    :param episode_starts: (T, B), nonzero where the state is zeroed before the step
    :return: the largest factor of the B sequences, infinite where states are not finite, and over how many steps
    """
    T, B = inputs.shape[:2]
    if T < 2:
        return 0.0, 1
    with torch.no_grad():
        first = layer.step(inputs[0], state, episode_starts[0])
        directions = torch.randn(first.shape, generator=torch.Generator().manual_seed(0), dtype=first.dtype)
        directions = directions.to(first.device)
        size = _DIFFERENCE * (first.norm(dim=1, keepdim=True) + 1)
        moved = first + size * directions / directions.norm(dim=1, keepdim=True)
        both = layer(
            inputs[1:].repeat(1, 2, 1), torch.cat([first, moved]), episode_starts[1:].repeat(1, 2)
        ).states.double()
        distances = (both[:, B:] - both[:, :B]).norm(dim=2) / size.T
    starts = episode_starts[1:].bool()
    lengths = torch.where(starts.any(dim=0), starts.int().argmax(dim=0), T - 1)
    ends = distances[(lengths - 1).clamp(min=0), torch.arange(B, device=lengths.device)]
    ends = torch.where(lengths > 0, torch.nan_to_num(ends, nan=math.inf, posinf=math.inf), 0.0)
    at = int(ends.argmax())
    return float(ends[at]), max(int(lengths[at]), 1)


def limit_growth(layer: SparseRecurrentLayer, inputs: Tensor, state: Tensor, episode_starts: Tensor) -> Growth:
    """Scale a network's loops down, in place, until no difference grows beyond `GROWTH_LIMIT` along the sequences.

    A network within the limit is left as it is. Arguments as of `growth`.
    """
    before, scale = math.nan, 1.0
    for _ in range(_ATTEMPTS):
        factor, steps = growth(layer, inputs, state, episode_starts)
        before = factor if math.isnan(before) else before
        if factor <= GROWTH_LIMIT:
            break
        # The growth of a step falls as its loops are scaled; a little more, since other units fall silent.
        step = 0.99 * (GROWTH_LIMIT / factor) ** (1 / steps)
        step = max(step, 0.5)
        with torch.no_grad():
            for block in LOOP_BLOCKS:
                layer.weights[block].mul_(step)
        scale *= step
    return Growth(before, scale)
