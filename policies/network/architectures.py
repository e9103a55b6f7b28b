"""The four architectures, each as the specification of an actor and a critic of equal budget.

varied: each block has its own density, found from budget and hidden proportion (arXiv 2509.15057); uniform: one density
for all blocks; dense: density 1; lstm: the baseline, sb3-contrib's LSTM policy without further layers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from policies.network.specification import (
    BLOCKS,
    BlockSpecification,
    NetworkSpecification,
    positive_integer,
    specify,
    specify_critic,
)
from policies.refusal import Refusal

ARCHITECTURES = ("varied", "uniform", "dense", "lstm")
DEFAULT_UNIFORM_DENSITY = 0.2

_OPTIONS = ("hidden_proportion", "hidden_size", "densities", "uniform_density")
_OPTIONS_OF = {
    "varied": ("hidden_proportion", "hidden_size", "densities"),
    "uniform": ("uniform_density",),
    "dense": (),
    "lstm": (),
}
_SOURCES_AND_TARGETS = {"x": "input", "h": "hidden", "y": "output"}


@dataclass(frozen=True)
class LstmSpecification(BlockSpecification):
    """Sizes and weight counts of one LSTM layer with a linear head; all blocks are dense.

    `input` and `recurrent` map inputs and hidden units to the four gates, `output` the hidden units to the outputs.
    """

    blocks: ClassVar[tuple[str, ...]] = ("input", "recurrent", "output")
    recurrent_block: ClassVar[str] = "recurrent"

    def shape(self, block: str) -> tuple[int, int]:
        """Return (rows, columns) of a block: target size, source size."""
        shapes = {
            "input": (4 * self.n_hidden, self.n_inputs),
            "recurrent": (4 * self.n_hidden, self.n_hidden),
            "output": (self.n_outputs, self.n_hidden),
        }
        if block not in shapes:
            raise Refusal(f"unknown block {block!r}: one of {' '.join(shapes)} is needed")
        return shapes[block]

    @property
    def n_biases(self) -> int:
        """Number of trainable biases: two for each gate, as in PyTorch, and one for each output."""
        return 8 * self.n_hidden + self.n_outputs

    def _floors(self) -> Mapping[str, int]:
        return {block: math.prod(self.shape(block)) for block in self.blocks}


@dataclass(frozen=True)
class ActorCriticSpecification:
    """An architecture and the specifications of its two networks."""

    architecture: str
    actor: NetworkSpecification | LstmSpecification
    critic: NetworkSpecification | LstmSpecification

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and dictionaries for JSON."""
        return {"architecture": self.architecture, "actor": self.actor.to_dict(), "critic": self.critic.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ActorCriticSpecification":
        """Read what `to_dict` wrote.

        :raises Refusal: if an entry is missing, unknown, of the wrong type or at odds with another
        """
        names = ("architecture", "actor", "critic")
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise Refusal(f"the specification must be a table with exactly the entries {', '.join(names)}")
        architecture = _check_architecture(data["architecture"])
        kind = LstmSpecification if architecture == "lstm" else NetworkSpecification
        return cls(architecture, kind.from_dict(data["actor"]), kind.from_dict(data["critic"]))


def specify_architecture(
    architecture: str,
    n_inputs: int,
    n_outputs: int,
    budget: int,
    *,
    hidden_proportion: float | None = None,
    hidden_size: int | None = None,
    densities: Mapping[str, float] | None = None,
    uniform_density: float | None = None,
) -> ActorCriticSpecification:
    """Find the actor and the critic of an architecture; each of the two has the whole budget.

    varied: `specify` makes the actor; the critic has the actor's hidden proportion, whatever decided it, and is solved
    from that and the budget by `specify_critic`. uniform and dense: all densities equal, but yx, yh and yy dense in the
    critic. lstm: the largest hidden size that fits the budget; the critic has the same hidden size and one output, as
    sb3-contrib has it.

    :param architecture: "varied", "uniform", "dense" or "lstm"
    :param n_inputs: observation size
    :param n_outputs: action size or number of choices
    :param budget: weights of each network
    :param hidden_proportion: varied alone, see `specify`
    :param hidden_size: varied alone, hidden units of the actor, see `specify`
    :param densities: varied alone, densities of the actor's blocks, see `specify`
    :param uniform_density: uniform alone, density of every block; 0.2 if None
    :raises Refusal: one line that names the field at fault and what would fit
    """
    _check_architecture(architecture)
    given: dict[str, Any] = {
        "hidden_proportion": hidden_proportion,
        "hidden_size": hidden_size,
        "densities": densities or None,
        "uniform_density": uniform_density,
    }
    for name in _OPTIONS:
        if given[name] is not None and name not in _OPTIONS_OF[architecture]:
            fitting = next(other for other in ARCHITECTURES if name in _OPTIONS_OF[other])
            value = given[name]
            text = " ".join(f"{block}={density}" for block, density in value.items()) if name == "densities" else value
            raise Refusal(
                f"`{name}` {text} contradicts `architecture` {architecture}: "
                f"leave it out or take `architecture` {fitting}"
            )
    if architecture == "lstm":
        actor, critic = _specify_lstms(n_inputs, n_outputs, budget)
        return ActorCriticSpecification(architecture, actor, critic)
    if architecture == "varied":
        network = specify(
            n_inputs,
            n_outputs,
            budget,
            hidden_proportion=hidden_proportion,
            hidden_size=hidden_size,
            densities=densities,
        )
        value = specify_critic(n_inputs, budget, hidden_proportion=network.hidden_proportion)
        return ActorCriticSpecification(architecture, network, value)
    density = 1.0
    if architecture == "uniform":
        density = DEFAULT_UNIFORM_DENSITY if uniform_density is None else uniform_density
        if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
            raise Refusal(f"`uniform_density` {density} does not fit: a number above 0, at most 1, is needed")
    equal = dict.fromkeys(BLOCKS, density)
    return ActorCriticSpecification(
        architecture,
        specify(n_inputs, n_outputs, budget, densities=equal),
        specify(n_inputs, 1, budget, densities=equal | {"yx": 1.0, "yh": 1.0, "yy": 1.0}),
    )


def oversize_warning(specification: ActorCriticSpecification) -> str | None:
    """Return one line of warning if the actor's hidden size is out of proportion to inputs and outputs, else None.

    Few inputs and a large budget make a huge hidden size, which costs time and teaches nothing more.
    """
    actor = specification.actor
    usual = 8 * (actor.n_inputs + actor.n_outputs) + 256
    if actor.n_hidden <= usual:
        return None
    scale, share = usual / actor.n_hidden, actor.hidden_proportion
    smaller = actor.total_weights * scale * (share * scale + 1 - share)
    return (
        f"warning: {actor.n_hidden:,} hidden units are many for {actor.n_inputs:,} inputs and {actor.n_outputs:,} "
        f"outputs (more than {usual:,}): a budget of about {float(f'{smaller:.1e}'):,.0f} would do"
    )


def format_table(specification: ActorCriticSpecification) -> str:
    """Lay out both networks as plain text: sizes, and shape, density, weights and share of every block."""
    parts = [f"architecture {specification.architecture}, budget {specification.actor.budget:,} weights per network"]
    for name, network in (("actor", specification.actor), ("critic", specification.critic)):
        parts.append(f"{name}: {_sizes(network)}\n{_block_table(network)}")
    if specification.architecture == "lstm":
        parts.append("The critic has the actor's hidden size, as sb3-contrib builds it.")
    return "\n\n".join(parts)


def _sizes(network: BlockSpecification) -> str:
    counts = {"input": network.n_inputs, "hidden unit": network.n_hidden, "output": network.n_outputs}
    return ", ".join(f"{count:,} {name}{'s' * (count != 1)}" for name, count in counts.items())


def _block_table(network: BlockSpecification) -> str:
    rows = [("block", "from", "to", "shape", "density", "weights", "share")]
    for block in network.blocks:
        n_rows, n_columns = network.shape(block)
        rows.append(
            (
                block,
                *_ends(block),
                f"{n_rows} x {n_columns}",
                _format_density(network.densities[block]),
                f"{network.weights[block]:,}",
                f"{network.shares[block]:.1%}",
            )
        )
    rows.append(("total", "", "", "", "", f"{network.total_weights:,}", "100.0%"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  "
        + "  ".join(
            text.ljust(width) if column < 3 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "  " + "-" * (len(lines[0]) - 2)
    return "\n".join(
        [lines[0], rule, *lines[1:-1], rule, lines[-1], f"  hidden proportion {network.hidden_proportion:.4g}"]
    )


def _ends(block: str) -> tuple[str, str]:
    """Return what a block reads and what it feeds."""
    names = {"input": ("input", "gates"), "recurrent": ("hidden", "gates"), "output": ("hidden", "output")}
    return names.get(block) or (_SOURCES_AND_TARGETS[block[1]], _SOURCES_AND_TARGETS[block[0]])


def _format_density(density: float) -> str:
    return f"{density:.4f}" if density >= 0.001 else f"{density:.2e}"


def _specify_lstms(n_inputs: int, n_outputs: int, budget: int) -> tuple[LstmSpecification, LstmSpecification]:
    n_inputs = positive_integer("n_inputs", n_inputs)
    n_outputs = positive_integer("n_outputs", n_outputs)
    budget = positive_integer("budget", budget)
    least = 4 * (n_inputs + 1) + n_outputs
    if budget < least:
        raise Refusal(
            f"`budget` {budget:,} is too small for an LSTM of {n_inputs:,} inputs and {n_outputs:,} outputs: "
            f"at least {least:,} is needed"
        )
    linear = 4 * n_inputs + n_outputs  # The largest h with 4 h² + linear · h ≤ budget:
    n_hidden = (math.isqrt(linear * linear + 16 * budget) - linear) // 8
    return _dense_lstm(n_inputs, n_hidden, n_outputs, budget), _dense_lstm(n_inputs, n_hidden, 1, budget)


def _dense_lstm(n_inputs: int, n_hidden: int, n_outputs: int, budget: int) -> LstmSpecification:
    weights = {"input": 4 * n_hidden * n_inputs, "recurrent": 4 * n_hidden * n_hidden, "output": n_outputs * n_hidden}
    return LstmSpecification(n_inputs, n_hidden, n_outputs, budget, weights)


def _check_architecture(architecture: object) -> str:
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise Refusal(f"`architecture` {architecture!r} is unknown: one of {', '.join(ARCHITECTURES)} is needed")
    return architecture
