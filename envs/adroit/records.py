"""The Adroit hand's tasks: an episode succeeds by the steps in which its goal is reached, as DAPG and D4RL count."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from envs.adroit.correction import REWARDS
from envs.task import Task


def _without(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in names}


# A fitted policy needs no wide exploration: correlated noise would throw it off what it has learned. Few passes over
# large rollouts: there is little to gain and much to lose.
WITH_DEMOS = {
    "training_episode_steps": None,
    "n_envs": 32,
    "n_steps": 200,
    "reward": "registered",
    "self_imitation": 0.0,
    "grad_clipping": "joint",
    "noise_correlation": 0.0,
    "log_std_init": -1.6,
    "target_kl": None,
    "n_epochs": 5,
    "learning_rate": 2e-4,
    "demo_weight": 0.3,
    "total_timesteps": 128_000,
    "eval_every": 32_000,
}

PRESET = {
    # MuJoCo's step releases the GIL.
    "vectorization": "threads",
    # Whether the nail is struck is decided within the first twenty of 200 steps: four blows are tried in the time of
    # one. Each rollout is an episode per environment.
    "training_episode_steps": 50,
    "n_envs": 64,
    "n_steps": 50,
    "batch_size": 1600,
    # Of three seeds that are paid for every step with the hammer up, two go on holding it up and never strike.
    "reward": "progress",
    # White noise is filtered out by the hand's inertia and nothing is ever touched; noise correlated over ten steps
    # moves arm and fingers.
    "noise_correlation": 0.9,
    "log_std_init": -0.7,
    # The first blow comes once in hundreds of episodes: it is learned from until it can be repeated, and the critic,
    # whose gradient it makes twenty times too long, does not take the actor's step away.
    "self_imitation": 1.0,
    "grad_clipping": "separate",
    # What has been found is kept: no update goes far, and the last ones go nowhere.
    "target_kl": 0.2,
    "learning_rate_schedule": "linear",
    "eval_every": 100_000,
    "with_demos": WITH_DEMOS,
}

HAMMER = Task(
    ids=("AdroitHandHammer-v1",),
    replacement="envs.adroit.hammer:HammerEnv",
    rewards=REWARDS,
    figures=("lifted",),
    preset=PRESET,
)
SPARSE_HAMMER = replace(HAMMER, ids=("AdroitHandHammerSparse-v1",), rewards=())
"""whose reward has no distances to correct"""

REACHING_WITH_DEMOS = WITH_DEMOS | {"batch_size": PRESET["batch_size"]}

SPARSE_REACHING_PRESET = PRESET | {
    # The first doors stand open after 45 to 76 steps: of 50 too few see the end, of 100 there are too few to a rollout.
    "training_episode_steps": 64,
    "n_steps": 64,
    "batch_size": 2048,
    "with_demos": REACHING_WITH_DEMOS,
}
"""of tasks whose reward has no distances to correct"""

REACHING_PRESET = SPARSE_REACHING_PRESET | {
    # A hand that is paid for keeping away, as the registered rewards of door and relocation do, never touches anything.
    "reward": "corrected-progress",
    # Reaching and turning are learned piece by piece: larger steps lose what smaller ones keep.
    "learning_rate": 1e-4,
    # With all of the noise half of the doors that the policy opens by itself stay shut, and it learns from the others.
    "log_std_final": -2.3,
    "with_demos": REACHING_WITH_DEMOS | {"log_std_final": None},
}

HOLDING_PRESET = _without(PRESET, "reward", "self_imitation") | {
    # A pen has to be held where it is: who is paid for getting further drops it once it has been there. What is paid
    # in every step needs no luck to be found either.
    "training_episode_steps": 100,
    "n_envs": 32,
    "n_steps": 100,
    "with_demos": _without(WITH_DEMOS, "reward", "self_imitation", "n_envs"),
}

ADROIT = (
    HAMMER,
    SPARSE_HAMMER,
    Task(
        ids=("AdroitHandDoor-v1",),
        replacement="envs.adroit.reaching:DoorEnv",
        rewards=REWARDS,
        success_steps=25,
        preset=REACHING_PRESET,
    ),
    Task(ids=("AdroitHandDoorSparse-v1",), success_steps=25, preset=SPARSE_REACHING_PRESET),
    Task(ids=("AdroitHandPen-v1", "AdroitHandPenSparse-v1"), success_steps=20, preset=HOLDING_PRESET),
    Task(
        ids=("AdroitHandRelocate-v1",),
        replacement="envs.adroit.reaching:RelocateEnv",
        rewards=REWARDS,
        success_steps=25,
        preset=REACHING_PRESET,
    ),
    Task(ids=("AdroitHandRelocateSparse-v1",), success_steps=25, preset=SPARSE_REACHING_PRESET),
)
"""The numbers of steps are those of DAPG's evaluations, which D4RL kept; the hammer counts for itself."""
