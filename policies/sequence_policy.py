"""Recurrent actor-critic policies that work on whole time-major sequences, episode boundaries included."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor
from torch.distributions import Bernoulli, Categorical
from torch.nn import Parameter
from torch.nn.functional import pad

from policies.gaussian import StateIndependentGaussian
from policies.network.architectures import ActorCriticSpecification
from policies.recurrent.growth import Growth
from policies.refusal import Refusal
from policies.step_graph import StepGraph

Pair = tuple[Tensor, Tensor]
"""A network's state as sb3-contrib carries it: h and c, each (1, B, state width)."""


class StateShape(NamedTuple):
    """The two numbers that RecurrentPPO reads off `policy.lstm_actor` to lay out its states."""

    num_layers: int
    hidden_size: int


class SequencePolicy(RecurrentActorCriticPolicy):
    """What the networks of this project share as policies; a subclass runs its two networks over (T, B, n_x).

    sb3-contrib lays minibatches out sequence after sequence and steps through time in Python wherever an episode
    starts; here time is the first axis and the networks reset their states themselves. sb3-contrib's own interface is
    served from the same code, so that a stock RecurrentPPO can train these policies too.

    **Exploration.** With `noise_correlation` ρ > 0 the Gaussian noise of Box actions is an autoregressive process: an
    action is drawn around the network's output plus ρ times what the last action differed from its output, with
    √(1 − ρ²) of the standard deviation, so that the deviation as a whole keeps it (Korenkevych et al. 2019, arXiv
    1903.11524). White noise per step is filtered out by a body's inertia; correlated noise moves it. The deviation is
    part of the state pair, the log probabilities are those of the process, and deterministic actions know no noise.

    **Actions.** The networks and their distribution know a Box as one flat row of numbers, and choices (Discrete, the
    entries of a MultiDiscrete or MultiBinary, which are independent of one another) counted from 0. What acts in an
    environment has the shape and the start of its space, and `predict` its type too.

    :param observation_space: one-dimensional Box
    :param action_space: Box of floats, Discrete, or MultiDiscrete or MultiBinary of one axis
    :param lr_schedule: learning rate as a function of the remaining progress (1 to 0)
    :param noise_correlation: ρ, from 0 (white noise) to below 1
    :param options: of sb3-contrib's RecurrentActorCriticPolicy
    :raises Refusal: for unsupported spaces or a correlation outside [0, 1)
    """

    first_choice: Tensor
    """of each entry of an action, as the environment counts them, () for Discrete; `last_choice` is counted from 0"""
    last_choice: Tensor
    action_dist: Any

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        noise_correlation: float = 0.0,
        **options: Any,
    ) -> None:
        network_sizes(observation_space, action_space)
        if not 0 <= noise_correlation < 1:
            raise Refusal(f"`noise_correlation` {noise_correlation} does not fit: a number from 0 to below 1 is needed")
        super().__init__(observation_space, action_space, lr_schedule, **options)
        distribution: Distribution = self.action_dist
        if gaussian := isinstance(distribution, DiagGaussianDistribution):
            self.action_dist = StateIndependentGaussian(distribution.action_dim)
        self.noise_correlation = float(noise_correlation) if gaussian else 0.0
        self.noise_size = self.action_dist.action_dim if gaussian and noise_correlation else 0
        self.choice_type: torch.dtype | None = None
        if not isinstance(action_space, spaces.Box):
            self.choice_type = torch.from_numpy(np.zeros(0, action_space.dtype)).dtype
        self.counts_from_zero = True
        if isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete):
            first, choices = np.asarray(action_space.start, np.int64), choices_of(action_space)
            self.counts_from_zero = not first.any()
            self.register_buffer("first_choice", torch.as_tensor(first), persistent=False)
            self.register_buffer("last_choice", torch.tensor(choices).view(first.shape) - 1, persistent=False)
        if not isinstance(action_space, spaces.Box | spaces.Discrete):
            # In a file of weights they tell what these act with, which the number of outputs does not.
            self.register_buffer("choices", torch.tensor(choices_of(action_space)))

    def set_state_width(self, width: int) -> None:
        """Tell sb3-contrib how wide the tensors of a state pair are."""
        self.lstm_actor = StateShape(num_layers=1, hidden_size=width)
        self.lstm_hidden_state_shape = (1, 1, width)

    @classmethod
    @abstractmethod
    def options_of(cls, specification: ActorCriticSpecification, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constructor's options that build two networks.

        :param specification: of the networks
        :param settings: what it was found from, as `specify_architecture` calls it, and `activation`,
            `initialization` and `network_seed` as `VariedSparsityPolicy` does; what a network has no use for is left
        """

    @abstractmethod
    def step_actor(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        """Run the actor over one step.

        :param observations: (B, n_x)
        :param pair: state before the step, (1, B, state width) each
        :param episode_starts: (B,), nonzero where the state is zeroed before the step
        :return: parameters of the action distribution (B, n_y), and the state after the step
        """

    @abstractmethod
    def step_critic(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        """Run the critic over one step, as `step_actor`; returns values (B,) and the state after the step."""

    @abstractmethod
    def run_sequences(self, observations: Tensor, states: RNNStates, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        """Run both networks over whole sequences.

        :param observations: (T, B, n_x)
        :param states: actor and critic state before the first step
        :param episode_starts: (T, B), nonzero where the state is zeroed before the step
        :return: parameters of the action distribution (T, B, n_y), and values (T, B)
        """

    @abstractmethod
    def run_actor(self, observations: Tensor, episode_starts: Tensor) -> Tensor:
        """Run the actor alone over whole sequences, from the zero state.

        :param observations: (T, B, n_x)
        :param episode_starts: (T, B), nonzero where the state is zeroed before the step
        :return: parameters of the action distribution (T, B, n_y)
        """

    @abstractmethod
    def critic_parameters(self) -> list[Parameter]:
        """Return the parameters that the values depend on."""

    @abstractmethod
    def limit_growth(self, observations: Tensor) -> dict[str, Growth]:
        """Keep the networks from amplifying roundings along sequences; see `policies.recurrent.growth`.

        :param observations: (T, B, n_x), of sequences that are not interrupted by a reset
        :return: what was done, by the name of the network
        """

    @abstractmethod
    def noise_of(self, pair: Pair) -> Tensor:
        """Return the part of the actor's state pair that holds the last deviation, (B, noise size)."""

    @abstractmethod
    def with_noise(self, pair: Pair, noise: Tensor) -> Pair:
        """Return the actor's state pair with another last deviation."""

    @abstractmethod
    def exported_state(self, pair: Pair) -> Tensor:
        """Return the actor's state as an exported policy carries it, (B, `state_size` of the specification).

        The deviation of exploration noise is no part of it: exported actions are the deterministic ones.
        """

    @abstractmethod
    def export_step(self, graph: StepGraph, inputs: str, carried: str, outputs: str) -> None:
        """Add one step of the actor to a graph, with a value "next_state" laid out as `exported_state`.

        :param inputs: what the network reads, (B, n_x) float32
        :param carried: the state before the step, zeroed where an episode starts
        :param outputs: name to give the parameters of the action distribution, (B, n_y)
        """

    def evaluate_sequences(
        self, observations: Tensor, actions: Tensor, states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate the actions of whole sequences under the current policy.

        :param observations: (T, B, n_x)
        :param actions: (T, B) int64 for Discrete, otherwise (T, B, n_a), as the environment takes them
        :param states: actor and critic state before the first step
        :param episode_starts: (T, B), nonzero where the state is zeroed before the step
        :return: values, log probabilities and entropies, each (T, B)
        """
        T, B = observations.shape[:2]
        actions = self.counted_from_zero(actions)
        outputs, values = self.run_sequences(observations, states, episode_starts)
        if self.noise_size:
            last = torch.cat([self.noise_of(states.pi)[None], (actions - outputs)[:-1]])
            outputs = self._shifted(outputs, last, episode_starts)
        distribution = self.distribution(outputs.flatten(0, 1))
        log_prob = distribution.log_prob(actions.flatten(0, 1)).view(T, B)
        entropy = distribution.entropy()
        assert entropy is not None
        return values, log_prob, entropy.view(T, B)

    def act(self, obs: Tensor, pair: Pair, episode_starts: Tensor, deterministic: bool) -> tuple[Tensor, Tensor, Pair]:
        """Choose actions for one step of B environments.

        :return: actions (B, *shape of the space), not clipped; log probabilities (B,); the new state pair
        """
        actions, distribution, new_pair = self._draw(obs, pair, episode_starts, deterministic)
        return self._of_the_space(actions), distribution.log_prob(actions), new_pair

    def _draw(
        self, obs: Tensor, pair: Pair, episode_starts: Tensor, deterministic: bool
    ) -> tuple[Tensor, Distribution, Pair]:
        """Draw actions as the distribution knows them; returns them, the distribution and the new state pair."""
        outputs, new_pair = self.step_actor(obs, pair, episode_starts)
        mean = outputs
        if self.noise_size and not deterministic:
            mean = self._shifted(outputs, self.noise_of(pair), episode_starts)
        distribution = self.distribution(mean)
        actions = distribution.get_actions(deterministic=deterministic)
        if self.noise_size:
            new_pair = self.with_noise(new_pair, actions - outputs)
        return actions, distribution, new_pair

    def _of_the_space(self, actions: Tensor) -> Tensor:
        """Turn actions as the distribution knows them into those of the environment."""
        if not self.counts_from_zero:
            actions = actions + self.first_choice
        if self.choice_type is not None:
            actions = actions.to(self.choice_type)
        return actions.reshape(-1, *self.action_space.shape)

    def counted_from_zero(self, actions: Tensor) -> Tensor:
        """Return actions of the environment, (…, n_a) or (…) for Discrete, as the distribution knows them."""
        if isinstance(self.action_space, spaces.MultiBinary):
            return actions.float()  # which its log probabilities are computed with
        if self.counts_from_zero:
            return actions
        # The stock RecurrentPPO fills short sequences up with zeros, which need not be choices and do not count.
        return torch.minimum((actions - self.first_choice).long().clamp(min=0), self.last_choice)

    def forward(
        self, obs: Tensor, lstm_states: RNNStates, episode_starts: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, RNNStates]:
        """Act and value one step of B environments: actions, values (B, 1), log probabilities, new states."""
        actions, log_prob, actor_pair = self.act(obs, lstm_states.pi, episode_starts, deterministic)
        values, critic_pair = self.step_critic(obs, lstm_states.vf, episode_starts)
        return actions, values[:, None], log_prob, RNNStates(actor_pair, critic_pair)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions as sb3-contrib does, clipped to a Box; they have the shape and the type of their space.

        Arguments and results are sb3-contrib's. For a single environment its own takes several times as long as the
        network: it walks through all modules, and computes probabilities that nobody asks for.

        :raises ValueError: if the observation's shape does not fit
        """
        if self.training:
            self.set_training_mode(False)
        array, shape = np.array(observation), self.observation_space.shape
        if array.shape != shape and array.shape[1:] != shape:
            self.obs_to_tensor(observation)  # which says what fits
        rows = array.reshape(-1, *shape)
        B = len(rows)
        # Copies, so that what is returned shares no memory with what was given.
        h, c = (np.array(part, np.float32) for part in state or (np.zeros((1, B, self.lstm_actor.hidden_size)),) * 2)
        starts = np.zeros(B, np.float32) if episode_start is None else np.array(episode_start, np.float32)
        actions, new_state = self._predict_arrays(rows, (h, c), starts, deterministic)
        if isinstance(self.action_space, spaces.Box):
            # As np.clip, which spends more on being general.
            actions = np.minimum(np.maximum(actions, self.action_space.low), self.action_space.high)
        # Rounding keeps the order of numbers: what lies between two numbers of a type does so when it is rounded to it.
        actions = actions.astype(self.action_space.dtype, copy=False)
        if array.shape == shape:
            actions = actions.squeeze(axis=0)
        return actions, new_state

    def _predict_arrays(
        self, rows: np.ndarray, state: tuple[np.ndarray, np.ndarray], starts: np.ndarray, deterministic: bool
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Choose actions for B rows of observations; see `predict`.

        :return: actions (B, *shape of the space), not clipped; the new state
        """
        device = self.device
        with torch.no_grad():
            seen, h, c, begun = (torch.from_numpy(part).to(device) for part in (rows, *state, starts))
            chosen, pair = self._predict(seen, (h, c), begun, deterministic)
        return chosen.cpu().numpy(), (pair[0].cpu().numpy(), pair[1].cpu().numpy())

    @property
    def chooses_outputs(self) -> bool:
        """Whether deterministic actions are the actor's outputs themselves."""
        return isinstance(self.action_dist, StateIndependentGaussian) and not self.noise_size

    def _predict(
        self, observation: Tensor, lstm_states: Pair, episode_starts: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Pair]:
        if deterministic and self.chooses_outputs:
            outputs, pair = self.step_actor(observation, lstm_states, episode_starts)
            return outputs.reshape(-1, *self.action_space.shape), pair
        actions, _, pair = self._draw(observation, lstm_states, episode_starts, deterministic)
        return self._of_the_space(actions), pair

    def get_distribution(self, obs: Tensor, lstm_states: Pair, episode_starts: Tensor) -> tuple[Distribution, Pair]:
        """Return the action distribution of one step of B environments, and the new state pair without a deviation.

        It is over flat rows of numbers, or over choices counted from 0.
        """
        outputs, pair = self.step_actor(obs, lstm_states, episode_starts)
        if self.noise_size:
            outputs = self._shifted(outputs, self.noise_of(lstm_states), episode_starts)
        return self.distribution(outputs), pair

    def predict_values(self, obs: Tensor, lstm_states: Pair, episode_starts: Tensor) -> Tensor:
        """Return the values (B, 1) of one step of B environments."""
        return self.step_critic(obs, lstm_states, episode_starts)[0][:, None]

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, lstm_states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate (B · T) rows in sb3-contrib's layout, as the stock RecurrentPPO asks for them."""
        n_sequences = lstm_states.pi[0].shape[1]
        values, log_prob, entropy = self.evaluate_sequences(
            batch_to_sequences(obs, n_sequences),
            batch_to_sequences(actions, n_sequences),
            lstm_states,
            batch_to_sequences(episode_starts, n_sequences),
        )
        return sequences_to_batch(values)[:, None], sequences_to_batch(log_prob), sequences_to_batch(entropy)

    def distribution(self, parameters: Tensor) -> Distribution:
        """Return the action distribution for (rows, n_y) means or logits."""
        # Filled in directly, without torch's validation, which costs more than what it checks.
        if isinstance(self.action_dist, StateIndependentGaussian):
            self.action_dist.proba_distribution(
                parameters, self.log_std + 0.5 * math.log1p(-(self.noise_correlation**2))
            )
        elif isinstance(self.action_dist, MultiCategoricalDistribution):
            parts = parameters.split(choices_of(self.action_space), dim=-1)
            self.action_dist.distribution = [Categorical(logits=part, validate_args=False) for part in parts]
        elif isinstance(self.action_dist, BernoulliDistribution):
            self.action_dist.distribution = Bernoulli(logits=parameters, validate_args=False)
        else:
            self.action_dist.distribution = Categorical(logits=parameters, validate_args=False)
        return self.action_dist

    def _shifted(self, outputs: Tensor, last_noise: Tensor, episode_starts: Tensor) -> Tensor:
        return outputs + self.noise_correlation * last_noise * (1 - episode_starts.to(outputs.dtype))[..., None]


def network_sizes(observation_space: spaces.Space, action_space: spaces.Space) -> tuple[int, int]:
    """Return (n_x, n_y) of the actor: the observation size, and the action's size or number of choices.

    An entry of a MultiBinary takes one output, which says how likely a 1 is.

    :raises Refusal: if the observation is not a flat Box, or the action none of those of `SequencePolicy`
    """
    if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
        raise Refusal(
            f"observation space {observation_space} is not supported: a one-dimensional Box is needed, "
            "which gymnasium.wrappers.FlattenObservation makes of it"
        )
    n_x = observation_space.shape[0]
    if isinstance(action_space, spaces.Box) and np.issubdtype(action_space.dtype, np.floating):
        return n_x, math.prod(action_space.shape)
    if isinstance(action_space, spaces.MultiBinary) and isinstance(action_space.n, int):
        return n_x, action_space.n
    if isinstance(action_space, spaces.Discrete) or (
        isinstance(action_space, spaces.MultiDiscrete) and len(action_space.shape) == 1
    ):
        return n_x, sum(choices_of(action_space))
    raise Refusal(
        f"action space {action_space} is not supported: a Box of floats, Discrete, "
        "or MultiDiscrete or MultiBinary of one axis is needed"
    )


def choices_of(action_space: spaces.Space) -> tuple[int, ...]:
    """Return how many choices each entry of an action has; nothing for a Box."""
    if isinstance(action_space, spaces.Discrete):
        return (int(action_space.n),)
    if isinstance(action_space, spaces.MultiDiscrete):
        return tuple(action_space.nvec.tolist())
    return (2,) * math.prod(action_space.shape) if isinstance(action_space, spaces.MultiBinary) else ()


class PolicyShapes(NamedTuple):
    """What a policy takes and gives: it acts in an environment of the same shapes, and in no other."""

    n_inputs: int
    """observation size"""
    n_outputs: int
    """number of actions, or of choices of all entries; a yes or no takes one"""
    choices: tuple[int, ...]
    """how many there are for each entry of an action; empty: it is numbers"""

    @classmethod
    def of(cls, observation_space: spaces.Space, action_space: spaces.Space) -> "PolicyShapes":
        """Return the shapes of an environment's spaces.

        :raises Refusal: as `network_sizes`
        """
        return cls(*network_sizes(observation_space, action_space), choices_of(action_space))

    def __str__(self) -> str:
        if not self.choices:
            actions = f"{self.n_outputs:,} continuous actions"
        elif self.n_outputs != sum(self.choices):
            actions = f"{self.n_outputs:,} times yes or no"
        else:
            actions = f"{' and '.join(f'{n:,}' for n in self.choices)} choices"
        return f"observations of size {self.n_inputs:,} and {actions}"


def widened(tensor: Tensor, width: int) -> Tensor:
    """Pad (B, n) with zeros to the (1, B, width) of a state pair."""
    return pad(tensor, (0, width - tensor.shape[-1]))[None]


def batch_to_sequences(flat: Tensor, n_sequences: int) -> Tensor:
    """Turn sb3-contrib's layout (B · T, …), sequence after sequence, into time-major (T, B, …)."""
    return flat.reshape(n_sequences, -1, *flat.shape[1:]).transpose(0, 1)


def sequences_to_batch(sequences: Tensor) -> Tensor:
    """Turn time-major (T, B, …) into sb3-contrib's layout (B · T, …); the inverse of `batch_to_sequences`."""
    return torch.flatten(sequences.transpose(0, 1), 0, 1)
