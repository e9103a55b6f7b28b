"""What happens beside the learning: evaluations, episode figures, a progress bar."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, ProgressBarCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from tqdm import tqdm

from agents.evaluation import EVALUATION_SEED, Evaluation, evaluate
from agents.monitoring.periodic import PeriodicCallback
from agents.runs.folder import RunFolder, SavedPolicy
from agents.runs.normalization import ObservationNormalization
from envs.vectorized.state_tree import StateTree
from policies.streams import UNPRINTABLE, say


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation during training, after so many environment steps."""

    steps: int
    evaluation: Evaluation
    hidden_proportions: Mapping[str, float] = field(default_factory=dict)
    """of the networks whose weights move, by name"""

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain numbers, for result files."""
        moving = {f"hidden_proportion_{name}": share for name, share in self.hidden_proportions.items()}
        return {"steps": self.steps} | self.evaluation.summary() | moving

    def get_state(self) -> dict[str, Any]:
        """Return the fields as arrays and plain values."""
        evaluation = {**vars(self.evaluation), "figures": dict(self.evaluation.figures)}
        return {"steps": self.steps, **evaluation, "hidden_proportions": dict(self.hidden_proportions)}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "CurvePoint":
        """Return the point that `get_state` describes.

        :raises Refusal: if it is none
        """
        tree = StateTree(state)
        returns, figures = tree.array("returns", (None,), np.float64), tree.table("figures")
        evaluation = Evaluation(
            returns,
            tree.array("lengths", returns.shape, np.int64),
            None if tree.value("successes") is None else tree.array("successes", returns.shape, np.bool_),
            tree.number("seconds"),
            {name: figures.array(name, returns.shape, np.float64) for name in figures},
            tree.whole("cut") if "cut" in tree else 0,  # not in the checkpoints of earlier versions
        )
        # Neither is there in the checkpoints of earlier versions.
        shares = tree.table("hidden_proportions") if "hidden_proportions" in tree else StateTree({})
        return cls(tree.whole("steps"), evaluation, {name: shares.number(name) for name in shares})


def current_normalization(environments: VecEnv) -> ObservationNormalization | None:
    """Return the observation statistics gathered so far, or None if observations are not normalized."""
    if isinstance(environments, VecNormalize) and environments.norm_obs:
        return ObservationNormalization.of(environments)
    return None


class EvaluationCallback(PeriodicCallback):
    """Evaluates every `every` steps, at the end of the update that passes them, and keeps the best policy.

    :param environments: report the registered reward, not normalized
    :param every: environment steps between evaluations
    :param episodes: episodes of an evaluation, the same seeds each time
    :param folder: where best/ is written
    :param figures: see `agents.evaluation.evaluate`; logged as eval/<name>
    :param moving: the networks whose weights move, "actor" or "critic"; the curve says their hidden proportions
    """

    def __init__(
        self,
        environments: VecEnv,
        *,
        every: int,
        episodes: int,
        folder: RunFolder,
        figures: Sequence[str] = (),
        moving: Sequence[str] = (),
    ) -> None:
        super().__init__(every)
        self.environments = environments
        self.episodes = episodes
        self.folder = folder
        self.figures = figures
        self.moving = moving
        self.curve: list[CurvePoint] = []
        self.best: CurvePoint | None = None
        self._best_policy: SavedPolicy | None = None
        self._said_cut = False

    def get_state(self) -> dict[str, Any]:
        """Return the curve and the best policy so far too."""
        best = None
        if self.best is not None and self._best_policy is not None:
            best = {"steps": self.best.steps, "policy": self._best_policy.get_state()}
        return super().get_state() | {"curve": [point.get_state() for point in self.curve], "best": best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state; best/ is written anew, since what lies there may be of steps that were lost."""
        super().set_state(state)
        tree = StateTree(state)
        points = tree.row("curve")
        self.curve = [CurvePoint.of_state(points.table(index)) for index in points]
        by_steps = {point.steps: point for point in self.curve}
        if self.curve or self._acted_at or tree.value("best") is not None:
            best = tree.table("best")
            self.best = by_steps.get(best.whole("steps")) or best.refuse("steps", "those of an evaluation")
            self._best_policy = SavedPolicy.of_state(best.table("policy"))
            self.folder.write_policy("best", self._best_policy)

    def act(self) -> None:
        """Evaluate, log, and keep the policy if it is the best so far."""
        self.keep(self.evaluate())

    def evaluate(self) -> Evaluation:
        """Evaluate the policy as it is."""
        evaluation = evaluate(
            self.model.policy,
            self.environments,
            episodes=self.episodes,
            first_seed=EVALUATION_SEED,
            normalization=current_normalization(self.training_env),
            figures=self.figures,
        )
        self.say_cut(evaluation)
        return evaluation

    def say_cut(self, evaluation: Evaluation) -> None:
        """Say, once in a training, that an evaluation had episodes that did not end."""
        if evaluation.cut and not self._said_cut:
            self._said_cut = True
            evaluation.say_cut()

    def keep(self, evaluation: Evaluation) -> None:
        """Take an evaluation of the policy into the curve and the log, and keep the policy if it is the best so far."""
        shares = {name: getattr(self.model.policy, name).specification.hidden_proportion for name in self.moving}
        point = CurvePoint(self.num_timesteps, evaluation, shares)
        self.curve.append(point)
        # A return that is not a number is no best one, and any number is better.
        if self.best is None or _rank(evaluation) > _rank(self.best.evaluation):
            self.best = point
            self._best_policy = SavedPolicy.of(self.model.policy, current_normalization(self.training_env))
            self.folder.write_policy("best", self._best_policy)
        self.logger.record("eval/mean_reward", evaluation.mean_return)
        self.logger.record("eval/std_reward", evaluation.std_return)
        self.logger.record("eval/mean_ep_length", float(evaluation.lengths.mean()))
        if evaluation.success_rate is not None:
            self.logger.record("eval/success_rate", evaluation.success_rate)
        if evaluation.cut:
            self.logger.record("eval/cut_episodes", evaluation.cut)
        for name, values in evaluation.figures.items():
            self.logger.record(f"eval/{name}", float(values.mean()))
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)


