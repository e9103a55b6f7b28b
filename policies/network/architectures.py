"""The architectures: for each, an actor and a critic of equal budget, and where everything about it lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, cast

from policies.network.blocks import PATTERNS
from policies.network.specification import BlockSpecification
from policies.refusal import Refusal
from policies.text_table import aligned


@dataclass(frozen=True)
class Architecture:
    """A kind of network, as everything that is not about this kind alone knows it.

    Classes and functions are given as "module:name" and imported when they are used, as some of them bring torch.
    """

    name: str
    """what a user types, and files say"""
    title: str
    """in reports"""
    summary: str
    """in a few words, for help"""
    colour: str
    """in charts"""
    policy: str
    """the `SequencePolicy`"""
    specification: str
    """the `BlockSpecification` of the actor and of the critic"""
    specify: str
    """the function that finds both, from n_inputs, n_outputs, budget and those of the options that are given"""
    options: tuple[str, ...] = ()
    """options of `specify_architecture` beside the budget"""
    has_room: bool = False
    """blocks may have positions without a weight, so that there are patterns, and weights can move"""
    is_baseline: bool = False
    """reports say how probably the others score above it"""
    note: str = ""
    """a sentence to go with the table of the networks"""

    @property
    def policy_class(self) -> type[Any]:
        """The class of the policy, a `SequencePolicy`."""
        return cast(type[Any], resolve_name(self.policy))

    @property
    def specification_class(self) -> type[BlockSpecification]:
        """The class of the specification of one network."""
        return cast(type[BlockSpecification], resolve_name(self.specification))


_ALL = (
    Architecture(
        name="varied",
        title="varied sparsity",
        summary="each block has its own density, found from budget and hidden proportion (arXiv 2509.15057)",
        colour="#20639b",
        policy="policies.varied_sparsity_policy:VariedSparsityPolicy",
        specification="policies.network.specification:NetworkSpecification",
        specify="policies.network.specification:specify_varied",
        options=("hidden_proportion", "hidden_size", "densities", "room"),
        has_room=True,
    ),
    Architecture(
        name="uniform",
        title="uniform sparsity",
        summary="one density for all blocks",
        colour="#edae49",
        policy="policies.varied_sparsity_policy:VariedSparsityPolicy",
        specification="policies.network.specification:NetworkSpecification",
        specify="policies.network.specification:specify_uniform",
        options=("uniform_density",),
        has_room=True,
    ),
    Architecture(
        name="dense",
        title="dense",
        summary="density 1",
        colour="#d1495b",
        policy="policies.varied_sparsity_policy:VariedSparsityPolicy",
        specification="policies.network.specification:NetworkSpecification",
        specify="policies.network.specification:specify_dense",
        is_baseline=True,
    ),
    Architecture(
        name="lstm",
        title="LSTM",
        summary="sb3-contrib's LSTM of the largest hidden size that fits",
        colour="#6b7280",
        policy="policies.lstm_policy:LstmPolicy",
        specification="policies.lstm_policy:LstmSpecification",
        specify="policies.lstm_policy:LstmSpecification.largest",
        is_baseline=True,
        note="The critic has the actor's hidden size, and one output.",
    ),
    Architecture(
        name="gru",
        title="GRU",
        summary="PyTorch's GRU of the largest hidden size that fits",
        colour="#3a8f6b",
        policy="policies.gru_policy:GruPolicy",
        specification="policies.gru_policy:GruSpecification",
        specify="policies.gru_policy:GruSpecification.largest",
        is_baseline=True,
        note="The critic has the actor's hidden size, and one output.",
    ),
)
ARCHITECTURES: Mapping[str, Architecture] = {architecture.name: architecture for architecture in _ALL}
"""Name -> architecture, in the order of help and reports."""


@dataclass(frozen=True)
class ActorCriticSpecification:
    """An architecture, the specifications of its two networks, and how positions of weights are drawn in them."""

    architecture: str
    actor: BlockSpecification
    critic: BlockSpecification
    pattern: str = PATTERNS[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and dictionaries for JSON; the pattern only if it is not unstructured."""
        pattern = {} if self.pattern == PATTERNS[0] else {"pattern": self.pattern}
        networks = {"actor": self.actor.to_dict(), "critic": self.critic.to_dict()}
        return {"architecture": self.architecture, **pattern, **networks}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ActorCriticSpecification":
        """Read what `to_dict` wrote.

        :raises Refusal: if an entry is missing, unknown, of the wrong type or at odds with another
        """
        names = ("architecture", "actor", "critic")
        if not isinstance(data, Mapping) or set(data) - {"pattern"} != set(names):
            raise Refusal(f"the specification must be a table with exactly the entries {', '.join(names)}")
        entry, pattern = _known(data["architecture"]), data.get("pattern", PATTERNS[0])
        _check_pattern(pattern, entry)
        network = entry.specification_class
        return cls(data["architecture"], network.from_dict(data["actor"]), network.from_dict(data["critic"]), pattern)


