"""What the policies of PyTorch's gated cells share: dense blocks, linear heads, whole sequences in one padded call."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self, cast

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from policies.network.architectures import ActorCriticSpecification
from policies.network.specification import BlockSpecification, positive_integer
from policies.recurrent.growth import Growth, limit_growth
from policies.recurrent.side_by_side import side_by_side
from policies.refusal import Refusal
from policies.sequence_policy import Pair, SequencePolicy, widened
from policies.step_graph import StepGraph, array


@dataclass(frozen=True)
class GatedSpecification(BlockSpecification):
    """Sizes and weight counts of one layer of a gated cell with a linear head; all blocks are dense.

    `input` and `recurrent` map inputs and hidden units to the gates, `output` the hidden units to the outputs.
    """

    blocks: ClassVar[tuple[str, ...]] = ("input", "recurrent", "output")
    recurrent_block: ClassVar[str] = "recurrent"
    cell: ClassVar[str]
    """its name with an article"""
    gates: ClassVar[int]
    """rows of `input` and `recurrent` for each hidden unit"""

    @classmethod
    def largest(cls, n_inputs: int, n_outputs: int, budget: int) -> tuple[Self, Self]:
        """Find an actor of the largest hidden size that fits a budget, and a critic of the same and one output.

        :raises Refusal: one line that names what cannot be met and what would fit
        """
        n_inputs = positive_integer("n_inputs", n_inputs)
        n_outputs = positive_integer("n_outputs", n_outputs)
        budget = positive_integer("budget", budget)
        least = cls.gates * (n_inputs + 1) + n_outputs
        if budget < least:
            raise Refusal(
                f"`budget` {budget:,} is too small for {cls.cell} of {n_inputs:,} inputs and {n_outputs:,} outputs: "
                f"at least {least:,} is needed"
            )
        linear = cls.gates * n_inputs + n_outputs  # The largest h with gates · h² + linear · h ≤ budget:
        n_hidden = (math.isqrt(linear * linear + 4 * cls.gates * budget) - linear) // (2 * cls.gates)
        return cls._dense(n_inputs, n_hidden, n_outputs, budget), cls._dense(n_inputs, n_hidden, 1, budget)

    @classmethod
    def _dense(cls, n_inputs: int, n_hidden: int, n_outputs: int, budget: int) -> Self:
        rows = cls.gates * n_hidden
        weights = {"input": rows * n_inputs, "recurrent": rows * n_hidden, "output": n_outputs * n_hidden}
        return cls(n_inputs, n_hidden, n_outputs, budget, weights)

    @property
    def n_biases(self) -> int:
        """Number of trainable biases: two for each gate of a hidden unit, as in PyTorch, and one for each output."""
        return 2 * self.gates * self.n_hidden + self.n_outputs

    def _sides(self, block: str) -> tuple[tuple[str, int], tuple[str, int]]:
        inputs, hidden, outputs = ("input", self.n_inputs), ("hidden", self.n_hidden), ("output", self.n_outputs)
        gates = ("gates", self.gates * self.n_hidden)
        return {"input": (gates, inputs), "recurrent": (gates, hidden), "output": (outputs, hidden)}[block]

    def _floors(self) -> Mapping[str, int]:
        return {block: math.prod(self.shape(block)) for block in self.blocks}


_FIXED_OPTIONS: Mapping[str, Any] = {
    "use_sde": False,
    "n_lstm_layers": 1,
    "shared_lstm": False,
    "enable_critic_lstm": True,
    "lstm_kwargs": {},
    "features_extractor_class": FlattenExtractor,
}
"""Of sb3-contrib's options, those that have one value here."""


