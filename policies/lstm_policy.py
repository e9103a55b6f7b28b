"""sb3-contrib's LSTM policy, run over whole sequences: the baseline that every comparison trains."""

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from policies.sequence_policy import Pair, SequencePolicy, widened


class LstmPolicy(SequencePolicy):
    """sb3-contrib's `MlpLstmPolicy` with `net_arch=[]`, run over whole sequences; its parameters are the parent's.

    Episodes that begin inside a sequence are cut off and run beside the others in one padded call, where the parent
    steps through time in Python (stable-baselines3-contrib issue 113). The state pair holds the LSTM's h and c, and
    behind h the deviation of correlated exploration noise.

    :param lstm_hidden_size: hidden units of the actor and of the critic
    :param noise_correlation: see `SequencePolicy`
    :param options: further options of sb3-contrib's RecurrentActorCriticPolicy
    """

    actor: nn.LSTM
    critic: nn.LSTM

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
        self.state_width = lstm_hidden_size + self.noise_size
        self.set_state_width(self.state_width)

    def step_actor(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        """Run the actor over one step; see `SequencePolicy.step_actor`."""
        latent, new_pair = self._step(self.actor, observations, pair, episode_starts)
        return self._outputs(latent), new_pair

    def step_critic(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        """Run the critic over one step; see `SequencePolicy.step_critic`."""
        latent, new_pair = self._step(self.critic, observations, pair, episode_starts)
        return self._values(latent), new_pair

    def run_sequences(self, observations: Tensor, states: RNNStates, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        """Run both networks over whole sequences; see `SequencePolicy.run_sequences`."""
        latent = run_lstm(self.actor, observations.float(), self._state(states.pi), episode_starts)
        values = run_lstm(self.critic, observations.float(), self._state(states.vf), episode_starts)
        return self._outputs(latent), self._values(values)

    def run_actor(self, observations: Tensor, episode_starts: Tensor) -> Tensor:
        """Run the actor alone over whole sequences; see `SequencePolicy.run_actor`."""
        zeros = observations.new_zeros(1, observations.shape[1], self.actor.hidden_size, dtype=torch.float32)
        return self._outputs(run_lstm(self.actor, observations.float(), (zeros, zeros), episode_starts))

    def critic_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the critic's LSTM and of what follows it."""
        return [*self.critic.parameters(), *self.mlp_extractor.value_net.parameters(), *self.value_net.parameters()]

    def noise_of(self, pair: Pair) -> Tensor:
        """Return the last deviation, (B, noise size); see `SequencePolicy`."""
        return pair[0][0, :, self.actor.hidden_size :]

    def with_noise(self, pair: Pair, noise: Tensor) -> Pair:
        """Return the pair with another last deviation; see `SequencePolicy`."""
        return torch.cat([pair[0][..., : self.actor.hidden_size], noise[None]], dim=-1), pair[1]

    def _outputs(self, latent: Tensor) -> Tensor:
        return self.action_net(self.mlp_extractor.forward_actor(latent))

    def _values(self, latent: Tensor) -> Tensor:
        return self.value_net(self.mlp_extractor.forward_critic(latent)).squeeze(-1)

    def _state(self, pair: Pair) -> Pair:
        size = self.actor.hidden_size
        return pair[0][..., :size].contiguous(), pair[1][..., :size].contiguous()

    def _step(self, lstm: nn.LSTM, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        carried = 1 - episode_starts.float()[None, :, None]
        h, c = self._state(pair)
        outputs, (h, c) = lstm(observations.float()[None], (h * carried, c * carried))
        return outputs[0], (widened(h[0], self.state_width), widened(c[0], self.state_width))


def run_lstm(lstm: nn.LSTM, inputs: Tensor, state: Pair, episode_starts: Tensor) -> Tensor:
    """Run a one-layer LSTM over sequences whose state is zeroed at episode starts.

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
        return lstm(inputs, (h, c))[0]
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
    outputs, _ = lstm(padded, (zeros.index_copy(1, leading, h), zeros.index_copy(1, leading, c)))
    return outputs[place, piece].view(B, T, -1).transpose(0, 1)