def specify_architecture(
    architecture: str,
    n_inputs: int,
    n_outputs: int,
    budget: int,
    *,
    pattern: str = PATTERNS[0],
    **options: float | Mapping[str, float] | Sequence[str] | None,
) -> ActorCriticSpecification:
    """Find the actor and the critic of an architecture; each of the two has the whole budget.

    :param architecture: a name among `ARCHITECTURES`
    :param n_inputs: observation size
    :param n_outputs: action size or number of choices
    :param budget: weights of each network
    :param pattern: how positions of weights are drawn, one of `PATTERNS`
    :param options: `hidden_proportion`, `hidden_size` and `densities` of varied, see `specify`, and `room`, see
        `specify_varied`; `uniform_density` of uniform, see `specify_uniform`. None is as if left out
    :raises Refusal: one line that names the field at fault and what would fit
    """
    entry = _known(architecture)
    given = {name: value for name, value in options.items() if value is not None and value not in ({}, ())}
    for name, value in given.items():
        if name not in entry.options:
            fitting = next((other.name for other in ARCHITECTURES.values() if name in other.options), None)
            if fitting is None:
                raise TypeError(f"no architecture has an option {name}")
            shown = value.items() if isinstance(value, Mapping) else ()
            text = " ".join(f"{block}={density}" for block, density in shown) or value
            raise Refusal(
                f"`{name}` {text} contradicts `architecture` {architecture}: "
                f"leave it out or take `architecture` {fitting}"
            )
    _check_pattern(pattern, entry)
    actor, critic = resolve_name(entry.specify)(n_inputs, n_outputs, budget, **given)
    return ActorCriticSpecification(architecture, actor, critic, pattern)


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
    if specification.pattern != PATTERNS[0]:
        parts[0] += f", pattern {specification.pattern}"
    for name, network in (("actor", specification.actor), ("critic", specification.critic)):
        parts.append(f"{name}: {_sizes(network)}\n{_block_table(network)}")
    if note := ARCHITECTURES[specification.architecture].note:
        parts.append(note)
    return "\n\n".join(parts)


def _sizes(network: BlockSpecification) -> str:
    counts = {"input": network.n_inputs, "hidden unit": network.n_hidden, "output": network.n_outputs}
    return ", ".join(f"{count:,} {name}{'s' * (count != 1)}" for name, count in counts.items())


def _block_table(network: BlockSpecification) -> str:
    rows = [("block", "from", "to", "shape", "density", "weights", "share")]
    for block in network.blocks:
        n_rows, n_columns = network.shape(block)
        density, weights, share = network.densities[block], network.weights[block], network.shares[block]
        figures = (f"{n_rows} x {n_columns}", _format_density(density), f"{weights:,}", f"{share:.1%}")
        rows.append((block, *network.ends(block), *figures))
    rows.append(("total", "", "", "", "", f"{network.total_weights:,}", "100.0%"))
    lines = [f"  {line}" for line in aligned(rows, left=range(3))]
    rule = "  " + "-" * (len(lines[0]) - 2)
    return "\n".join(
        [lines[0], rule, *lines[1:-1], rule, lines[-1], f"  hidden proportion {network.hidden_proportion:.4g}"]
    )


def _format_density(density: float) -> str:
    return f"{density:.4f}" if density >= 0.001 else f"{density:.2e}"


def _known(architecture: object) -> Architecture:
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise Refusal(f"`architecture` {architecture!r} is unknown: one of {', '.join(ARCHITECTURES)} is needed")
    return ARCHITECTURES[architecture]


def those_with_room() -> str:
    """Name the architectures whose blocks may have positions without a weight, for a message."""
    return " or ".join(entry.name for entry in ARCHITECTURES.values() if entry.has_room)


def _check_pattern(pattern: object, entry: Architecture) -> None:
    if pattern not in PATTERNS:
        raise Refusal(f"`pattern` {pattern!r} is unknown: {' or '.join(PATTERNS)} is needed")
    if pattern != PATTERNS[0] and not entry.has_room:
        raise Refusal(
            f"`pattern` {pattern} does not fit `architecture` {entry.name}, in which every position holds a weight: "
            f"{those_with_room()} is needed"
        )
