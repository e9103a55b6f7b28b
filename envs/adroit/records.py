"""The Adroit hand's tasks: an episode succeeds by the steps in which its goal is reached, as DAPG and D4RL count."""

from envs.task import Task

HAMMER = Task(
    ids=("AdroitHandHammer-v1", "AdroitHandHammerSparse-v1"),
    replacement="envs.adroit.hammer:HammerEnv",
    rewards=("registered", "corrected"),
    figures=("lifted",),
)

ADROIT = (
    HAMMER,
    Task(ids=("AdroitHandDoor-v1", "AdroitHandDoorSparse-v1"), success_steps=25),
    Task(ids=("AdroitHandPen-v1", "AdroitHandPenSparse-v1"), success_steps=20),
    Task(ids=("AdroitHandRelocate-v1", "AdroitHandRelocateSparse-v1"), success_steps=25),
)
"""The numbers of steps are those of DAPG's evaluations, which D4RL kept; the hammer counts for itself."""
