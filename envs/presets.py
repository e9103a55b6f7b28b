"""Settings that suit an environment, by the names of a training's options; the others keep their defaults.

What stands under `with_demos` suits a policy that has been fitted to demonstrations first.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from envs.task import task_of

# Episodes of 200 steps, each rollout one episode per environment; MuJoCo's step releases the GIL. White noise is
# filtered out by the hand's inertia and nothing is ever touched; noise correlated over ten steps moves arm and fingers.
_ADROIT: Mapping[str, Any] = MappingProxyType(
    {
        "vectorization": "threads",
        "n_envs": 16,
        "n_steps": 200,
        "batch_size": 800,
        "noise_correlation": 0.9,
        "log_std_init": -0.7,
        # A fitted policy needs no wide exploration: correlated noise would throw it off what it has learned. Large
        # rollouts and few passes over them: there is little to gain and much to lose.
        "with_demos": MappingProxyType(
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
    }
)

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "AdroitHandHammer-v1": _ADROIT,
        "AdroitHandDoor-v1": _ADROIT,
        "AdroitHandPen-v1": _ADROIT,
        "AdroitHandRelocate-v1": _ADROIT,
        # Four inputs: a larger budget would make the hidden layer huge. The falling learning rate keeps a solved task
        # solved; with ReLU a critic over episodes of 500 steps has exploded.
        "CartPole-v1": MappingProxyType(
            {
                "budget": 1_500,
                "total_timesteps": 300_000,
                "n_steps": 128,
                "batch_size": 256,
                "activation": "tanh",
                "learning_rate": 1e-3,
                "learning_rate_schedule": "linear",
                "eval_every": 25_000,
                "eval_episodes": 50,
            }
        ),
        # One episode per environment and rollout. Only the last of its eleven actions counts in the loss; without a
        # strong entropy bonus the answer settles on one place long before the images are understood.
        "RandomAnomaly-v0": MappingProxyType(
            {
                "budget": 100_000,
                "init": "normal:0.05",
                "normalize_observation": False,
                "normalize_reward": False,
                "vectorization": "batched",
                "total_timesteps": 1_210_000,
                "n_envs": 256,
                "n_steps": 11,
                "batch_size": 32 * 11,
                "n_epochs": 2,
                "gamma": 1.0,
                "ent_coef": 0.1,
                "loss_steps": "last",
                "eval_every": 110_000,
                "eval_episodes": 1_024,
                "checkpoint_every": 110_000,
            }
        ),
    }
)


def preset_for(env_id: str) -> Mapping[str, Any]:
    """Return the preset of an environment id, `module:id` included: ours or its record's, empty where there is none."""
    return PRESETS.get(env_id.rpartition(":")[2]) or MappingProxyType(dict(task_of(env_id).preset))


def has_preset(env_id: str) -> bool:
    """Tell whether an environment has a preset of its own."""
    return bool(preset_for(env_id))
