"""From a configuration to the policy it describes, for training and for loading a run."""

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from agents.configuration import AUTO, TrainingConfiguration
from agents.runs.folder import PolicyName, RunFolder
from agents.runs.normalization import ObservationNormalization
from envs.lookup import ActionSpace, environment_spaces
from policies.fused_adam import FusedAdam
from policies.network.architectures import ARCHITECTURES, ActorCriticSpecification, specify_architecture
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy, network_sizes
from policies.varied_sparsity_policy import VariedSparsityPolicy


def specification_of(
    configuration: TrainingConfiguration, observation_space: spaces.Space, action_space: spaces.Space
) -> ActorCriticSpecification:
    """Return the networks that a configuration asks for, given the environment's spaces.

    :raises Refusal: if the spaces are not supported or the specification cannot be met
    """
    if configuration.open_fields:
        name = configuration.open_fields[0]
        raise Refusal(f"`{name}` {AUTO} is open: `agents.recommendation.recommend.resolved` decides it")
    n_inputs, n_outputs = network_sizes(observation_space, action_space)
    return specify_architecture(n_inputs=n_inputs, n_outputs=n_outputs, **network_settings(configuration))


def policy_recipe(
    configuration: TrainingConfiguration, specification: ActorCriticSpecification
) -> tuple[type[SequencePolicy], dict[str, Any]]:
    """Return the policy class and its keyword arguments beyond spaces and learning rate."""
    # Adam's eps is Stable-Baselines3's own.
    common = {
        "log_std_init": configuration.log_std_init,
        "noise_correlation": configuration.noise_correlation,
        "optimizer_class": FusedAdam,
        "optimizer_kwargs": {"eps": 1e-5},
    }
    settings = {
        **network_settings(configuration),
        "activation": configuration.activation,
        "initialization": configuration.init,
        "network_seed": configuration.seed,
    }
    policy_class = ARCHITECTURES[specification.architecture].policy_class
    return policy_class, policy_class.options_of(specification, settings) | common


def network_settings(configuration: TrainingConfiguration) -> dict[str, Any]:
    """Return what a configuration says of its networks, as `specify_architecture` calls it."""
    across = configuration.rebalance_scope == "network"
    sized = "hidden_size" in ARCHITECTURES[configuration.architecture].options
    return {
        "architecture": configuration.architecture,
        "budget": configuration.budget,
        "hidden_proportion": configuration.hidden_proportion,
        "hidden_size": configuration.hidden_size,
        "densities": configuration.densities or None,
        "pattern": configuration.pattern,
        "uniform_density": configuration.uniform_density,
        "room": configuration.moving_networks if across and sized else None,
    }


def networks_of(policy: SequencePolicy, specification: ActorCriticSpecification) -> ActorCriticSpecification:
    """Return the networks of a policy as they are, of which weights may have moved since they were specified."""
    return policy.specification if isinstance(policy, VariedSparsityPolicy) else specification


def load_agent(
    run: str | Path,
    which: PolicyName = "best",
    environment: tuple[spaces.Box, ActionSpace] | None = None,
) -> tuple[SequencePolicy, ObservationNormalization | None, TrainingConfiguration]:
    """Rebuild the agent of a run folder; nothing in the folder is unpickled or executed.

    :param environment: observation and action space to act in; default: those of the run's environment
    :raises Refusal: if the folder is no run, or a file in it is missing, damaged or at odds with another
    """
    folder = RunFolder.open(run)
    configuration = folder.read_configuration()
    observation_space, action_space = environment or environment_spaces(
        configuration.env, configuration.env_arguments, configuration.wrappers
    )
    specification = specification_of(configuration, observation_space, action_space)
    if specification != folder.read_first_network():
        raise Refusal(f"{folder.path} is damaged: config.yaml and network.json describe different networks")
    policy_class, options = policy_recipe(configuration, specification)
    policy = policy_class(observation_space, action_space, lambda _: configuration.learning_rate, **options)
    n_inputs = int(np.prod(observation_space.shape))
    normalization = folder.load_policy(which, policy, n_inputs)
    if not configuration.moving_networks and networks_of(policy, specification) != specification:
        raise Refusal(f"{folder.path} is damaged: config.yaml and {which}/policy.safetensors hold different networks")
    if configuration.normalize_observation and normalization is None:
        raise Refusal(f"{folder.path} holds no {which}/normalization.json, which its policy needs")
    policy.set_training_mode(False)
    return policy, normalization, configuration
