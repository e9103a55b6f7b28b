"""sb3-contrib's LSTM policy, evaluated over whole sequences: the baseline that every comparison trains."""

import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from torch import Tensor, nn

from policies.sequence_policy import SequencePolicy


class LstmPolicy(SequencePolicy):
    """sb3-contrib's `MlpLstmPolicy` with whole-sequence evaluation; parameters and results are the parent's.

    Episodes that begin inside a sequence are cut off and run beside the others in one padded call, where the parent
    steps through time in Python (stable-baselines3-contrib issue 113).
    """

    def evaluate_sequences(
        self, observations: Tensor, actions: Tensor, states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate whole time-major sequences; see `SequencePolicy.evaluate_sequences`."""
        T, B = observations.shape[:2]
        features = self.extract_features(observations.flatten(0, 1)).view(T, B, -1)
        latent_actor = run_lstm(self.lstm_actor, features, states.pi, episode_starts).flatten(0, 1)
        latent_critic = run_lstm(self.lstm_critic, features, states.vf, episode_starts).flatten(0, 1)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(latent_actor))
        values = self.value_net(self.mlp_extractor.forward_critic(latent_critic)).view(T, B)
        log_prob = distribution.log_prob(actions.flatten(0, 1)).view(T, B)
        entropy = distribution.entropy()
        assert entropy is not None
        return values, log_prob, entropy.view(T, B)


def run_lstm(lstm: nn.LSTM, inputs: Tensor, state: tuple[Tensor, Tensor], episode_starts: Tensor) -> Tensor:
    """Run an LSTM over sequences whose state is zeroed at episode starts.

    :param inputs: (T, B, n_x)
    :param state: hidden and cell state before the first step, each (layers, B, h)
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
    zeros = h.new_zeros(h.shape[0], len(first_rows), h.shape[2])
    outputs = lstm(padded, (zeros.index_copy(1, leading, h), zeros.index_copy(1, leading, c)))[0]
    return outputs[place, piece].view(B, T, -1).transpose(0, 1)
