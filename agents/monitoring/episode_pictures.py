"""Pictures of held-out episodes beside a training, as the task's record draws them."""

import pkgutil

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import TensorBoardOutputFormat
from stable_baselines3.common.vec_env import VecEnv

from agents.configuration import TrainingConfiguration
from agents.evaluation import play_episodes
from agents.monitoring.callbacks import current_normalization
from agents.monitoring.dispensable import Dispensable
from agents.monitoring.periodic import PeriodicCallback
from envs.rendering import figure_pixels
from envs.task import task_of

PICTURES_SEED = 1_750_000_000
"""Episode i of the pictures is seeded PICTURES_SEED + i, far from the seeds of training and evaluations."""
EPISODES_SHOWN = 4
"""Episodes that may be drawn step by step."""


class EpisodePicturesCallback(PeriodicCallback):
    """Shows TensorBoard what a task draws of a few episodes.

    Every `every` steps, at the end of the update that passes them, and at the end of the training, the policy plays
    deterministically the same held-out episodes. The pictures go to TensorBoard alone, and neither the training nor
    its other records change by them. Without a TensorBoard output nothing is played; where drawing fails there are no
    pictures from there on.

    :param environments: not normalized; may be those of the evaluations. Not closed
    :param draw: function that draws, `module:name`; see `envs.task.Task.pictures`
    :param every: environment steps between pictures
    :param episodes: the same seeds each time; the first of them hold their observations and actions
    """

    state_key = "AnomalyPicturesCallback"  # checkpoints of earlier versions have it under this name

    def __init__(self, environments: VecEnv, draw: str, *, every: int, episodes: int) -> None:
        super().__init__(every)
        self.environments = environments
        self.draw = draw
        self.episodes = episodes
        self._pictures = Dispensable("pictures of episodes")

    def act(self) -> None:
        # Not by logger.record and dump: that would add a row to progress.csv and draw the pending figures into it.
        outputs = [output for output in self.logger.output_formats if isinstance(output, TensorBoardOutputFormat)]
        if not outputs or self._pictures.given_up:
            return
        episodes = play_episodes(
            self.model.policy,
            self.environments,
            episodes=self.episodes,
            first_seed=PICTURES_SEED,
            normalization=current_normalization(self.training_env),
            keep=EPISODES_SHOWN,
        )
        drawn = {}
        with self._pictures.attempt():
            pictures = pkgutil.resolve_name(self.draw)(episodes, self.environments.action_space)
            drawn = {name: figure_pixels(picture) for name, picture in pictures.items()}
        for name, pixels in drawn.items():
            for output in outputs:
                output.writer.add_image(name, pixels, self.num_timesteps, dataformats="HWC")
        for output in outputs:
            output.writer.flush()


def pictures_for(configuration: TrainingConfiguration, environments: VecEnv) -> list[BaseCallback]:
    """Return the callback that draws a training's pictures, or none if its task draws none.

    Nor is anything drawn of wrapped environments, whose observations may be others than the task's.

    :param environments: those of the evaluations during training; the pictures come as often and from as many episodes
    """
    draw = task_of(configuration.env).pictures
    if draw is None or configuration.wrappers:
        return []
    return [
        EpisodePicturesCallback(
            environments, draw, every=configuration.eval_every, episodes=configuration.eval_episodes
        )
    ]
