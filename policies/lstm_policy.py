"""sb3-contrib's LSTM policy, run over whole sequences: the baseline that every comparison trains."""

from typing import Any

import torch
from gymnasium import spaces
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

    def run_actor(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        """Run the actor over sequences; see `SequencePolicy.run_actor`."""
        latent, new_pair = self._run(self.actor, observations, pair, episode_starts)
        return self.action_net(self.mlp_extractor.forward_actor(latent)), new_pair

    def run_critic(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        """Run the critic over sequences; see `SequencePolicy.run_critic`."""
        latent, new_pair = self._run(self.critic, observations, pair, episode_starts)
        return self.value_net(self.mlp_extractor.forward_critic(latent)).squeeze(-1), new_pair

    def noise_of(self, pair: Pair) -> Tensor:
        """Return the last deviation, (B, noise size); see `SequencePolicy`."""
        return pair[0][0, :, self.actor.hidden_size :]

    def with_noise(self, pair: Pair, noise: Tensor) -> Pair:
        """Return the pair with another last deviation; see `SequencePolicy`."""
        return torch.cat([pair[0][..., : self.actor.hidden_size], noise[None]], dim=-1), pair[1]

    def _run(self, lstm: nn.LSTM, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        size = lstm.hidden_size
        state = pair[0][..., :size].contiguous(), pair[1][..., :size].contiguous()
        outputs, (h, c) = run_lstm(lstm, observations.float(), state, episode_starts)
        return outputs, (widened(h[0], self.state_width), widened(c[0], self.state_width))


def run_lstm(lstm: nn.LSTM, inputs: Tensor, state: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
    """Run a one-layer LSTM over sequences whose state is zeroed at episode starts.

    :param inputs: (T, B, n_x)
    :param state: hidden and cell state before the first step, (1, B, h) each
    :param episode_starts: (T, B)
    :return: outputs (T, B, h), and hidden and cell state after the last step
    """
    T, B = inputs.shape[:2]
    starts = episode_starts.bool()
    carried = (~starts[0]).to(inputs.dtype).view(1, B, 1)
    h, c = state[0] * carried, state[1] * carried
    if not starts[1:].any():
        return lstm(inputs, (h, c))
    # Pieces between episode starts, environment after environment; each row knows its piece and its place in it.
    cuts = starts.t().clone()
    cuts[:, 0] = True
    piece = cuts.flatten().cumsum(0) - 1
    first_rows = cuts.flatten().nonzero().squeeze(1)
    place = torch.arange(B * T, device=inputs.device) - first_rows[piece]
    lengths = torch.diff(first_rows, append=first_rows.new_tensor([B * T]))
    padded = inputs.new_zeros(int(lengths.max()), len(first_rows), inputs.shape[2])
    padded[place, piece] = inputs.transpose(0, 1).flatten(0, 1)
    leading, last = piece.view(B, T)[:, 0], piece.view(B, T)[:, -1]
    zeros = h.new_zeros(1, len(first_rows), h.shape[2])
    # Packed, so that the state after a piece is that of its last step and not of the padding behind it.
    packed = nn.utils.rnn.pack_padded_sequence(padded, lengths.cpu(), enforce_sorted=False)
    results, (h, c) = lstm(packed, (zeros.index_copy(1, leading, h), zeros.index_copy(1, leading, c)))
    outputs, _ = nn.utils.rnn.pad_packed_sequence(results)
    return outputs[place, piece].view(B, T, -1).transpose(0, 1), (h[:, last], c[:, last])
