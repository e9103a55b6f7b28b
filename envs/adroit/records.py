"""The Adroit hand's tasks: an episode succeeds by the steps in which its goal is reached, as DAPG and D4RL count."""

from envs.task import Task

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
    # The first blow comes once in a thousand episodes: it is learned from until it can be repeated, and the critic,
    # whose gradient it makes twenty times too long, does not take the actor's step away.
    "self_imitation": 1.0,
    "grad_clipping": "separate",
    # What has been found is kept: no update goes far, and the last ones go nowhere.
    "target_kl": 0.2,
    "learning_rate_schedule": "linear",
    "eval_every": 100_000,
    # A fitted policy needs no wide exploration: correlated noise would throw it off what it has learned. Few passes
    # over large rollouts: there is little to gain and much to lose.
    "with_demos": {
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
