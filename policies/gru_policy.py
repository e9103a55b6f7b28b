"""PyTorch's GRU in place of sb3-contrib's LSTM: a gated baseline of three quarters of the weights per hidden unit."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from policies.gated_policy import GatedPolicy, GatedSpecification
from policies.sequence_policy import Pair
from policies.step_graph import StepGraph, array


@dataclass(frozen=True)
class GruSpecification(GatedSpecification):
    """Sizes and weight counts of one GRU layer with a linear head; all blocks are dense."""

    cell: ClassVar[str] = "a GRU"
    gates: ClassVar[int] = 3

    @property
    def state_size(self) -> int:
        """Length of the state h."""
        return self.n_hidden


class PairedGru(nn.GRU):
    """A GRU called as an LSTM is: of its state (h, c), c is carried along unread."""

    def forward(self, inputs: Tensor, state: Pair) -> tuple[Tensor, Pair]:  # type: ignore[override]
        """Run over (T, B, n_x) from a state (1, B, h) each; returns the outputs (T, B, h) and the state."""
        outputs, h = super().forward(inputs, state[0])
        return outputs, (h, state[1])


class GruPolicy(GatedPolicy):
    """sb3-contrib's `MlpLstmPolicy` with `net_arch=[]`, its LSTMs replaced by GRUs; heads are initialized as there."""

    cell_class = PairedGru

    def exported_state(self, pair: Pair) -> Tensor:
        """Return the state h, (B, n_h)."""
        return self.cell_state(pair)[0][0]

    def export_step(self, graph: StepGraph, inputs: str, carried: str, outputs: str) -> None:
        """Add one step of PyTorch's GRU and the linear head.

        The reset gate is applied after the recurrent product and its bias: n = tanh(W_in x + b_in + r (W_hn h + b_hn)).
        """
        size = self.actor.hidden_size
        parts = []
        for source, vectors, name in (("x", inputs, "ih"), ("h", carried, "hh")):
            weights, biases = (array(getattr(self.actor, f"{kind}_{name}_l0")) for kind in ("weight", "bias"))
            constants = [
                graph.constant(f"weights of {source}", weights.T),
                graph.constant(f"biases of {source}", biases),
            ]
            sums = graph.add("Gemm", [vectors, *constants], f"sums of {source}")
            parts.append(graph.split(sums, [2 * size, size], [f"gate sums of {source}", f"new sums of {source}"]))
        (gates_x, new_x), (gates_h, new_h) = parts
        gates = graph.add("Sigmoid", [graph.add("Add", [gates_x, gates_h], "gate sums")], "gates")
        reset, update = graph.split(gates, [size, size], ["reset gate", "update gate"])
        kept = graph.add("Mul", [reset, new_h], "new sums that reset leaves")
        new = graph.add("Tanh", [graph.add("Add", [new_x, kept], "new sums")], "new")
        # h' = (1 − z) n + z h
        change = graph.add("Mul", [update, graph.add("Sub", [carried, new], "old less new")], "share of the old")
        self.export_head(graph, graph.add("Add", [new, change], "next_state"), outputs)
