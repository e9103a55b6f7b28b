"""Moving weights of a policy's sparse networks while it learns, at a fixed number of them.

By `rule`, what is removed and where weights are grown; `shares` decide between blocks:

| rule | removed | share of a block | grown in it | scope network is | scope block is |
| --- | --- | --- | --- | --- | --- |
| momentum | smallest weights | mean of Adam's momentum over its deviation | largest gradient | SNFS | RigL |
| magnitude | smallest weights | mean size of the weights | at random | SNFS by magnitude | SET |
| random | at random | free positions | at random | a control | a control |

SNFS is Dettmers and Zettlemoyer 2019 (arXiv 1907.04840), RigL Evci et al. 2020 (arXiv 1911.11134), SET Mocanu et al.
2018 (arXiv 1707.04780). SNFS keeps a momentum of every position that has no weight; here the gradient is taken, once,
at random candidates, so that nothing is of a matrix's size.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from policies.network.blocks import PATTERNS
from policies.network.patterns import draw_positions
from policies.network.rebalancing import (
    Candidates,
    check_free_positions,
    growth_counts,
    rebalanced,
    removal_counts,
    unconnected_units,
)
from policies.network.specification import BLOCKS, check_networks
from policies.recurrent.layer import SparseRecurrentLayer
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy

RULES = ("momentum", "magnitude", "random")
SCOPES = ("network", "block")
INITIAL_VALUES = ("zero", "scaled")

CANDIDATES = 3
"""So many positions are looked at for each weight that is to be grown, as far as there are free ones."""
_KEEPS_COUNT: Mapping[str, frozenset[str]] = {"critic": frozenset({"yx", "yh", "yy"})}
"""Blocks that are full by design, see `policies.network.specification.specify_critic`."""
_SMALLEST = math.sqrt(torch.finfo(torch.float32).tiny)
"""The square of a smaller gradient is lost."""


class Moved(NamedTuple):
    """What a move came to in one network."""

    weights: int
    """how many lie elsewhere now"""
    revived: int
    """hidden units that the removal left without a weight from elsewhere or to elsewhere, and that have both now"""
    unconnected: int
    """hidden units that are without one still"""


@dataclass
class Rebalancing:
    """Moves weights of sparse networks. Between two moves the optimizer has to be the same.

    :param rule: "momentum" (needs an optimizer with Adam's two moments), "magnitude" or "random"
    :param networks: which of "actor" and "critic"
    :param scope: "network": weights move between blocks, and the hidden proportion with them; "block": within blocks
    :param fraction: of a network's weights that are removed at the beginning; falls as a half cosine to zero
    :param until: share of the training after which nothing moves
    :param initial: values of grown weights: "zero", or "scaled": normal, with the block's own root mean square
    :param pinned: blocks of the actor that keep their number of weights
    :param seed: of candidates and of everything that is drawn
    :raises Refusal: for a value that does not fit
    """

    rule: str
    networks: tuple[str, ...] = ("actor", "critic")
    scope: str = "network"
    fraction: float = 0.3
    until: float = 0.75
    initial: str = "zero"
    pinned: frozenset[str] = frozenset()
    seed: int | list[int] = 0
    generator: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("rebalance", self.rule, RULES),
            ("rebalance_scope", self.scope, SCOPES),
            ("rebalance_init", self.initial, INITIAL_VALUES),
        ):
            if value not in known:
                raise Refusal(f"`{name}` {value!r} is unknown: one of {', '.join(known)} is needed")
        check_networks("networks", self.networks)
        if unknown := set(self.pinned) - set(BLOCKS):
            raise Refusal(f"`pinned` {sorted(unknown)[0]!r} is unknown: blocks of {', '.join(BLOCKS)} are needed")
        for name, share in (("rebalance_fraction", self.fraction), ("rebalance_until", self.until)):
            if not 0 < share <= 1:
                raise Refusal(f"`{name}` {share} does not fit: a number above 0, at most 1, is needed")
        self.generator = np.random.default_rng(self.seed)

    def fraction_at(self, progress: float) -> float:
        """Return the fraction of the weights to remove after a share of the training."""
        return self.fraction * (1 + math.cos(math.pi * min(1.0, progress / self.until))) / 2

    def moves(self, updates: float, every: int) -> int:
        """Return how often weights move in a training of so many updates, with so many from one move to the next."""
        return max(0, math.ceil(self.until * updates / every) - 1)

    def check(self, policy: SequencePolicy, optimizer: Optimizer) -> None:
        """Refuse a policy in which weights cannot move, or an optimizer that the rule cannot do with.

        :raises Refusal: one line that says which, and what would fit
        """
        for name in self.networks:
            layer = _layer(policy, name)
            if layer.pattern != PATTERNS[0]:
                raise Refusal(
                    f"`rebalance` {self.rule} does not fit `pattern` {layer.pattern} of the {name}: weights move one "
                    "by one, out of the groups of rows that share their columns"
                )
            check_free_positions(layer.specification, name)
        if self.rule == "momentum" and not isinstance(optimizer, (Adam, AdamW)):
            raise Refusal(f"`rebalance` momentum needs Adam's moments, which {type(optimizer).__name__} does not have")

    def step(
        self, policy: SequencePolicy, optimizer: Optimizer, progress: float, loss: Callable[[], Tensor]
    ) -> dict[str, Moved]:
        """Check, measure and move at once; arguments as there. Nothing moves after `until`: the result is empty."""
        self.check(policy, optimizer)
        fraction = self.fraction_at(progress)
        if not fraction:
            return {}
        return self.move(policy, optimizer, fraction, self.measure(policy, optimizer, fraction, loss))

    def measure(
        self, policy: SequencePolicy, optimizer: Optimizer, fraction: float, loss: Callable[[], Tensor]
    ) -> dict[str, dict[str, Candidates]]:
        """Draw candidates for the weights that a move would grow, and take the gradient there.

        The policy is run with weights of zero at the candidates, which change nothing of what it computes.

        :param loss: of the policy, on the data at hand; not called if the rule needs no gradient
        :return: network -> block -> candidates, for `move`; empty if the rule needs none
        """
        if self.rule != "momentum":
            return {}
        own = {name: _layer(policy, name) for name in self.networks}
        wider = {name: self._with_candidates(name, layer, optimizer, fraction) for name, layer in own.items()}
        weights = [layer.weights[block] for layer in wider.values() for block in BLOCKS]
        try:
            for name, layer in wider.items():
                setattr(policy, name, layer)
            with torch.enable_grad():
                gradients = iter(torch.autograd.grad(loss(), weights, allow_unused=True))
        finally:
            for name, layer in own.items():
                setattr(policy, name, layer)
        found: dict[str, dict[str, Candidates]] = {}
        for name, layer in wider.items():
            found[name] = {}
            for block in BLOCKS:
                positions, gradient = _positions(layer, block), next(gradients)
                scores = np.zeros(len(positions)) if gradient is None else _array(gradient.abs())
                found[name][block] = Candidates(positions, scores)
        return found

    def move(
        self,
        policy: SequencePolicy,
        optimizer: Optimizer,
        fraction: float,
        candidates: Mapping[str, Mapping[str, Candidates]],
    ) -> dict[str, Moved]:
        """Move weights, and what the optimizer knows of them.

        :param candidates: as `measure` returned them; the patterns have not changed since
        :return: by network
        """
        moved = {}
        for name in self.networks:
            layer = _layer(policy, name)
            of_block = candidates.get(name)
            counts = removal_counts(layer.specification, fraction)
            room = {
                block: (math.prod(layer.specification.shape(block)) if of_block is None else len(of_block[block][0]))
                - layer.specification.weights[block]
                for block in BLOCKS
            }
            after = rebalanced(
                layer.specification,
                {block: _positions(layer, block) for block in BLOCKS},
                {block: self._worth(layer.weights[block]) for block in BLOCKS},
                counts,
                self._grown(name, layer, optimizer, counts, room),
                of_block,
                self.generator,
            )
            weights = sum(
                self._carry(layer, optimizer, block, after.patterns[block], after.revived[block]) for block in BLOCKS
            )
            unconnected = len(np.union1d(*unconnected_units(layer.specification, after.patterns)))
            moved[name] = Moved(weights, len(after.unconnected) - unconnected, unconnected)
        return moved

    def _with_candidates(
        self, name: str, layer: SparseRecurrentLayer, optimizer: Optimizer, fraction: float
    ) -> SparseRecurrentLayer:
        """Return a copy of a layer that has weights of zero at the candidates."""
        specification = layer.specification
        counts = removal_counts(specification, fraction)
        sizes = {block: math.prod(specification.shape(block)) for block in BLOCKS}
        free = {block: sizes[block] - specification.weights[block] for block in BLOCKS}
        grown = self._grown(name, layer, optimizer, counts, free)
        placed = {}
        for block in BLOCKS:
            own = _positions(layer, block)
            count = len(own) + min(free[block], CANDIDATES * grown[block])
            positions = torch.from_numpy(draw_positions(self.generator, sizes[block], count, own))
            parameter = layer.weights[block].detach()
            values = parameter.new_zeros(count)
            values[torch.searchsorted(positions, torch.from_numpy(own)).to(values.device)] = parameter
            placed[block] = positions, values
        wider = copy.deepcopy(layer).requires_grad_(True)
        wider.place(placed)
        return wider

    def _grown(
        self,
        name: str,
        layer: SparseRecurrentLayer,
        optimizer: Optimizer,
        removed: Mapping[str, int],
        room: Mapping[str, int],
    ) -> dict[str, int]:
        """Return how many weights to grow in each block.

        :param room: block -> how many more than now it can have
        """
        pinned = _KEEPS_COUNT.get(name, frozenset()) | (self.pinned if name == "actor" else frozenset())
        moving = [block for block in BLOCKS if block not in pinned]
        if self.scope == "block" or not moving:
            return dict(removed)
        shares = {block: self._share(layer, optimizer, block, room[block] + removed[block]) for block in moving}
        rooms = {block: room[block] + removed[block] for block in moving}
        return {**removed, **growth_counts(sum(removed[block] for block in moving), shares, rooms)}

    def _share(self, layer: SparseRecurrentLayer, optimizer: Optimizer, block: str, free: int) -> float:
        weights = layer.weights[block]
        if self.rule == "random":
            return float(free)
        if self.rule == "magnitude":
            return float(weights.detach().abs().double().mean())
        state = optimizer.state.get(weights)
        if not state:  # nothing was learned yet
            return 0.0
        ratio = state["exp_avg"].abs().double() / state["exp_avg_sq"].double().sqrt().clamp(min=_SMALLEST)
        return float(ratio.mean())

    def _worth(self, weights: Tensor) -> NDArray[np.floating]:
        return self.generator.random(len(weights)) if self.rule == "random" else _array(weights.abs())

    def _carry(
        self,
        layer: SparseRecurrentLayer,
        optimizer: Optimizer,
        block: str,
        positions: NDArray[np.int64],
        revived: NDArray[np.int64],
    ) -> int:
        """Give a block the positions of its weights, which keep value and moments where they were there before.

        First moments of grown weights are zero. Their second moments are the block's mean: from zero, Adam would make
        first steps of three times their size, and the ratio of the moments would stand out for as long as it remembers.

        :param revived: positions that connect a unit which nothing else does. These never start at zero: a unit of relu
            whose inputs are all zero has no gradient, and would stay silent for ever
        :return: how many weights are new
        """
        own = _positions(layer, block)
        if np.array_equal(own, positions):
            return 0
        place = np.searchsorted(own, positions).clip(max=len(own) - 1)
        parameter = layer.weights[block]
        is_old = own[place] == positions
        is_old[np.isin(positions, revived) & (_array(parameter)[place] == 0)] = False  # or it would start at zero
        source, kept = (torch.from_numpy(array).to(parameter.device) for array in (place, is_old))

        def carried(tensor: Tensor, fill: Tensor) -> Tensor:
            return torch.where(kept, tensor[source], fill)

        before = parameter.detach()
        state = optimizer.state.get(parameter, {})
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == before.shape:
                state[key] = carried(value, value.mean() if key == "exp_avg_sq" else value.new_zeros(()))
        initial = before.new_zeros(len(positions))
        scaled = np.ones(len(positions), bool) if self.initial == "scaled" else np.isin(positions, revived)
        if scaled.any():
            drawn = torch.from_numpy(self.generator.standard_normal(int(scaled.sum()))).to(before)
            initial[torch.from_numpy(scaled).to(initial.device)] = drawn * before.square().mean().sqrt()
        layer.place({block: (torch.from_numpy(positions), carried(before, initial))})
        return int((~is_old).sum())


def _layer(policy: SequencePolicy, name: str) -> SparseRecurrentLayer:
    layer = getattr(policy, name, None)
    if not isinstance(layer, SparseRecurrentLayer):
        raise Refusal(f"`rebalance` needs networks of six blocks, which {type(policy).__name__} does not have")
    return layer


def _positions(layer: SparseRecurrentLayer, block: str) -> NDArray[np.int64]:
    return layer.positions(block).cpu().numpy()


def _array(tensor: Tensor) -> NDArray[np.floating]:
    return tensor.detach().cpu().numpy()
