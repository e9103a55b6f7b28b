"""The phase of a training that fits the policy to demonstrations, before PPO goes on from there."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from agents.configuration import TrainingConfiguration
from agents.extras import require
from agents.monitoring.callbacks import EvaluationCallback, current_normalization
from agents.monitoring.dispensable import Dispensable
from agents.monitoring.network import record_pattern
from agents.ppo.imitation import Demonstrations, FitPoint, ImitationLoss, default_learning_rate, fit
from agents.ppo.rebalancing import Moved, Rebalancing
from agents.ppo.rebalancing_figures import record_move, record_network
from agents.ppo.sequence_ppo import ImitationTerm, SequencePPO
from agents.ppo.stretches import long_stretches
from envs.lookup import environment_spaces
from envs.vectorized.state_tree import StateTree
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy

EVALUATIONS = 4
"""of the policy in the simulator while it is fitted; the last one when it is"""

DemonstrationSplit = tuple[Demonstrations, Demonstrations]
"""the demonstrations to fit, and those held out to measure the loss on"""


def demonstrations_of(configuration: TrainingConfiguration) -> DemonstrationSplit | None:
    """Read the demonstrations that a configuration names, if it names any.

    :raises ValueError: as `load_demonstrations`
    """
    if configuration.demos is None:
        return None
    require("demonstrations", "`demos`")
    from agents.demonstrations.dataset import load_demonstrations

    return load_demonstrations(
        configuration.demos,
        *environment_spaces(configuration.env, configuration.training_arguments, configuration.wrappers),
        configuration.demo_episodes,
        configuration.seed,
    )


class DemonstrationCallback(BaseCallback):
    """Fits the policy when a training starts, and gives the learner the imitation term that it keeps during PPO.

    Logs the losses after every epoch, the return in the simulator four times on the way, and the actor's network if its
    weights move, as demos/…, whose steps are epochs. The evaluation of the fitted policy is the first of the
    training's, after 0 steps. A training that is resumed after the fit does not repeat it.

    :param demonstrations: to fit, and held out
    :param configuration: of the training
    :param hidden_size: of the actor
    :param evaluation_callback: evaluates on the way
    :param check: called after every update, to stop the fit where that is asked for
    :param rebalancing: moves weights of the actor meanwhile
    :param keep_patterns: called before the first and after each move with the updates so far, to keep the patterns of
        then
    """

    def __init__(
        self,
        demonstrations: DemonstrationSplit,
        configuration: TrainingConfiguration,
        hidden_size: int,
        evaluation_callback: EvaluationCallback,
        check: Callable[[], None],
        rebalancing: Rebalancing | None = None,
        keep_patterns: Callable[[int], None] = lambda update: None,
    ) -> None:
        super().__init__()
        self.demonstrations = demonstrations
        self.configuration = configuration
        self.hidden_size = hidden_size
        self.evaluation_callback = evaluation_callback
        self.check = check
        self.rebalancing = rebalancing
        self.keep_patterns = keep_patterns
        self._pictures = Dispensable("pictures of the fitted network")
        self.curve: list[FitPoint] = []
        """losses after every epoch"""
        self._log_std: np.ndarray | None = None

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on without another fit."""
        return {"curve": [asdict(point) for point in self.curve], "log_std": self._log_std}

    def set_state(self, state: dict[str, Any]) -> None:
        tree = StateTree(state)
        row = tree.row("curve")
        self.curve = [
            FitPoint(point.whole("epoch"), point.number("training_loss"), point.number("held_out_loss"))
            for point in map(row.table, row)
        ]
        self._log_std = tree.array("log_std", (self._noise_size(),), np.float32)

    def _noise_size(self) -> int:
        actions = self.demonstrations[0].actions
        return actions.shape[-1] if actions.dtype.kind == "f" else 0

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        algorithm, configuration = self.model, self.configuration
        assert isinstance(algorithm, SequencePPO)
        normalization = current_normalization(self.training_env)
        training_part, held_out_part = self.demonstrations
        fitted = ImitationLoss(training_part, normalization, algorithm.action_space, algorithm.device)
        if self._log_std is None:
            if algorithm.num_timesteps:
                raise Refusal(
                    "the checkpoint does not fit this run: it does not say how the demonstrations were fitted"
                )
            held_out = ImitationLoss(
                held_out_part, normalization, algorithm.action_space, algorithm.device, fitted.log_std
            )
            if self.rebalancing is not None:
                self._show_network()
                self.logger.dump(0)
                self.keep_patterns(0)
            fit(
                algorithm.policy,
                fitted,
                held_out,
                epochs=configuration.demo_epochs,
                learning_rate=configuration.demo_learning_rate or default_learning_rate(self.hidden_size),
                max_grad_norm=configuration.max_grad_norm,
                generator=algorithm.minibatch_generator,
                after_update=self.check,
                after_epoch=lambda point, epochs: self._after_epoch(point, epochs, fitted),
                progress=configuration.progress,
                rebalancing=self.rebalancing,
                rebalance_every=configuration.rebalance_every,
                after_move=self._after_move,
            )
            self._log_std = fitted.log_std.detach().cpu().numpy().copy()
        with torch.no_grad():
            fitted.log_std.copy_(torch.as_tensor(self._log_std).reshape(fitted.log_std.shape))
        fitted.log_std.requires_grad_(False)
        if configuration.demo_weight > 0:
            algorithm.imitation = ImitationTerm(fitted, configuration.demo_weight, configuration.demo_decay)

    def _limit_growth(self, fitted: ImitationLoss) -> None:
        """Keep the fitted networks from amplifying roundings, before they act."""
        policy = self.model.policy
        assert isinstance(policy, SequencePolicy)
        counted = fitted.counted.T.cpu().numpy()  # episode by episode
        starts = np.zeros_like(counted, dtype=np.float32)
        starts[:, 0] = 1
        observations = fitted.observations.transpose(0, 1).cpu().numpy()[counted]
        stretches = long_stretches(observations[:, None], starts[counted][:, None])
        for name, growth in policy.limit_growth(torch.as_tensor(stretches, device=policy.device)).items():
            self.logger.record(f"demos/recurrence_scale/{name}", growth.scale)

    def _show_network(self) -> None:
        actor = self.model.policy.actor
        record_network(self.logger, "demos", "actor", actor.specification)
        with self._pictures.attempt():
            record_pattern(self.logger, "demos", "actor", actor)

    def _after_move(self, update: int, moved: Moved) -> None:
        record_move(self.logger, "demos", "actor", self.model.policy.actor.specification, moved)
        self.keep_patterns(update)

    def _after_epoch(self, point: FitPoint, epochs: int, fitted: ImitationLoss) -> None:
        self.curve.append(point)
        if point.epoch == epochs:
            self._limit_growth(fitted)
        self.logger.record("demos/training_loss", point.training_loss)
        self.logger.record("demos/held_out_loss", point.held_out_loss)
        evaluation = None
        if point.epoch * EVALUATIONS // epochs > (point.epoch - 1) * EVALUATIONS // epochs:
            if self.rebalancing is not None:
                self._show_network()
            evaluation = self.evaluation_callback.evaluate()
            self.logger.record("demos/mean_return", evaluation.mean_return)
            if evaluation.success_rate is not None:
                self.logger.record("demos/success_rate", evaluation.success_rate)
        self.logger.record("demos/epoch", point.epoch, exclude="tensorboard")
        self.logger.dump(point.epoch)
        if evaluation is not None and point.epoch == epochs:
            self.evaluation_callback.keep(evaluation)
