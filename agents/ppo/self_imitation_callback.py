"""Gathering the best episodes of a training, from which it imitates itself."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback

from agents.ppo.self_imitation import Episode, KeptEpisode, SelfImitation
from agents.ppo.sequence_ppo import SequencePPO
from envs.vectorized.state_tree import StateTree

LONGEST = 10_000
"""Steps of an episode; longer ones are not learned from, and what is beyond is not kept."""


_Step = tuple[np.ndarray, np.ndarray, np.float32]
"""observation, action and reward"""


class SelfImitationCallback(BaseCallback):
    """Keeps the best episodes, and gives the learner the loss on them.

    Episodes go on over the ends of rollouts. They are kept as the environments gave them, and laid out for the updates
    when a rollout is complete, as observations and rewards are normalized then.

    :param imitation: the loss, and the episodes that it learns from
    """

    def __init__(self, imitation: SelfImitation) -> None:
        super().__init__()
        self.imitation = imitation
        self._running: list[list[_Step]] = []
        """of each environment: every step since its episode began"""
        self._observations: np.ndarray | None = None
        """(n_envs, n_x), as the environments gave them, before the next step"""

    def get_state(self) -> dict[str, Any]:
        """Copy the best episodes and those that are running."""
        best = self.imitation.episodes.kept
        running = [_stacked(steps) if steps else None for steps in self._running]
        return {
            "lessons": self.imitation.episodes.lessons,
            "recent": np.array(self.imitation.episodes.recent, np.float64),
            "best": [{"value": one.value, "since": one.since} | one.episode._asdict() for one in best],
            "running": [None if episode is None else episode._asdict() for episode in running],
            "observations": self._observations,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        tree = StateTree(state)
        best, running = tree.row("best"), tree.row("running")
        self.imitation.episodes.lessons = tree.whole("lessons")
        if "recent" in tree:  # not in the checkpoints of earlier versions
            self.imitation.episodes.recent.extend(tree.array("recent", (None,), np.float64).tolist())
        self.imitation.episodes.kept = [
            KeptEpisode(one.number("value"), one.whole("since"), _episode(one)) for one in map(best.table, best)
        ]
        self._running = [
            [] if running.value(name) is None else list(zip(*_episode(running.table(name)), strict=True))
            for name in running
        ]
        self._observations = None if tree.value("observations") is None else tree.array("observations")

    def _on_training_start(self) -> None:
        algorithm = self.model
        assert isinstance(algorithm, SequencePPO)
        algorithm.self_imitation = self.imitation
        if not self._running:
            self._running = [[] for _ in range(algorithm.n_envs)]
        began = self._original_observations()
        if began is not None:  # otherwise the environments were restored, with the checkpoint's observations
            self._observations = began

    def _original_observations(self) -> np.ndarray | None:
        """Return (n_envs, n_x), copied; None if the environments neither began nor stepped since they were made."""
        environments = self.model.get_vec_normalize_env()
        if environments is None:
            return np.array(self.model._last_obs, np.float32)
        found = vars(environments).get("old_obs")
        return None if found is None else np.array(found, np.float32)

    def _on_step(self) -> bool:
        environments = self.model.get_vec_normalize_env()
        rewards = self.locals["rewards"] if environments is None else environments.get_original_reward()
        actions, dones = self.locals["actions"], self.locals["dones"]
        if isinstance(self.model.action_space, spaces.Box):
            actions = actions.reshape(len(actions), -1).astype(np.float32, copy=False)
        assert self._observations is not None
        for index, steps in enumerate(self._running):
            if self.model._last_episode_starts[index]:
                steps.clear()  # after a resumption without the environments' states a new episode has begun
            if len(steps) <= LONGEST:
                steps.append((self._observations[index], actions[index], np.float32(rewards[index])))
            if dones[index]:
                if len(steps) <= LONGEST:
                    self.imitation.episodes.add(_stacked(steps))
                steps.clear()  # not at the next step: until then checkpoints would hold it as running
        if environments is None:
            self._observations = np.array(self.locals["new_obs"], np.float32)
        else:
            self._observations = self._original_observations()
        return True

    def _on_rollout_end(self) -> None:
        algorithm = self.model
        assert isinstance(algorithm, SequencePPO)
        self.imitation.prepare(
            algorithm.get_vec_normalize_env(),
            algorithm.device,
            last_only=algorithm.loss_steps == "last",
        )
        if kept := self.imitation.episodes.kept:
            self.logger.record("rollout/best_discounted_return", kept[0].value)
        self.logger.record("rollout/imitated_episodes", self.imitation.n_episodes)


def _stacked(steps: list[_Step]) -> Episode:
    return Episode(*(np.stack(parts) for parts in zip(*steps, strict=True)))


def _episode(tree: StateTree) -> Episode:
    rewards = tree.array("rewards", (None,), np.float32)
    observations = tree.array("observations", (len(rewards), None), np.float32)
    actions = tree.array("actions")
    if len(actions) != len(rewards):
        tree.refuse("actions", f"an array of {len(rewards)} steps")
    return Episode(observations, actions, rewards)
