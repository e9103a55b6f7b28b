"""What is known of RandomAnomaly-v0."""

from envs.task import Task

RANDOM_ANOMALY = Task(
    ids=("RandomAnomaly-v0",),
    entry_point="envs.random_anomaly.environment:RandomAnomalyEnv",
    has_splits=True,
    ends=True,
    score="accuracy",
    pictures="envs.random_anomaly.pictures:training_pictures",
    still="envs.random_anomaly.beliefs:still",
    film="envs.random_anomaly.beliefs:film",
    # One episode per environment and rollout. Only the last of its eleven actions counts in the loss; without a strong
    # entropy bonus the answer settles on one place long before the images are understood.
    preset={
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
    },
)