class FinalPolicyCallback(BaseCallback):
    """Writes final/ when the last step is learned from, before anything that may fail is done with the policy."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.folder.save_policy("final", self.model.policy, current_normalization(self.training_env))


def _rank(evaluation: Evaluation) -> float:
    return evaluation.mean_return if np.isfinite(evaluation.mean_return) else -np.inf


class EpisodeFiguresCallback(BaseCallback):
    """Logs the mean over the last episodes of figures that an environment reports at an episode's end.

    :param names: entries of the final step's info; logged as rollout/<name> where present
    """

    def __init__(self, names: Sequence[str] = (), window: int = 100) -> None:
        super().__init__()
        self.recent: dict[str, deque[float]] = {name: deque(maxlen=window) for name in names}

    def get_state(self) -> dict[str, Any]:
        return {name: list(values) for name, values in self.recent.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        tree = StateTree(state)
        for name, values in self.recent.items():
            row = tree.row(name)
            values.clear()
            values.extend(row.number(index) for index in row)

    def _on_step(self) -> bool:
        infos: list[dict[str, Any]] = self.locals["infos"]
        for index in np.flatnonzero(self.locals["dones"]):
            for name, values in self.recent.items():
                if name in infos[index]:
                    values.append(float(infos[index][name]))
        return True

    def _on_rollout_end(self) -> None:
        for name, values in self.recent.items():
            if values:
                self.logger.record(f"rollout/{name}", float(np.mean(values)))


class _LastingProgressBar(ProgressBarCallback):
    """A bar as long as there is something to show it on; without it the training goes on."""

    pbar: Any

    def _on_training_start(self) -> None:
        try:
            super()._on_training_start()
        except UNPRINTABLE as error:
            self._give_up(error)

    def _on_step(self) -> bool:
        try:
            return super()._on_step()
        except UNPRINTABLE as error:
            self._give_up(error)
            return True

    def _on_training_end(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back."""
        try:
            if hasattr(self, "pbar"):
                self.pbar.refresh()
                self.pbar.close()
        except UNPRINTABLE as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        with suppress(*UNPRINTABLE):
            if hasattr(self, "pbar"):
                self.pbar.close()  # gives standard output back, whatever it raises
        self.pbar = tqdm(disable=True)
        say(f"note: no progress bar from here on: {error}")


@contextmanager
def progress_bar() -> Iterator[ProgressBarCallback]:
    """Yield a progress bar, and give the terminal back however the training ends."""
    callback = _LastingProgressBar()
    try:
        yield callback
    finally:
        callback.close()