class GatedPolicy(SequencePolicy):
    """A policy of two gated cells, each with a linear head, in sb3-contrib's `MlpLstmPolicy` with `net_arch=[]`.

    Episodes that begin inside a sequence are cut off and run beside the others in one padded call, where the parent
    steps through time in Python (stable-baselines3-contrib issue 113). The state pair holds the cell's h and c, and
    behind h the deviation of correlated exploration noise.

    :param lstm_hidden_size: hidden units of the actor and of the critic, under sb3-contrib's name
    :param noise_correlation: see `SequencePolicy`
    :param options: further options of sb3-contrib's RecurrentActorCriticPolicy
    :raises Refusal: for those that ask for another kind of network: several layers, a shared or a missing one, a
        features extractor, state-dependent exploration
    """

    cell_class: ClassVar[type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = nn.LSTM
    """called as an LSTM is"""
    actor: nn.RNNBase
    critic: nn.RNNBase

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        lstm_hidden_size: int = 64,
        noise_correlation: float = 0.0,
        **options: Any,
    ) -> None:
        for name, needed in _FIXED_OPTIONS.items():
            given = options.get(name)
            if given is not None and given != needed:
                raise Refusal(f"`{name}` {given} does not fit {type(self).__name__}, which has {needed}: leave it out")
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            noise_correlation=noise_correlation,
            lstm_hidden_size=lstm_hidden_size,
            **({"net_arch": []} | options),
        )
        # Under names of their own, so that `lstm_actor` can say how wide the states are.
        self.actor, self.critic = self._modules.pop("lstm_actor"), self._modules.pop("lstm_critic")
        if self.cell_class is not nn.LSTM:  # which is what the parent insists on building
            sizes = self.actor.input_size, self.actor.hidden_size
            self.actor, self.critic = self.cell_class(*sizes), self.cell_class(*sizes)
            self.optimizer = self.optimizer_class(self.parameters(), **({"lr": lr_schedule(1)} | self.optimizer_kwargs))
        self.state_width = lstm_hidden_size + self.noise_size
        self.set_state_width(self.state_width)

    @classmethod
    def options_of(cls, specification: ActorCriticSpecification, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {"net_arch": [], "lstm_hidden_size": specification.actor.n_hidden}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"lstm_hidden_size": self.actor.hidden_size, "noise_correlation": self.noise_correlation}
        return super()._get_constructor_parameters() | own

    def step_actor(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        latent, new_pair = self._step(self.actor, observations, pair, episode_starts)
        return self._outputs(latent), new_pair

    def step_critic(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        latent, new_pair = self._step(self.critic, observations, pair, episode_starts)
        return self._values(latent), new_pair

    def run_sequences(self, observations: Tensor, states: RNNStates, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        inputs, cells = observations.float(), (self.actor, self.critic)
        runs = [
            partial(run_cell, cell, inputs, self.cell_state(pair), episode_starts)
            for cell, pair in zip(cells, (states.pi, states.vf), strict=True)
        ]
        others = (inputs, *states.pi, *states.vf)
        if inputs.device.type == "cpu" and not any(tensor.requires_grad for tensor in others):
            latent, values = side_by_side(runs, [list(cell.parameters()) for cell in cells])
        else:
            latent, values = (run() for run in runs)
        return self._outputs(latent), self._values(values)

    def run_actor(self, observations: Tensor, episode_starts: Tensor) -> Tensor:
        zeros = observations.new_zeros(1, observations.shape[1], self.actor.hidden_size, dtype=torch.float32)
        return self._outputs(run_cell(self.actor, observations.float(), (zeros, zeros), episode_starts))

    def limit_growth(self, observations: Tensor) -> dict[str, Growth]:
        def limited(cell: nn.RNNBase) -> Growth:
            def run(inputs: Tensor, state: Tensor, starts: Tensor) -> Tensor:
                h, c = state[None].chunk(2, dim=-1)
                return run_cell(cell, inputs, (h.contiguous(), c.contiguous()), starts)

            loops = [cast(Tensor, cell.weight_hh_l0)]
            return limit_growth(run, loops, 2 * cell.hidden_size, observations.float())

        return {"actor": limited(self.actor), "critic": limited(self.critic)}

    def critic_parameters(self) -> list[nn.Parameter]:
        return [*self.critic.parameters(), *self.mlp_extractor.value_net.parameters(), *self.value_net.parameters()]

    def noise_of(self, pair: Pair) -> Tensor:
        return pair[0][0, :, self.actor.hidden_size :]

    def with_noise(self, pair: Pair, noise: Tensor) -> Pair:
        return torch.cat([pair[0][..., : self.actor.hidden_size], noise[None]], dim=-1), pair[1]

    def export_head(self, graph: StepGraph, hidden: str, outputs: str) -> None:
        """Add the actor's linear head to an exported step."""
        head = {"head weights": array(self.action_net.weight).T, "head bias": array(self.action_net.bias)}
        graph.add("Gemm", [hidden, *(graph.constant(name, values) for name, values in head.items())], outputs)

    def _outputs(self, latent: Tensor) -> Tensor:
        return self.action_net(self.mlp_extractor.forward_actor(latent))

    def _values(self, latent: Tensor) -> Tensor:
        return self.value_net(self.mlp_extractor.forward_critic(latent)).squeeze(-1)

    def cell_state(self, pair: Pair) -> Pair:
        """Return the cell's part of the actor's or the critic's state pair, (1, B, h) each."""
        size = self.actor.hidden_size
        return pair[0][..., :size].contiguous(), pair[1][..., :size].contiguous()

    def _step(self, cell: nn.RNNBase, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        carried = 1 - episode_starts.float()[None, :, None]
        h, c = self.cell_state(pair)
        outputs, (h, c) = cell(observations.float()[None], (h * carried, c * carried))
        return outputs[0], (widened(h[0], self.state_width), widened(c[0], self.state_width))


def run_cell(
    cell: Callable[[Tensor, Pair], tuple[Tensor, Pair]], inputs: Tensor, state: Pair, episode_starts: Tensor
) -> Tensor:
    """Run a one-layer cell over sequences whose state is zeroed at episode starts.

    :param inputs: (T, B, n_x)
    :param state: hidden and cell state before the first step, (1, B, h) each
    :param episode_starts: (T, B)
    :return: outputs (T, B, h)
    """
    T, B = inputs.shape[:2]
    starts = episode_starts.bool()
    carried = (~starts[0]).to(inputs.dtype).view(1, B, 1)
    h, c = state[0] * carried, state[1] * carried
    if not starts[1:].any():
        return cell(inputs, (h, c))[0]
    # Pieces between episode starts, environment after environment; each row knows its piece and its place in it.
    cuts = starts.t().clone()
    cuts[:, 0] = True
    piece = cuts.flatten().cumsum(0) - 1
    first_rows = cuts.flatten().nonzero().squeeze(1)
    place = torch.arange(B * T, device=inputs.device) - first_rows[piece]
    padded = inputs.new_zeros(int(place.max()) + 1, len(first_rows), inputs.shape[2])
    padded[place, piece] = inputs.transpose(0, 1).flatten(0, 1)
    leading = piece.view(B, T)[:, 0]
    zeros = h.new_zeros(1, len(first_rows), h.shape[2])
    outputs, _ = cell(padded, (zeros.index_copy(1, leading, h), zeros.index_copy(1, leading, c)))
    return outputs[place, piece].view(B, T, -1).transpose(0, 1)
