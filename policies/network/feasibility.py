"""Which hidden sizes fit a budget, a hidden proportion and pinned densities; and where none does, what would fit."""

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from policies.network.blocks import LARGEST, OUTER_BLOCKS, block_floors, block_sizes
from policies.refusal import Refusal

_ROOM, _LARGEST_SHARE = 1.25, 0.9
"""Of `Request.roomy_hidden_size`: hidden units in place of one, and the share of the weights that hh may come to."""


@dataclass(frozen=True)
class Request:
    """A budget to be met exactly; `hidden_proportion` is None where it follows from hidden size and pins."""

    n_inputs: int
    n_outputs: int
    budget: int
    hidden_proportion: float | None
    pins: Mapping[str, float]
    is_critic: bool = False

    @property
    def n_hh(self) -> int | None:
        """Weights of hh as the hidden proportion asks for them."""
        return None if self.hidden_proportion is None else round(self.hidden_proportion * self.budget)

    def fixed(self, n_hidden: int) -> dict[str, int]:
        """Return the weights of the blocks that are not free at a hidden size."""
        sizes, floors = block_sizes(self.n_inputs, n_hidden, self.n_outputs), block_floors(self.n_outputs)
        fixed = {block: max(floors[block], round(density * sizes[block])) for block, density in self.pins.items()}
        if self.n_hh is not None:
            fixed["hh"] = self.n_hh
        return fixed

    def fewest(self, n_hidden: int) -> int:
        """Return the fewest weights that a network of this hidden size has; never falls as the size grows."""
        return sum((block_floors(self.n_outputs) | self.fixed(n_hidden)).values())

    def most(self, n_hidden: int) -> int:
        """Return the most weights that a network of this hidden size has; never falls as the size grows."""
        return sum((block_sizes(self.n_inputs, n_hidden, self.n_outputs) | self.fixed(n_hidden)).values())

    def bounds(self) -> tuple[int, int]:
        """Return the smallest and the largest hidden size that fit; none does if they are in the wrong order.

        More hidden units than weights never fit.
        """
        n_hh = self.n_hh
        if n_hh == 0:
            return 1, 0
        start = 1 if n_hh is None else _ceil_sqrt(n_hh)
        smallest = first(lambda n_hidden: self.most(n_hidden) >= self.budget, start, self.budget + 1)
        largest = first(lambda n_hidden: self.fewest(n_hidden) > self.budget, 1, self.budget + 1) - 1
        return smallest, largest

    def hidden_size(self) -> int:
        """Return the hidden size that budget, hidden proportion and pins ask for, whether or not it fits."""
        if "hh" not in self.pins or not self.n_hh:
            return self.bounds()[0]
        return max(_ceil_sqrt(self.n_hh), round(math.sqrt(min(self.n_hh / self.pins["hh"], (self.budget + 1) ** 2))))

    def fits(self) -> bool:
        """Tell whether a network fits."""
        smallest, largest = self.bounds()
        return smallest <= self.hidden_size() <= largest

    def solve(self) -> int:
        """Return `hidden_size()` if it fits.

        :raises Refusal: if it does not
        """
        if not self.fits():
            raise Refusal(self._complaint())
        return self.hidden_size()

    def roomy_hidden_size(self) -> int:
        """Return a hidden size at which weights can move between blocks.

        A quarter more units than the smallest that fits, and so many that hh could hold nine tenths of the weights; or
        the largest that fits, if that is less.

        :raises Refusal: if no size fits
        """
        wanted = max(math.ceil(_ROOM * self.solve()), _ceil_sqrt(math.ceil(_LARGEST_SHARE * self.budget)))
        return min(wanted, self.bounds()[1])

    def check_hidden_size(self, n_hidden: int) -> int:
        """Return a given hidden size if it fits.

        :raises Refusal: if it does not
        """
        smallest, largest = self.bounds()
        if smallest <= n_hidden <= largest:
            return n_hidden
        if smallest <= largest:
            trouble, limit = ("small", f"least {smallest:,}") if n_hidden < smallest else ("large", f"most {largest:,}")
            raise Refusal(f"`hidden_size` {n_hidden:,} is too {trouble} for {self._circumstances()}: at {limit} fits")
        if self.hidden_proportion is not None:
            raise Refusal(self._complaint())
        raise Refusal(
            f"`hidden_size` {n_hidden:,} does not fit {self._circumstances()}: "
            f"a `budget` from {self.fewest(n_hidden):,} to {self.most(n_hidden):,} fits"
        )

    def _complaint(self) -> str:
        """Say in one line why nothing fits, and what would: every figure named has been tried."""
        budget, proportion = f"`budget` {self.budget:,}", f"`hidden_proportion` {self.hidden_proportion:.6g}"
        of_what = f"the critic of {self.n_inputs:,} inputs" if self.is_critic else self._sizes()
        if set(OUTER_BLOCKS) <= set(self.pins):
            other_budget = self._budget_of_pinned_outer_blocks()
            trouble = f"five pinned densities leave no block to meet {budget} and {proportion} exactly"
            remedy = f"{other_budget} fits, or the density of one block left free" if other_budget else "leave one free"
            return f"{trouble} ({of_what}): {remedy}"
        other_density, other_proportion = self._fitting_density(), self._fitting_proportion()
        answers = [answer for answer in (other_density, other_proportion, self._fitting_budget()) if answer]
        pinned = ", with the pinned densities" if self.pins and not self.is_critic else ""
        if other_density is not None:
            block = other_density.split()[1].partition("=")[0]
            trouble, pinned = f"`densities` {block}={self.pins[block]} does not fit {budget} and {proportion}", ""
        elif other_proportion is not None:
            trouble = f"{proportion} does not fit {budget}"
        else:
            trouble = f"{budget} is too small for {proportion}"
        remedy = f"{' or '.join(answers)} fits" if answers else self._last_resort()
        return f"{trouble} ({of_what}{pinned}): {remedy}"

    def _last_resort(self) -> str:
        """Say what fits where no single figure could be found: the same with nothing pinned, or a larger budget."""
        unpinned = dataclasses.replace(self, pins={})
        if self.pins and unpinned.fits():
            return "no pinned densities fits"
        if self.pins and (proportion := unpinned._fitting_proportion()):
            return f"no pinned densities and {proportion} fits"
        least = dataclasses.replace(self, hidden_proportion=None).fewest(1)
        return f"at least {least:,} weights are needed"

    def _sizes(self) -> str:
        return f"{self.n_inputs:,} inputs and {self.n_outputs:,} outputs"

    def _circumstances(self) -> str:
        proportion = "" if self.hidden_proportion is None else f" and `hidden_proportion` {self.hidden_proportion:.6g}"
        pinned = ", densities " + " ".join(f"{block}={density}" for block, density in self.pins.items())
        return f"`budget` {self.budget:,}{proportion} ({self._sizes()}{pinned if self.pins else ''})"

    def _fitting_proportion(self) -> str | None:
        """Find a hidden proportion that fits: the next lower one, else the next higher one."""
        n_hh = self.n_hh
        assert n_hh is not None

        def fits(n_hh: int) -> bool:
            return dataclasses.replace(self, hidden_proportion=n_hh / self.budget).fits()

        other = _next_below(fits, n_hh)
        if other is None:
            other = _next_above(fits, n_hh, self.budget - 1)
        if other is None:
            return None
        text = _shortest(other / self.budget, lambda value: 0 < value < 1 and round(value * self.budget) == other)
        return f"`hidden_proportion` {text}"

    def _fitting_budget(self) -> str | None:
        """Find the next larger budget that fits."""
        other = _next_above(lambda budget: dataclasses.replace(self, budget=budget).fits(), self.budget, LARGEST)
        return None if other is None else f"a `budget` of {other:,}"

    def _budget_of_pinned_outer_blocks(self) -> str | None:
        """Find a budget whose outer share is exactly what five pinned blocks hold at a hidden size nearby."""
        proportion = self.hidden_proportion
        assert proportion is not None
        nearby = self.bounds()[1]
        for n_hidden in (nearby, nearby + 1):
            pinned = sum(count for block, count in self.fixed(max(n_hidden, 1)).items() if block != "hh")
            budget = first(lambda budget: budget - round(proportion * budget) >= pinned, 1, LARGEST)  # noqa: B023
            if dataclasses.replace(self, budget=budget).fits():
                return f"a `budget` of {budget:,}"
        return None

    def _fitting_density(self) -> str | None:
        """Find a density that fits in place of a pinned one, the block with the most weights first."""
        if self.is_critic or not self.n_hh:
            return None
        smallest, largest = self.bounds()
        wanted = self.hidden_size()
        if smallest <= largest:  # Only the hidden size that the pin of hh asks for is out of bounds.
            n_hidden = smallest if wanted < smallest else largest
            return self._density_text("hh", self.n_hh / n_hidden**2)
        fixed = self.fixed(min(smallest, self.budget))
        for block in sorted(set(self.pins) - {"hh"}, key=lambda block: (-fixed[block], block)):
            pin = self.pins[block]
            steps = 10_000
            best = _next_below(lambda step: self._with_pin(block, pin * step / steps).fits(), steps)  # noqa: B023
            if best is not None:
                return self._density_text(block, pin * best / steps)
        return None

    def _density_text(self, block: str, density: float) -> str | None:
        text = _shortest(density, lambda value: value <= 1 and self._with_pin(block, value).fits())
        return None if text is None else f"`densities` {block}={text}"

    def _with_pin(self, block: str, density: float) -> "Request":
        return dataclasses.replace(self, pins={**self.pins, block: density})


def _ceil_sqrt(number: int) -> int:
    return math.isqrt(number - 1) + 1


def first(predicate: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first of low, low + 1, … below high for which a monotone predicate holds, else high."""
    return low + bisect_left(range(low, high), True, key=predicate)


def _next_below(fits: Callable[[int], bool], unfit: int) -> int | None:
    """Return the next number below an unfit one that fits, if the fitting ones begin at some half of it."""
    high, low = unfit, unfit // 2
    while low >= 1 and not fits(low):
        high, low = low, low // 2
    return None if low < 1 else first(lambda number: not fits(number), low, high) - 1


def _next_above(fits: Callable[[int], bool], unfit: int, limit: int) -> int | None:
    """Return the next number above an unfit one that fits, if the fitting ones begin before some double of it."""
    low, high = unfit, max(2 * unfit, 1)
    while high <= limit and not fits(high):
        low, high = high, 2 * high
    return None if high > limit else first(fits, low + 1, high)


def _shortest(value: float, accept: Callable[[float], bool]) -> str | None:
    """Write a number with as few digits as still make it acceptable."""
    for digits in range(2, 18):
        text = f"{value:.{digits}g}"
        if accept(float(text)):
            return text
    return None
