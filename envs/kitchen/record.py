"""What is known of the kitchen."""

from envs.task import Task

KITCHEN = Task(
    ids=("FrankaKitchen-v1",), replacement="envs.kitchen.environment:CountedKitchenEnv", figures=("tasks_done",)
)
