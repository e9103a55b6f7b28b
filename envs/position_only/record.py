"""The record: the environment inside is an argument, `env=Pendulum-v1` by default."""

from envs.task import Task

POSITION_ONLY = Task(
    ids=("PositionOnly-v0",),
    entry_point="envs.position_only.environment:make",
    # As few inputs as classic control has: a larger budget would make the hidden layer huge.
    preset={"budget": 5_000, "n_envs": 16, "activation": "tanh", "learning_rate_schedule": "linear"},
)
