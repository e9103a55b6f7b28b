"""sb3-contrib's LSTM policy, run over whole sequences: the baseline that every comparison trains."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from policies.gated_policy import GatedPolicy, GatedSpecification
from policies.sequence_policy import Pair
from policies.step_graph import StepGraph, array


@dataclass(frozen=True)
class LstmSpecification(GatedSpecification):
    """Sizes and weight counts of one LSTM layer with a linear head; all blocks are dense."""

    cell: ClassVar[str] = "an LSTM"
    gates: ClassVar[int] = 4

    @property
    def state_size(self) -> int:
        """Length of the state [h; c]."""
        return 2 * self.n_hidden


class LstmPolicy(GatedPolicy):
    """sb3-contrib's `MlpLstmPolicy` with `net_arch=[]`, run over whole sequences; its parameters are the parent's."""

    def exported_state(self, pair: Pair) -> Tensor:
        """Return the state [h; c], (B, 2 n_h)."""
        return torch.cat(self.cell_state(pair), dim=2)[0]

    def export_step(self, graph: StepGraph, inputs: str, carried: str, outputs: str) -> None:
        size = self.actor.hidden_size
        tensors = {name: array(tensor) for name, tensor in self.actor.named_parameters()}
        # PyTorch has the gates in the order input, forget, cell, output; here the three sigmoids lie side by side.
        order = np.arange(4 * size).reshape(4, size)[[0, 1, 3, 2]].ravel()
        h, c = graph.split(carried, [size, size], ["h", "c"])
        everything = graph.add("Concat", [inputs, h], "inputs and h", axis=1)
        weights = np.concatenate([tensors["weight_ih_l0"], tensors["weight_hh_l0"]], axis=1)[order]
        biases = (tensors["bias_ih_l0"] + tensors["bias_hh_l0"])[order]
        constants = [graph.constant("weights", weights.T), graph.constant("biases", biases)]
        sums = graph.add("Gemm", [everything, *constants], "gate sums")
        gates, cell = graph.split(sums, [3 * size, size], ["sigmoid sums", "cell sums"])
        gates = graph.add("Sigmoid", [gates], "gates")
        cell = graph.add("Tanh", [cell], "cell")
        i, f, o = graph.split(gates, [size] * 3, ["input gate", "forget gate", "output gate"])
        kept, added = graph.add("Mul", [f, c], "kept"), graph.add("Mul", [i, cell], "added")
        c = graph.add("Add", [kept, added], "next c")
        h = graph.add("Mul", [o, graph.add("Tanh", [c], "bounded c")], "next h")
        graph.add("Concat", [h, c], "next_state", axis=1)
        self.export_head(graph, h, outputs)
