"""POPGym: tasks that cannot be solved without memory (Morad et al., "POPGym: Benchmarking Partially Observable
Reinforcement Learning", ICLR 2023). Its package, an extra, registers them.

An episode's rewards add up to between -1 and 1. What is counted is the return, POPGym knows no success.
"""

import importlib
from importlib.util import find_spec

from envs.refusal import Refusal
from envs.task import Task

NAMES = (
    # diagnostic
    *("Autoencode", "CountRecall", "RepeatFirst", "RepeatPrevious"),
    # control
    *("PositionOnlyCartPole", "PositionOnlyPendulum", "VelocityOnlyCartpole"),
    # noisy
    *("MultiarmedBandit", "NoisyPositionOnlyCartPole", "NoisyPositionOnlyPendulum"),
    # games
    *("Battleship", "Concentration", "HigherLower", "MineSweeper"),
)
"""The labyrinths, which need another package, are left out."""
LEVELS = ("Easy", "Medium", "Hard")

POPGYM = Task(
    ids=tuple(f"popgym-{name}{level}-v0" for name in NAMES for level in LEVELS),
    ends=True,
    knows_success=False,
    # What the paper lets the agent see: the action before, and whether the episode begins. Its discount, 0.99, is the
    # default. Tasks with so few inputs would make the hidden layer of a larger budget huge.
    preset={
        "wrappers": ("popgym.wrappers:PreviousAction", "popgym.wrappers:Antialias"),
        "budget": 10_000,
        "n_envs": 16,
        "batch_size": 1024,
        "activation": "tanh",
        "eval_episodes": 50,
    },
)


def register_popgym(env_id: str) -> None:
    """Register the tasks with Gymnasium, for the sake of one of them.

    :raises Refusal: if the extra is not installed
    """
    require_popgym(f"`env` {env_id}")
    importlib.import_module("popgym")


def require_popgym(purpose: str) -> None:
    """Refuse what needs the extra if it is not installed.

    :raises Refusal: one line that says how to install it
    """
    if find_spec("popgym") is None:
        raise Refusal(f'{purpose} needs the extra popgym: pip install --editable ".[popgym]"')
