"""The actor-critic policy whose actor and critic are sparse recurrent networks, for sb3-contrib's RecurrentPPO."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution, Distribution
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from policies.architectures import specify_architecture
from policies.recurrent_layer import SparseRecurrentLayer, forward_together
from policies.sequence_policy import SequencePolicy, batch_to_sequences, sequences_to_batch
from policies.specification import NetworkSpecification


class StateShape(NamedTuple):
    """The two numbers that RecurrentPPO reads off `policy.lstm_actor` to lay out its states."""

    num_layers: int
    hidden_size: int


def network_sizes(observation_space: spaces.Space, action_space: spaces.Space) -> tuple[int, int]:
    """Return (n_x, n_y) of the actor: the observation size, and the action's size or number of choices.

    :raises ValueError: if the observation is not a flat Box or the action neither Box nor Discrete
    """
    if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
        raise ValueError(f"observation space {observation_space} is not supported: a one-dimensional Box is needed")
    if isinstance(action_space, spaces.Box):
        return observation_space.shape[0], get_action_dim(action_space)
    if isinstance(action_space, spaces.Discrete):
        return observation_space.shape[0], int(action_space.n)
    raise ValueError(f"action space {action_space} is not supported: a Box or a Discrete is needed")


class VariedSparsityPolicy(SequencePolicy):
    """Sparse recurrent actor and critic, each a block map of its own (Hershey & Paffenroth, arXiv 2509.15057).

    The actor's outputs `y` are the parameters of the action distribution themselves (means of the Gaussian, logits
    of the categorical); the critic's single output is the value. The trainable parameters are the weights and biases
    of the two networks and, for Box actions, `log_std`. sb3-contrib carries a pair (h, c) for each network: h holds
    the network's state `z = [h; y]`, padded with zeros to the larger of the two networks, c stays zero.

    :param observation_space: one-dimensional Box
    :param action_space: Box or Discrete
    :param lr_schedule: learning rate as a function of the remaining progress (1 to 0)
    :param architecture: "varied", "uniform" or "dense"; the options below as in `specify_architecture`
    :param budget: trainable weights of each of the two networks
    :param hidden_proportion: share of the weights in the hidden-to-hidden block
    :param hidden_size: hidden units of the actor
    :param densities: pinned densities of single blocks of the actor
    :param uniform_density: density of every block under "uniform"
    :param activation: "relu" or "tanh"
    :param initialization: "scaled", "scaled:GAIN" or "normal:STD"
    :param backend: "auto", "dense" or "csr"
    :param network_seed: seed of patterns and initial weights; drawn from torch's generator if None
    :param log_std_init: initial logarithm of the Gaussian's standard deviation
    :raises ValueError: for unsupported spaces, `use_sde=True`, or a specification that cannot be met
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        architecture: str = "varied",
        budget: int = 50_000,
        hidden_proportion: float | None = None,
        hidden_size: int | None = None,
        densities: Mapping[str, float] | None = None,
        uniform_density: float | None = None,
        activation: str = "relu",
        initialization: str = "scaled",
        backend: str = "auto",
        network_seed: int | None = None,
        use_sde: bool = False,
        log_std_init: float = 0.0,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde=True is not supported: the network's outputs are the action means themselves")
        n_inputs, n_outputs = network_sizes(observation_space, action_space)
        self.network_options: dict[str, Any] = {
            "architecture": architecture,
            "budget": budget,
            "hidden_proportion": hidden_proportion,
            "hidden_size": hidden_size,
            "densities": None if densities is None else dict(densities),
            "uniform_density": uniform_density,
            "activation": activation,
            "initialization": initialization,
            "backend": backend,
        }
        specification = specify_architecture(
            architecture,
            n_inputs,
            n_outputs,
            budget,
            hidden_proportion=hidden_proportion,
            hidden_size=hidden_size,
            densities=densities,
            uniform_density=uniform_density,
        )
        if not (
            isinstance(specification.actor, NetworkSpecification)
            and isinstance(specification.critic, NetworkSpecification)
        ):
            raise ValueError(f"architecture {architecture!r} is no sparse network: varied, uniform or dense is needed")
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],
            ortho_init=False,
            log_std_init=log_std_init,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            lstm_hidden_size=1,
        )
        # The parent insists on building LSTMs; one unit wide they cost nothing, and no optimizer keeps them.
        del self._modules["lstm_actor"], self._modules["lstm_critic"]
        if network_seed is None:
            network_seed = int(torch.randint(2**31 - 1, ()).item())
        self.specification = specification
        self.actor = SparseRecurrentLayer(
            specification.actor,
            activation=activation,
            initialization=initialization,
            seed=network_seed,
            backend=backend,
        )
        self.critic = SparseRecurrentLayer(
            specification.critic,
            activation=activation,
            initialization=initialization,
            seed=network_seed + 1,
            backend=backend,
        )
        self.state_size = max(self.actor.state_size, self.critic.state_size)
        self.lstm_actor = StateShape(num_layers=1, hidden_size=self.state_size)
        self.lstm_hidden_state_shape = (1, 1, self.state_size)
        self.optimizer = optimizer_class(self.parameters(), **({"lr": lr_schedule(1)} | self.optimizer_kwargs))

    def _build(self, lr_schedule: Schedule) -> None:
        """Make the only parameter besides the networks: there is no feature extractor and no head to build."""
        if isinstance(self.action_dist, DiagGaussianDistribution):
            self.log_std = nn.Parameter(torch.full((self.action_dist.action_dim,), float(self.log_std_init)))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            **self.network_options,
            "log_std_init": self.log_std_init,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }

    def evaluate_sequences(
        self, observations: Tensor, actions: Tensor, states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate whole time-major sequences; see `SequencePolicy.evaluate_sequences`."""
        T, B = observations.shape[:2]
        actor_states, critic_states = forward_together(
            [self.actor, self.critic],
            observations.float(),
            [self._unpadded(states.pi, self.actor), self._unpadded(states.vf, self.critic)],
            episode_starts,
        )
        distribution = self._distribution(self.actor.outputs(actor_states).flatten(0, 1))
        log_prob = distribution.log_prob(actions.flatten(0, 1)).view(T, B)
        entropy = distribution.entropy()
        assert entropy is not None
        return self.critic.outputs(critic_states).squeeze(-1), log_prob, entropy.view(T, B)

    def forward(
        self, obs: Tensor, lstm_states: RNNStates, episode_starts: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, RNNStates]:
        """Act: sb3-contrib's interface, with (B · T) rows; returns actions, values, log probabilities, new states."""
        outputs, actor_pair = self._run(self.actor, obs, lstm_states.pi, episode_starts)
        values, critic_pair = self._run(self.critic, obs, lstm_states.vf, episode_starts)
        distribution = self._distribution(outputs)
        actions = distribution.get_actions(deterministic=deterministic)
        log_prob = distribution.log_prob(actions)
        actions = actions.reshape((-1, *self.action_space.shape))
        return actions, values, log_prob, RNNStates(actor_pair, critic_pair)

    def get_distribution(
        self, obs: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor
    ) -> tuple[Distribution, tuple[Tensor, ...]]:
        """Return the action distribution for (B · T) rows and the actor's new state pair."""
        outputs, pair = self._run(self.actor, obs, lstm_states, episode_starts)
        return self._distribution(outputs), pair

    def predict_values(self, obs: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor) -> Tensor:
        """Return the values (B · T, 1)."""
        return self._run(self.critic, obs, lstm_states, episode_starts)[0]

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
        return sequences_to_batch(values).unsqueeze(-1), sequences_to_batch(log_prob), sequences_to_batch(entropy)

    def _run(
        self, layer: SparseRecurrentLayer, obs: Tensor, pair: tuple[Tensor, Tensor], episode_starts: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run one network over (B · T) rows; return its outputs (B · T, n_y) and its new, padded state pair."""
        n_sequences = pair[0].shape[1]
        state = self._unpadded(pair, layer)
        if obs.shape[0] == n_sequences and not torch.is_grad_enabled():
            last = layer.step(obs.float(), state, episode_starts)
            outputs = layer.outputs(last)
        else:
            states = layer(
                batch_to_sequences(obs, n_sequences).float(), state, batch_to_sequences(episode_starts, n_sequences)
            )
            outputs, last = sequences_to_batch(layer.outputs(states)), states[-1]
        padded = nn.functional.pad(last, (0, self.state_size - layer.state_size)).unsqueeze(0)
        return outputs, (padded, pair[1])

    def _unpadded(self, pair: tuple[Tensor, Tensor], layer: SparseRecurrentLayer) -> Tensor:
        return pair[0][0, :, : layer.state_size]

    def _distribution(self, outputs: Tensor) -> Distribution:
        if isinstance(self.action_dist, DiagGaussianDistribution):
            return self.action_dist.proba_distribution(outputs, self.log_std)
        assert isinstance(self.action_dist, CategoricalDistribution)
        return self.action_dist.proba_distribution(action_logits=outputs)
