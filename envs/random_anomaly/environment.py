"""RandomAnomaly-v0: name the image that was transformed in another way than the rest, from memory.

Source: Hershey and Paffenroth, ICMLA 2023 (doi 10.1109/ICMLA58977.2023.00026) and arXiv 2509.15057.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from envs.random_anomaly.strip import episode_strip
from envs.random_anomaly.task import AnomalyEpisode, RandomAnomalyTask
from envs.refusal import Refusal
from envs.vectorized.state_tree import StateTree, generator_state, set_generator_state

if TYPE_CHECKING:
    from envs.random_anomaly.batch import RandomAnomalyVecEnv


class RandomAnomalyEnv(gymnasium.Env[np.ndarray, np.int64]):
    """T images, then a blank one (zeros) at which the action is the answer; T + 1 steps, the last one terminates.

    Observations are flat normalized images, float32 (image_size²,); actions Discrete(T), or Discrete(T + 1) if there
    may be no odd image. The reward is 1 for the right answer at the blank image and 0 otherwise, and 0 before. The last
    step's info holds `anomaly_index`, `normal_kind`, `anomaly_kind`, `digit`, `answer` and `is_success`.

    Rendered as an RGB array, it shows the images of the episode side by side, up to the present one.

    :param sequence_length: and the following: see `RandomAnomalyTask`
    :param render_mode: None or `rgb_array`
    :raises Refusal: if an argument does not fit
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 Gymnasium's own declaration

    def __init__(
        self,
        sequence_length: int = 10,
        image_size: int = 50,
        source: str | os.PathLike[str] = "digits",
        split: str = "train",
        kinds: str | Iterable[str] | None = None,
        anomaly_probability: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise Refusal(f"render_mode {render_mode!r} is unknown: rgb_array or none is needed")
        self.render_mode = render_mode
        self.task = RandomAnomalyTask(sequence_length, image_size, source, split, kinds, anomaly_probability)
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        # The last two stay zero: the blank image, and what follows the answer.
        self._observations = np.zeros((self.task.sequence_length + 2, self.task.image_size**2), dtype=np.float32)
        self._time = 0
        self._episode: AnomalyEpisode | None = None
        self._generator_state: dict[str, Any] = {}

    @staticmethod
    def batched(n_envs: int, **arguments: Any) -> "RandomAnomalyVecEnv":
        """Make the same environments as one batch; see `envs.vectorized.make`."""
        # A program that lets an exported policy act needs neither Stable-Baselines3 nor torch.
        from envs.random_anomaly.batch import RandomAnomalyVecEnv

        return RandomAnomalyVecEnv(n_envs, **arguments)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw an episode; see Gymnasium.

        :return: the first image, and no info
        """
        super().reset(seed=seed)
        self._draw_episode()
        return self._observations[0].copy(), {}

    def _draw_episode(self) -> None:
        length, size = self.task.sequence_length, self.task.image_size
        self._generator_state = generator_state(self.np_random)
        self._episode = self.task.draw_episode(self.np_random, self._observations[:length].reshape(length, size, size))
        self._time = 0

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on from here: the generator before it drew the episode, and the time."""
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("there is no state between two episodes: reset() is needed first")
        return {"random": self._generator_state, "time": self._time}

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Return to a state of an environment with the same arguments.

        :return: the image shown at that time
        :raises Refusal: if the state is of a longer sequence or damaged
        """
        tree = StateTree(state, "the state does not fit this environment:")
        steps = tree.whole("time", most=self.task.sequence_length)
        set_generator_state(self.np_random, tree.table("random"))
        self._draw_episode()
        self._time = steps
        return self._observations[steps].copy()

    def step(self, action: int | np.integer) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Show the next image; at the blank one take the answer and end the episode."""
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("RandomAnomaly-v0 has no episode to step in: reset() is needed first")
        self._time += 1
        observation = self._observations[self._time].copy()
        if self._time <= self.task.sequence_length:
            return observation, 0.0, False, False, {}
        info = self._episode.info(int(action))
        self._episode = None
        return observation, float(info["is_success"]), True, False, info

    def render(self) -> np.ndarray | None:
        """Return the images so far, (height, width, 3) uint8; see `envs.random_anomaly.strip`."""
        if self.render_mode is None:
            return None
        seen = self._observations[: self.task.sequence_length + 1].copy()
        seen[self._time + 1 :] = 0.0
        return np.repeat(episode_strip(seen)[:, :, None], 3, axis=2)
