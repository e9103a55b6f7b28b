"""Callbacks of a user's own: chosen by texts, see `envs.chosen_classes`, and run beside those of the product."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from agents.errors import DISK_ERRORS
from envs.chosen_classes import ClassChoice
from envs.contract import EnvironmentFailure, describe
from policies.refusal import Refusal

CALLBACKS: ClassChoice[BaseCallback] = ClassChoice(
    "callbacks", BaseCallback, "stable_baselines3.common.callbacks:StopTrainingOnMaxEpisodes:max_episodes=1000"
)
"""Every one is code that the command line has to name."""


class CallbackFailure(RuntimeError):
    """A callback of a user's own raised its cause; the message says what, and where."""


def make_callbacks(texts: Sequence[str]) -> list[BaseCallback]:
    """Make the callbacks of a configuration.

    :raises Refusal: if one cannot be found or made, or the command line has not named its module
    """
    made = []
    for chosen in CALLBACKS.find_all(texts):
        try:
            made.append(chosen.kind(**deepcopy(dict(chosen.arguments))))
        except (Exception, SystemExit) as error:
            raise Refusal(f"`callbacks` {chosen.text} cannot be made: {describe(error)}") from error
    return made


@contextmanager
def blamed(*passed_on: type[Exception]) -> Iterator[None]:
    """Tell what a callback raises from failures of ours.

    :param passed_on: errors that are to stay what they are, as failures of an environment do
    :raises CallbackFailure: for all others
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (EnvironmentFailure, *passed_on)):
            raise
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise CallbackFailure(f"a callback failed: {' '.join(describe(error).split())}") from error


class UsersCallbacks(CallbackList):
    """Callbacks of a user's own.

    Where one returns False, as Stable-Baselines3's do to stop a training, the rollout at hand is learned from first:
    only between two updates can a training be resumed exactly.
    """

    def _on_step(self) -> bool:
        if not super()._on_step():
            self.model.stop_after_update = True
        return True


class ChosenCallbacks(UsersCallbacks):
    """The callbacks of a configuration, whose failures are told from ours.

    :raises CallbackFailure: from every method, for what a callback raises
    """

    _init_callback = blamed()(CallbackList._init_callback)
    _on_training_start = blamed()(CallbackList._on_training_start)
    _on_step = blamed()(UsersCallbacks._on_step)
    _on_rollout_start = blamed()(CallbackList._on_rollout_start)
    _on_rollout_end = blamed()(CallbackList._on_rollout_end)
    _on_training_end = blamed()(CallbackList._on_training_end)
