"""What is known of RandomAnomaly-v0."""

from envs.task import Task

RANDOM_ANOMALY = Task(
    ids=("RandomAnomaly-v0",),
    entry_point="envs.random_anomaly.environment:RandomAnomalyEnv",
    has_splits=True,
    score="accuracy",
    pictures="envs.random_anomaly.pictures:training_pictures",
    still="envs.random_anomaly.beliefs:still",
    film="envs.random_anomaly.beliefs:film",
)
