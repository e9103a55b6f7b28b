"""What is known of Gymnasium's classic control tasks."""

from envs.task import Task

CARTPOLE = Task(
    ids=("CartPole-v1",),
    knows_success=False,
    # Four inputs: a larger budget would make the hidden layer huge. The falling learning rate keeps a solved task
    # solved; a critic with ReLU grows over episodes of 500 steps, and has to be scaled back at times.
    preset={
        "budget": 1_500,
        "total_timesteps": 300_000,
        "n_steps": 128,
        "batch_size": 256,
        "activation": "tanh",
        "learning_rate": 1e-3,
        "learning_rate_schedule": "linear",
        "eval_every": 25_000,
        "eval_episodes": 50,
    },
)
