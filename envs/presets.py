"""Settings that suit an environment. Every one of them is the default of a command-line option or of `configure`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings of a training; the defaults are those of an environment without a preset of its own.

    `batch_size` is a multiple of `n_steps` (minibatches are whole sequences) and divides n_envs · n_steps.
    """

    budget: int = 50_000
    """weights of each of the two networks"""
    init: str = "scaled"
    activation: str = "relu"
    log_std_init: float = 0.0
    noise_correlation: float = 0.0
    """of exploration noise, from step to step; for Box actions"""

    reward: str = "registered"
    normalize_observation: bool = True
    normalize_reward: bool = True
    vectorization: str = "serial"
    """see `envs.vectorized.make`"""

    total_timesteps: int = 1_000_000
    n_envs: int = 8
    n_steps: int = 256
    """per environment and rollout"""
    batch_size: int = 512
    """environment steps"""
    n_epochs: int = 10
    learning_rate: float = 3e-4
    learning_rate_schedule: str = "constant"
    """or "linear": falls to zero over the training"""
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    loss_steps: str = "all"
    """or "last": only the steps that end an episode count in the loss"""

    demo_weight: float = 1.0
    """of the imitation loss in PPO's first update after a fit to demonstrations"""
    demo_decay: float = 0.95
    """factor on it from update to update"""
    critic_rollouts: int = 3
    """from which the critic alone learns after a fit to demonstrations"""

    eval_every: int = 50_000
    """environment steps"""
    eval_episodes: int = 20
    checkpoint_every: int = 50_000
    """environment steps"""

    with_demos: Mapping[str, Any] = field(default_factory=dict)
    """settings that suit a policy which has been fitted to demonstrations first"""


# Episodes of 200 steps, each rollout one episode per environment; MuJoCo's step releases the GIL. White noise is
# filtered out by the hand's inertia and nothing is ever touched; noise correlated over ten steps moves arm and fingers.
_ADROIT = Preset(
    vectorization="threads",
    n_envs=16,
    n_steps=200,
    batch_size=800,
    noise_correlation=0.9,
    log_std_init=-0.7,
    total_timesteps=1_000_000,
    eval_every=50_000,
    # A fitted policy needs no wide exploration: correlated noise would throw it off what it has learned. Large rollouts
    # and few passes over them: there is little to gain and much to lose.
    with_demos=MappingProxyType(
        {
            "noise_correlation": 0.0,
            "log_std_init": -1.6,
            "n_envs": 32,
            "batch_size": 1600,
            "n_epochs": 5,
            "learning_rate": 2e-4,
            "learning_rate_schedule": "linear",
            "demo_weight": 0.3,
            "total_timesteps": 128_000,
            "eval_every": 32_000,
        }
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "AdroitHandHammer-v1": _ADROIT,
        "AdroitHandDoor-v1": _ADROIT,
        "AdroitHandPen-v1": _ADROIT,
        "AdroitHandRelocate-v1": _ADROIT,
        # Four inputs: a larger budget would make the hidden layer huge. The falling learning rate keeps a solved task
        # solved; with ReLU a critic over episodes of 500 steps has exploded.
        "CartPole-v1": Preset(
            budget=1_500,
            total_timesteps=300_000,
            n_steps=128,
            batch_size=256,
            activation="tanh",
            learning_rate=1e-3,
            learning_rate_schedule="linear",
            eval_every=25_000,
            eval_episodes=50,
        ),
        # One episode per environment and rollout. Only the last of its eleven actions counts in the loss; without a
        # strong entropy bonus the answer settles on one place long before the images are understood.
        "RandomAnomaly-v0": Preset(
            budget=100_000,
            init="normal:0.05",
            normalize_observation=False,
            normalize_reward=False,
            vectorization="batched",
            total_timesteps=1_210_000,
            n_envs=256,
            n_steps=11,
            batch_size=32 * 11,
            n_epochs=2,
            gamma=1.0,
            ent_coef=0.1,
            loss_steps="last",
            eval_every=110_000,
            eval_episodes=1_024,
            checkpoint_every=110_000,
        ),
    }
)


def preset_for(env_id: str) -> Preset:
    """Return the preset of an environment id, `module:id` included; the general one where there is no other."""
    return PRESETS.get(env_id.rpartition(":")[2], Preset())


def has_preset(env_id: str) -> bool:
    """Tell whether an environment has a preset of its own."""
    return env_id.rpartition(":")[2] in PRESETS
