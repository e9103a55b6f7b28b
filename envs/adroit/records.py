"""The Adroit hand's tasks: an episode succeeds by the steps in which its goal is reached, as DAPG and D4RL count."""

from envs.task import Task

PRESET = {
    # Episodes of 200 steps, each rollout one episode per environment; MuJoCo's step releases the GIL.
    "vectorization": "threads",
    "n_envs": 16,
    "n_steps": 200,
    "batch_size": 800,
    # White noise is filtered out by the hand's inertia and nothing is ever touched; noise correlated over ten steps
    # moves arm and fingers.
    "noise_correlation": 0.9,
    "log_std_init": -0.7,
    # A fitted policy needs no wide exploration: correlated noise would throw it off what it has learned. Large rollouts
    # and few passes over them: there is little to gain and much to lose.
    "with_demos": {
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
    },
}

HAMMER = Task(
    ids=("AdroitHandHammer-v1", "AdroitHandHammerSparse-v1"),
    replacement="envs.adroit.hammer:HammerEnv",
    rewards=("registered", "corrected"),
    figures=("lifted",),
    preset=PRESET,
)

ADROIT = (
    HAMMER,
    Task(ids=("AdroitHandDoor-v1", "AdroitHandDoorSparse-v1"), success_steps=25, preset=PRESET),
    Task(ids=("AdroitHandPen-v1", "AdroitHandPenSparse-v1"), success_steps=20, preset=PRESET),
    Task(ids=("AdroitHandRelocate-v1", "AdroitHandRelocateSparse-v1"), success_steps=25, preset=PRESET),
)
"""The numbers of steps are those of DAPG's evaluations, which D4RL kept; the hammer counts for itself."""
