"""The actor-critic policy whose actor and critic are sparse recurrent networks, for sb3-contrib's RecurrentPPO."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from policies.network.architectures import ActorCriticSpecification, specify_architecture
from policies.network.specification import BLOCKS, NetworkSpecification
from policies.recurrent.growth import Growth, limit_growth
from policies.recurrent.layer import SparseRecurrentLayer, forward_together
from policies.sequence_policy import Pair, SequencePolicy, network_sizes, widened
from policies.step_graph import SparseRows, StepGraph, array

_SOURCES, _TARGETS = "xhy", "hy"
_FIRST_STEPS = 200
"""Along so many steps the growth of a new network is limited."""


class VariedSparsityPolicy(SequencePolicy):
    """Sparse recurrent actor and critic, each a block map of its own (Hershey & Paffenroth, arXiv 2509.15057).

    The actor's outputs `y` are the parameters of the action distribution themselves (means of the Gaussian, logits
    of the categorical); the critic's single output is the value. The trainable parameters are the weights and biases
    of the two networks and, for Box actions, `log_std`. sb3-contrib carries a pair (h, c) for each network: h holds
    the network's state `z = [h; y]`, padded with zeros to the larger of the two networks; c holds the deviation of
    correlated exploration noise, and is zero without.

    Spaces, learning rate and `noise_correlation` are those of `SequencePolicy`.

    :param architecture: "varied", "uniform" or "dense"
    :param budget: trainable weights of each of the two networks
    :param activation: "relu" or "tanh"
    :param initialization: "scaled", "scaled:GAIN" or "normal:STD"
    :param backend: "auto", "dense", "csr" or "groups"
    :param network_seed: seed of patterns and initial weights; drawn from torch's generator if None
    :param log_std_init: initial logarithm of the Gaussian's standard deviation
    :param sparsity: `hidden_proportion`, `hidden_size`, `densities`, `uniform_density`, `pattern`; see
        `specify_architecture`
    :raises ValueError: for unsupported spaces, `use_sde=True`, or a specification that cannot be met
    """

    actor: SparseRecurrentLayer
    critic: SparseRecurrentLayer

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        architecture: str = "varied",
        budget: int = 50_000,
        activation: str = "relu",
        initialization: str = "scaled",
        backend: str = "auto",
        network_seed: int | None = None,
        use_sde: bool = False,
        log_std_init: float = 0.0,
        noise_correlation: float = 0.0,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **sparsity: Any,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde=True is not supported: the network's outputs are the action means themselves")
        layers: dict[str, Any] = {"activation": activation, "initialization": initialization, "backend": backend}
        self.network_options = {"architecture": architecture, "budget": budget, **sparsity, **layers}
        sizes = network_sizes(observation_space, action_space)
        specification = specify_architecture(architecture, *sizes, budget, **sparsity)
        actor, critic, layers["pattern"] = specification.actor, specification.critic, specification.pattern
        if not (isinstance(actor, NetworkSpecification) and isinstance(critic, NetworkSpecification)):
            raise ValueError(f"architecture {architecture!r} is no sparse network: varied, uniform or dense is needed")
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            noise_correlation=noise_correlation,
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
        self.actor = SparseRecurrentLayer(actor, seed=network_seed, **layers)
        self.critic = SparseRecurrentLayer(critic, seed=network_seed + 1, **layers)
        for layer in (self.actor, self.critic):
            _limited_at_first(layer, network_seed)
        self.state_width = max(self.actor.state_size, self.critic.state_size)
        self.set_state_width(self.state_width)
        self.optimizer = optimizer_class(self.parameters(), **({"lr": lr_schedule(1)} | self.optimizer_kwargs))

    @property
    def specification(self) -> ActorCriticSpecification:
        """The networks as they are: weights may have moved between blocks since they were made."""
        architecture = self.network_options["architecture"]
        networks = self.actor.specification, self.critic.specification
        return ActorCriticSpecification(architecture, *networks, self.actor.pattern)

    @classmethod
    def options_of(cls, specification: ActorCriticSpecification, settings: Mapping[str, Any]) -> dict[str, Any]:
        return dict(settings)  # from which the constructor finds the networks again

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
            "noise_correlation": self.noise_correlation,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }

    def step_actor(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        return self._step(self.actor, observations, pair, episode_starts)

    def step_critic(self, observations: Tensor, pair: Pair, episode_starts: Tensor) -> tuple[Tensor, Pair]:
        outputs, new_pair = self._step(self.critic, observations, pair, episode_starts)
        return outputs.squeeze(-1), new_pair

    def run_sequences(self, observations: Tensor, states: RNNStates, episode_starts: Tensor) -> tuple[Tensor, Tensor]:
        before = [states.pi[0][0, :, : self.actor.state_size], states.vf[0][0, :, : self.critic.state_size]]
        networks = [self.actor, self.critic]
        actor, critic = forward_together(networks, observations.float(), before, episode_starts, outputs_only=True)
        return actor.outputs, critic.outputs.squeeze(-1)

    def run_actor(self, observations: Tensor, episode_starts: Tensor) -> Tensor:
        state = observations.new_zeros(observations.shape[1], self.actor.state_size, dtype=torch.float32)
        return self.actor(observations.float(), state, episode_starts, outputs_only=True).outputs

    def limit_growth(self, observations: Tensor) -> dict[str, Growth]:
        return {name: _limited(getattr(self, name), observations.float()) for name in ("actor", "critic")}

    def critic_parameters(self) -> list[nn.Parameter]:
        return list(self.critic.parameters())

    def noise_of(self, pair: Pair) -> Tensor:
        return pair[1][0, :, : self.noise_size]

    def with_noise(self, pair: Pair, noise: Tensor) -> Pair:
        return pair[0], widened(noise, self.state_width)

    def _step(
        self, layer: SparseRecurrentLayer, observations: Tensor, pair: Pair, episode_starts: Tensor
    ) -> tuple[Tensor, Pair]:
        if observations.device.type != "cpu":
            new = layer.step(observations.float(), pair[0][0, :, : layer.state_size], episode_starts)
            return layer.outputs(new), (widened(new, self.state_width), pair[1])
        # In arrays: torch takes longer for each slice than the network for a step of a few environments.
        inputs, state, starts = observations.detach().float().numpy(), pair[0].numpy(), episode_starts.numpy()
        outputs, after = self._step_arrays(layer, inputs, state, starts)
        return torch.from_numpy(outputs), (torch.from_numpy(after), pair[1])

    def _step_arrays(
        self, layer: SparseRecurrentLayer, inputs: np.ndarray, state: np.ndarray, starts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs (B, n_y) of a step and the state after it, (1, B, width) as before it."""
        new = layer.step_arrays(inputs, state[0, :, : layer.state_size], starts)
        after = np.zeros((1, len(new), self.state_width), np.float32)
        after[0, :, : layer.state_size] = new
        return new[:, layer.n_hidden :], after

    def _predict_arrays(
        self, rows: np.ndarray, state: tuple[np.ndarray, np.ndarray], starts: np.ndarray, deterministic: bool
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        if not (deterministic and self.chooses_outputs and self.actor.bias.device.type == "cpu"):
            return super()._predict_arrays(rows, state, starts, deterministic)
        outputs, after = self._step_arrays(self.actor, rows.astype(np.float32, copy=False), state[0], starts)
        return outputs.reshape(-1, *self.action_space.shape), (after, state[1])

    def exported_state(self, pair: Pair) -> Tensor:
        """Return the state [h; y], (B, n_h + n_y)."""
        return pair[0][0, :, : self.actor.state_size]

    def export_step(self, graph: StepGraph, inputs: str, carried: str, outputs: str) -> None:
        """Add one step of the block map: h' = act(W_hx x + W_hh h + W_hy y + b_h), y' = W_yx x + W_yh h + W_yy y + b_y.

        Blocks that are full matrices in the file are multiplied in one Gemm, both targets together if their full blocks
        read the same sources; the weights of the other blocks are gathered.
        """
        layer = self.actor
        shapes = {block: layer.specification.shape(block) for block in BLOCKS}
        full = {}
        for target in _TARGETS:
            row = {source: target + source for source in _SOURCES}
            blocks = {source: (math.prod(shapes[block]), len(layer.weights[block])) for source, block in row.items()}
            full[target] = "".join(graph.full_blocks(blocks))
        sources = {"xhy": graph.add("Concat", [inputs, carried], "x, h, y", axis=1), "x": inputs}
        if set(full.values()) != {"xhy"}:
            sources["h"], sources["y"] = graph.split(carried, [shapes["hh"][1], shapes["hy"][1]], ["h", "y"])
        if full["h"] == full["y"]:
            sums = _sums(graph, layer, _TARGETS, full["h"], sources, "sums")
            graph.split(sums, [shapes["hh"][0], shapes["yh"][0]], ["sums of h", outputs])
        else:
            _sums(graph, layer, "h", full["h"], sources, "sums of h")
            _sums(graph, layer, "y", full["y"], sources, outputs)
        hidden = graph.add({"relu": "Relu", "tanh": "Tanh"}[layer.activation], ["sums of h"], "next h")
        graph.add("Concat", [hidden, outputs], "next_state", axis=1)


def _limited(layer: SparseRecurrentLayer, inputs: Tensor) -> Growth:
    """Limit the growth of a layer.

    Every loop passes through W_hh, W_hy or W_yy; W_yh is left alone, so that the outputs go on reading what they read,
    and its size is no growth either: differences of outputs count in units of it.
    """
    loops = [layer.weights[block] for block in ("hh", "hy", "yy")]
    reading = 1 + layer.weights["yh"].detach().norm()

    def run(inputs: Tensor, state: Tensor, starts: Tensor) -> Tensor:
        states, outputs = layer(inputs, state, starts)
        return torch.cat([states[..., : layer.n_hidden], outputs / reading], dim=-1)

    return limit_growth(run, loops, layer.state_size, inputs)


def _limited_at_first(layer: SparseRecurrentLayer, seed: int) -> None:
    """Limit the growth of a new layer, along inputs of a normal distribution."""
    size = _FIRST_STEPS, 1, layer.specification.n_inputs
    limited = _limited(layer, torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float32))
    if limited.scale < 1:
        warnings.warn(
            f"a new network of {layer.n_hidden} hidden units would amplify differences between its states: the weights "
            f"of its loops begin scaled by {limited.scale:.2g}",
            stacklevel=3,
        )


