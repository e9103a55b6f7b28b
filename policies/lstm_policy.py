"""sb3-contrib's LSTM policy, run over whole sequences: the baseline that every comparison trains."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from policies.gated_policy import GatedPolicy, GatedSpecification


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

    actor: nn.LSTM
    critic: nn.LSTM
