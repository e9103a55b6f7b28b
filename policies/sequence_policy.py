"""What the sequence PPO asks of a recurrent actor-critic policy beyond sb3-contrib's interface."""

from abc import abstractmethod

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from torch import Tensor


class SequencePolicy(RecurrentActorCriticPolicy):
    """A recurrent actor-critic policy that evaluates whole time-major sequences, episode boundaries included.

    sb3-contrib lays minibatches out sequence after sequence and steps through time in Python wherever an episode
    starts; here time is the first axis and a subclass resets the state inside its own loop.
    """

    @abstractmethod
    def evaluate_sequences(
        self, observations: Tensor, actions: Tensor, states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate the actions of whole sequences under the current policy.

        :param observations: (T, B, n_x)
        :param actions: (T, B, n_a) for Box, (T, B) int64 for Discrete
        :param states: actor and critic state before the first step, pairs of (1, B, state size)
        :param episode_starts: (T, B), nonzero where the state is zeroed before the step
        :return: values, log probabilities and entropies, each (T, B)
        """


def batch_to_sequences(flat: Tensor, n_sequences: int) -> Tensor:
    """Turn sb3-contrib's layout (B · T, …), sequence after sequence, into time-major (T, B, …)."""
    return flat.reshape(n_sequences, -1, *flat.shape[1:]).transpose(0, 1)


def sequences_to_batch(sequences: Tensor) -> Tensor:
    """Turn time-major (T, B, …) into sb3-contrib's layout (B · T, …); the inverse of `batch_to_sequences`."""
    return torch.flatten(sequences.transpose(0, 1), 0, 1)