def _sums(
    graph: StepGraph, layer: SparseRecurrentLayer, targets: str, full: str, sources: dict[str, str], name: str
) -> str:
    """Add the weighted sums of x, h and y and the bias, for the rows of some targets; returns `name`.

    :param full: the sources whose blocks are full matrices in the file
    """
    weights = _weights_of(layer, targets)
    widths = [layer.specification.shape("h" + source)[1] for source in _SOURCES]
    in_full = np.repeat([source in full for source in _SOURCES], widths)
    first_row = 0 if "h" in targets else layer.n_hidden
    sums = graph.constant(f"{name}: bias", array(layer.bias)[first_row : first_row + weights.n_rows])
    if full:
        if full not in sources:
            sources[full] = graph.add("Concat", [sources[source] for source in full], ", ".join(full), axis=1)
        matrix = graph.constant(f"{name}: weights", weights.dense(in_full).T)
        output = name if in_full.all() else f"{name}: full blocks"
        sums = graph.add("Gemm", [sources[full], matrix, sums], output)
    if not in_full.all():
        gathered = graph.sparse_product(f"{name}: other blocks", weights.select(~in_full), sources["xhy"])
        sums = graph.add("Add", [sums, gathered], name)
    return sums


def _weights_of(layer: SparseRecurrentLayer, targets: str) -> SparseRows:
    """Return the weights that lead to some targets, "h", "y" or "hy"; the columns are those of [x, h, y]."""
    pattern = layer.matrix([[target + source for source in _SOURCES] for target in targets])
    values = np.concatenate([array(layer.weights[block]) for block in pattern.blocks])
    return SparseRows(pattern.shape[0], pattern.rows, pattern.columns, values)
