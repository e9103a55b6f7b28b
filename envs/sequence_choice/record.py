"""What is known of SequenceChoice-v0."""

from envs.task import Task

SEQUENCE_CHOICE = Task(
    ids=("SequenceChoice-v0",),
    entry_point="envs.sequence_choice.environment:SequenceChoiceEnv",
    has_splits=True,
    ends=True,
    score="accuracy",
    figures=("right_steps",),
    pictures="envs.sequence_choice.pictures:training_pictures",
    still="envs.sequence_choice.beliefs:still",
    film="envs.sequence_choice.beliefs:film",
    # Rollouts hold many episodes of a few steps, and the end of one of hundreds. Only the answer counts in the loss.
    preset={
        "budget": 10_000,
        "normalize_reward": False,
        "vectorization": "batched",
        "total_timesteps": 500_000,
        "n_envs": 64,
        "batch_size": 16 * 256,
        "n_epochs": 4,
        "learning_rate": 1e-3,
        "learning_rate_schedule": "linear",
        "gamma": 1.0,
        "ent_coef": 0.02,
        "loss_steps": "last",
        "eval_episodes": 1_000,
        "final_episodes": 10_000,
    },
)
