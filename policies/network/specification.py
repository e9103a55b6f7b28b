"""From hyperparameters to a network: hidden size and the number of weights in each of the six blocks.

The method is Hershey & Paffenroth's, "Balancing Sparse RNNs with Hyperparameterization Benefiting Meta-Learning",
arXiv 2509.15057 (2025). The state `z = [h; y]` and the input `x` make six weight blocks, named target first, source
second. A block's *density* is its number of weights divided by its size, the *budget* the number of weights the network
may have (biases are not counted), the *hidden proportion* the share of all weights that lie in hh.
"""

import dataclasses
import math
import numbers
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from policies.network.blocks import BLOCKS, LARGEST, OUTER_BLOCKS, block_floors, block_sizes
from policies.network.feasibility import Request, first
from policies.refusal import Refusal

DEFAULT_HIDDEN_PROPORTION = 0.5


@dataclass(frozen=True)
class BlockSpecification:
    """Sizes and weight counts of a recurrent network made of weight blocks.

    :param n_inputs: number of inputs n_x
    :param n_hidden: number of hidden units n_h
    :param n_outputs: number of outputs n_y
    :param budget: number of weights that was asked for
    :param weights: block -> number of trainable weights, in the order of `blocks`
    :raises Refusal: if a size is no positive integer, or a count fits no block
    """

    n_inputs: int
    n_hidden: int
    n_outputs: int
    budget: int
    weights: Mapping[str, int]

    blocks: ClassVar[tuple[str, ...]]
    recurrent_block: ClassVar[str]

    def __post_init__(self) -> None:
        for name in ("n_inputs", "n_hidden", "n_outputs", "budget"):
            object.__setattr__(self, name, positive_integer(name, getattr(self, name)))
        if not isinstance(self.weights, Mapping) or set(self.weights) != set(self.blocks):
            raise Refusal(f"weights must map exactly the blocks {' '.join(self.blocks)} to counts")
        floors = self._floors()
        weights = {}
        for block in self.blocks:
            count = positive_integer(f"weights of block {block}", self.weights[block])
            size = math.prod(self.shape(block))
            if not floors[block] <= count <= size:
                raise Refusal(f"weights of block {block} are {count:,}: {floors[block]:,} to {size:,} fit")
            weights[block] = count
        object.__setattr__(self, "weights", weights)

    def shape(self, block: str) -> tuple[int, int]:
        """Return (rows, columns) of a block: target size, source size."""
        if block not in self.blocks:
            raise Refusal(f"unknown block {_show(block)}: one of {' '.join(self.blocks)} is needed")
        (_, n_rows), (_, n_columns) = self._sides(block)
        return n_rows, n_columns

    def ends(self, block: str) -> tuple[str, str]:
        """Return what a block reads and what it feeds, in a word each."""
        (target, _), (source, _) = self._sides(block)
        return source, target

    def _sides(self, block: str) -> tuple[tuple[str, int], tuple[str, int]]:
        """Return a block's target and its source, each a word and a size."""
        raise NotImplementedError

    def _floors(self) -> Mapping[str, int]:
        """Return block -> the fewest weights it may have."""
        raise NotImplementedError

    @property
    def n_biases(self) -> int:
        """Number of trainable biases, which the budget does not count."""
        raise NotImplementedError

    @property
    def state_size(self) -> int:
        """Length of what the network carries from step to step."""
        raise NotImplementedError

    @property
    def densities(self) -> dict[str, float]:
        """Share of a block's positions that hold a weight, in (0, 1]."""
        return {block: self.weights[block] / math.prod(self.shape(block)) for block in self.blocks}

    @property
    def shares(self) -> dict[str, float]:
        """Share of all weights that lie in a block; they sum to 1."""
        return {block: count / self.total_weights for block, count in self.weights.items()}

    @property
    def total_weights(self) -> int:
        """Number of trainable weights of all blocks."""
        return sum(self.weights.values())

    @property
    def hidden_proportion(self) -> float:
        """Share of all weights that lie in the hidden-to-hidden block."""
        return self.weights[self.recurrent_block] / self.total_weights

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and dictionaries for JSON, the derived quantities included."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "weights"},
            "total_weights": self.total_weights,
            "hidden_proportion": self.hidden_proportion,
            "n_biases": self.n_biases,
            "shapes": {block: list(self.shape(block)) for block in self.blocks},
            "densities": self.densities,
            "weights": dict(self.weights),
            "shares": self.shares,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        :raises Refusal: if an entry is missing, unknown, of the wrong type or at odds with another
        """
        if not isinstance(data, Mapping):
            raise Refusal(f"a specification must be a table of names and values, not {_show(data)}")
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names if name not in data]
        if missing:
            raise Refusal(f"the specification lacks {missing[0]!r}: {', '.join(names)} are needed")
        specification = cls(**{name: data[name] for name in names})
        expected = specification.to_dict()
        for name in [*expected, *data]:
            if name not in expected:
                raise Refusal(f"the specification has an unknown entry {_show(name)}: {', '.join(expected)} are known")
            if name not in data or data[name] != expected[name]:
                found = _show(data[name]) if name in data else "missing"
                raise Refusal(f"entry {name!r} of the specification is {found}: {_show(expected[name])} fits the rest")
        return specification


@dataclass(frozen=True)
class NetworkSpecification(BlockSpecification):
    """Sizes and weight counts of a network of the six blocks hx hh hy yx yh yy (arXiv 2509.15057).

    No block is empty, and yh has a weight for each output row at least: an output that reads only x would be constant
    whenever x is zero.
    """

    blocks: ClassVar[tuple[str, ...]] = BLOCKS
    recurrent_block: ClassVar[str] = "hh"

    @property
    def n_biases(self) -> int:
        """Number of trainable biases, one for each hidden unit and output."""
        return self.n_hidden + self.n_outputs

    @property
    def state_size(self) -> int:
        """Length of the state [h; y]."""
        return self.n_hidden + self.n_outputs

    def _sides(self, block: str) -> tuple[tuple[str, int], tuple[str, int]]:
        sides = {"x": ("input", self.n_inputs), "h": ("hidden", self.n_hidden), "y": ("output", self.n_outputs)}
        return sides[block[0]], sides[block[1]]

    def _floors(self) -> Mapping[str, int]:
        return block_floors(self.n_outputs)


def specify(
    n_inputs: int,
    n_outputs: int,
    budget: int,
    *,
    hidden_proportion: float | None = None,
    hidden_size: int | None = None,
    densities: Mapping[str, float] | None = None,
    room: bool = False,
) -> NetworkSpecification:
    """Find the hidden size and the weight counts of a network (arXiv 2509.15057).

    With all six densities, the hidden size is the root of the quadratic N(n_h), rounded, and each block has
    round(density · size) weights; the total misses the budget by what rounding costs.

    Otherwise hh has round(p N) weights, the other blocks share the rest in proportion to their sizes (one common outer
    density), the total is exactly N, and the hidden size is the smallest that holds both sides. Pinned densities of
    outer blocks are kept, up to rounding to whole weights. hh pinned sets the hidden size, round(√(p N / density)).
    A larger hidden size than the smallest that fits makes the same p N and (1 − p) N weights sparser.
    With a given hidden size and either hh or all five outer blocks pinned, nothing is left for p to decide: it follows.
    Everywhere a block has one weight at least, and yh one for each output.

    :param n_inputs: number of inputs n_x
    :param n_outputs: number of outputs n_y
    :param budget: number of weights N
    :param hidden_proportion: share p of the weights that lie in hh, in (0, 1); 0.5 unless something else decides it
    :param hidden_size: hidden units n_h, in place of the smallest that fits
    :param densities: block -> density in (0, 1]: all six, or those that are pinned
    :param room: where the hidden size is free, take one at which weights can move between blocks while the network
        learns; see `feasibility.Request.roomy_hidden_size`
    :raises Refusal: one line that names what cannot be met (budget, hidden_proportion, hidden_size or the density of
        a block) and what would fit
    """
    n_inputs = positive_integer("n_inputs", n_inputs)
    n_outputs = positive_integer("n_outputs", n_outputs)
    budget = positive_integer("budget", budget)
    pins = _check_densities(densities)
    if hidden_proportion is not None:
        hidden_proportion = _check_proportion(hidden_proportion)
    if hidden_size is not None:
        hidden_size = positive_integer("hidden_size", hidden_size)

    if len(pins) == len(BLOCKS):
        specification = _specify_from_densities(n_inputs, n_outputs, budget, pins)
        for name, given in (("hidden_proportion", hidden_proportion), ("hidden_size", hidden_size)):
            if given is not None:
                follows = specification.hidden_proportion if name == "hidden_proportion" else specification.n_hidden
                raise Refusal(
                    f"`{name}` {given} contradicts the six densities, from which {follows:.6g} follows: "
                    "leave it out, or leave the density of a block free"
                )
        return specification

    hidden_follows = "hh" in pins or len(pins) == len(OUTER_BLOCKS)
    if hidden_size is not None and hidden_follows:
        request = Request(n_inputs, n_outputs, budget, None, pins)
        n_hidden = request.check_hidden_size(hidden_size)
        if hidden_proportion is not None:
            follows = _specified(request, n_hidden).hidden_proportion
            raise Refusal(
                f"`hidden_proportion` {hidden_proportion} contradicts `hidden_size` and the densities, "
                f"from which {follows:.6g} follows: leave one of them out"
            )
        return _specified(request, n_hidden)
    proportion = DEFAULT_HIDDEN_PROPORTION if hidden_proportion is None else hidden_proportion
    request = Request(n_inputs, n_outputs, budget, proportion, pins)
    if hidden_size is not None:
        return _specified(request, request.check_hidden_size(hidden_size))
    return _specified(request, request.roomy_hidden_size() if room and not hidden_follows else request.solve())


def specify_critic(n_inputs: int, budget: int, *, hidden_proportion: float, room: bool = False) -> NetworkSpecification:
    """Find the network of a critic: one output, yx, yh and yy dense, the rest from the budget and p as in `specify`.

    The value reads every hidden unit; a value that reads a few of them would be a handicap of our own making.

    :raises Refusal: one line that names what cannot be met (budget or hidden_proportion) and what would fit
    """
    dense = {"yx": 1.0, "yh": 1.0, "yy": 1.0}
    n_inputs, budget = positive_integer("n_inputs", n_inputs), positive_integer("budget", budget)
    request = Request(n_inputs, 1, budget, _check_proportion(hidden_proportion), dense, is_critic=True)
    return _specified(request, request.roomy_hidden_size() if room else request.solve())


NETWORKS = ("actor", "critic")


def check_networks(option: str, names: Sequence[str]) -> None:
    """Refuse what is no collection of "actor" and "critic", the networks of a policy.

    :param option: where it was given, for the message
    """
    if isinstance(names, str) or not set(names) <= {*NETWORKS}:
        raise Refusal(f'`{option}` {names!r} does not fit: ("actor",), ("critic",) or both in one tuple is needed')


def specify_varied(
    n_inputs: int, n_outputs: int, budget: int, *, room: Sequence[str] = (), **options: Any
) -> tuple[NetworkSpecification, NetworkSpecification]:
    """Find an actor by `specify`, and a critic of its hidden proportion, whatever decided that, by `specify_critic`.

    :param room: "actor", "critic" or both: those in which weights are to move between blocks
    :param options: of `specify`
    :raises Refusal: as these do, and if `room` names anything else
    """
    check_networks("room", room)
    actor = specify(n_inputs, n_outputs, budget, room="actor" in room, **options)
    proportion = actor.hidden_proportion
    return actor, specify_critic(n_inputs, budget, hidden_proportion=proportion, room="critic" in room)


def specify_uniform(
    n_inputs: int, n_outputs: int, budget: int, *, uniform_density: float = 0.2
) -> tuple[NetworkSpecification, NetworkSpecification]:
    """Find an actor and a critic of one density for all blocks; but the critic's yx, yh and yy are dense.

    :raises Refusal: one line that names what cannot be met (budget or uniform_density) and what would fit
    """
    if not (_is_real(uniform_density) and 0 < uniform_density <= 1):
        raise Refusal(
            f"`uniform_density` {_show(uniform_density)} does not fit: a number above 0, at most 1, is needed"
        )
    equal = dict.fromkeys(BLOCKS, uniform_density)
    actor = specify(n_inputs, n_outputs, budget, densities=equal)
    return actor, specify(n_inputs, 1, budget, densities=equal | dict.fromkeys(("yx", "yh", "yy"), 1.0))


def specify_dense(n_inputs: int, n_outputs: int, budget: int) -> tuple[NetworkSpecification, NetworkSpecification]:
    """Find an actor and a critic without an empty position.

    :raises Refusal: one line that names what cannot be met and what would fit
    """
    return specify_uniform(n_inputs, n_outputs, budget, uniform_density=1.0)


def _specify_from_densities(
    n_inputs: int, n_outputs: int, budget: int, densities: Mapping[str, float]
) -> NetworkSpecification:
    def root(budget: int) -> float:
        quadratic = densities["hh"]
        linear = densities["hx"] * n_inputs + (densities["hy"] + densities["yh"]) * n_outputs
        rest = budget - n_outputs * (densities["yx"] * n_inputs + densities["yy"] * n_outputs)
        # This form of the root neither cancels nor divides by a density that is next to nothing.
        return 2 * rest / (linear + math.sqrt(linear * linear + 4 * quadratic * rest)) if rest > 0 else 0.0

    floors = block_floors(n_outputs)
    least = sum(floors.values())
    if budget < least or round(root(budget)) < 1:
        needed = first(lambda budget: round(root(budget)) >= 1, least, LARGEST)
        raise Refusal(
            f"`budget` {budget:,} is too small for {n_inputs:,} inputs and {n_outputs:,} outputs at these densities: "
            f"at least {needed:,} is needed"
        )
    if root(budget) > budget:
        block = min(densities, key=lambda block: densities[block])
        raise Refusal(
            f"`densities` {block}={densities[block]} and the others are so low that `budget` {budget:,} would make "
            f"more hidden units than weights: densities of {1 / math.sqrt(budget):.2g} fit"
        )
    n_hidden = round(root(budget))
    sizes = block_sizes(n_inputs, n_hidden, n_outputs)
    weights = {block: max(floors[block], round(densities[block] * sizes[block])) for block in BLOCKS}
    return NetworkSpecification(n_inputs, n_hidden, n_outputs, budget, weights)


def _specified(request: Request, n_hidden: int) -> NetworkSpecification:
    """Share the budget among the blocks at a hidden size that fits."""
    sizes, fixed = block_sizes(request.n_inputs, n_hidden, request.n_outputs), request.fixed(n_hidden)
    free = {block: sizes[block] for block in BLOCKS if block not in fixed}
    weights = fixed | _share(request.budget - sum(fixed.values()), free, block_floors(request.n_outputs))
    return NetworkSpecification(request.n_inputs, n_hidden, request.n_outputs, request.budget, weights)


def _share(total: int, sizes: Mapping[str, int], floors: Mapping[str, int]) -> dict[str, int]:
    """Share weights among blocks in proportion to their sizes, by largest remainder, none below its floor."""
    shares: dict[str, int] = {}
    remaining = dict(sizes)
    while True:
        size = sum(remaining.values())
        low = [block for block in remaining if total * remaining[block] < floors[block] * size]
        if not low:
            break
        for block in low:
            shares[block] = floors[block]
            total -= shares[block]
            del remaining[block]
    parts = {block: divmod(total * remaining[block], size) for block in remaining}
    missing = total - sum(quotient for quotient, _ in parts.values())
    by_remainder = sorted(parts, key=lambda block: -parts[block][1])
    for place, block in enumerate(by_remainder):
        shares[block] = parts[block][0] + (place < missing)
    return shares


def _check_densities(densities: Mapping[str, float] | None) -> dict[str, float]:
    if densities is None:
        return {}
    if not isinstance(densities, Mapping):
        raise Refusal(f"`densities` must map blocks to densities, not be {_show(densities)}")
    unknown = [block for block in densities if block not in BLOCKS]
    if unknown:
        raise Refusal(f"`densities` name the unknown block {_show(unknown[0])}: one of {' '.join(BLOCKS)} is needed")
    for block, density in densities.items():
        if not (_is_real(density) and 0 < density <= 1):
            raise Refusal(f"`densities` {block}={_show(density)} does not fit: a number above 0, at most 1, is needed")
    return {block: float(densities[block]) for block in BLOCKS if block in densities}


def _check_proportion(value: float) -> float:
    if not (_is_real(value) and 0 < value < 1):
        raise Refusal(
            f"`hidden_proportion` {_show(value)} does not fit: a number between 0 and 1, both excluded, is needed"
        )
    return float(value)


def positive_integer(name: str, value: int) -> int:
    """Return a size as a Python int.

    :raises Refusal: if it is no integer (True and 3.0 are none) or not in 1 … 10^12
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= value <= LARGEST:
        raise Refusal(f"`{name}` {_show(value)} does not fit: a whole number from 1 to {LARGEST:.0e} is needed")
    return operator.index(value)


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _show(value: object) -> str:
    """Write any value on one line of bearable length."""
    text = " ".join((str(value) if _is_real(value) else repr(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
