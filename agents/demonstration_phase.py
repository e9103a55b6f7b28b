"""The phase of a training that fits the policy to demonstrations, before PPO goes on from there."""

from stable_baselines3.common.vec_env import VecEnv

from agents.callbacks import EvaluationCallback, current_normalization
from agents.configuration import TrainingConfiguration
from agents.demonstrations import Demonstrations, load_demonstrations
from agents.imitation import FitPoint, ImitationLoss, fit
from agents.sequence_ppo import ImitationTerm, SequencePPO
from envs.lookup import environment_spaces

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
    return load_demonstrations(
        configuration.demos,
        *environment_spaces(configuration.env, configuration.env_arguments, reward=configuration.reward),
        configuration.demo_episodes,
        configuration.seed,
    )


def fit_demonstrations(
    algorithm: SequencePPO,
    demonstrations: DemonstrationSplit,
    configuration: TrainingConfiguration,
    evaluation_callback: EvaluationCallback,
) -> list[FitPoint]:
    """Fit an algorithm's policy, and give the algorithm the imitation term that it keeps during PPO.

    Logs the losses after every epoch, and the return in the simulator four times on the way, as demos/…, whose steps
    are epochs. The evaluation of the fitted policy is the first of the training's, after 0 steps.

    :return: losses after every epoch
    """
    environments = algorithm.get_env()
    assert isinstance(environments, VecEnv)
    normalization = current_normalization(environments)
    training_part, held_out_part = demonstrations
    fitted = ImitationLoss(training_part, normalization, algorithm.action_space, algorithm.device)
    held_out = ImitationLoss(held_out_part, normalization, algorithm.action_space, algorithm.device, fitted.log_std)
    evaluation_callback.init_callback(algorithm)
    curve: list[FitPoint] = []

    def after_epoch(point: FitPoint, epochs: int) -> None:
        curve.append(point)
        algorithm.logger.record("demos/training_loss", point.training_loss)
        algorithm.logger.record("demos/held_out_loss", point.held_out_loss)
        if point.epoch * EVALUATIONS // epochs > (point.epoch - 1) * EVALUATIONS // epochs:
            evaluation = evaluation_callback.evaluate()
            algorithm.logger.record("demos/mean_return", evaluation.mean_return)
            if evaluation.success_rate is not None:
                algorithm.logger.record("demos/success_rate", evaluation.success_rate)
        algorithm.logger.record("demos/epoch", point.epoch, exclude="tensorboard")
        algorithm.logger.dump(point.epoch)
        if point.epoch == epochs:
            evaluation_callback.keep(evaluation)

    fit(
        algorithm.policy,
        fitted,
        held_out,
        epochs=configuration.demo_epochs,
        learning_rate=configuration.demo_learning_rate,
        max_grad_norm=configuration.max_grad_norm,
        generator=algorithm.minibatch_generator,
        after_epoch=after_epoch,
        progress=configuration.progress,
    )
    if configuration.demo_weight > 0:
        algorithm.imitation = ImitationTerm(fitted, configuration.demo_weight, configuration.demo_decay)
    return curve
