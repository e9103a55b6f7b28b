"""One training, from a configuration to a run folder."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Box
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agents.building import networks_of, policy_recipe, specification_of
from agents.callbacks import CALLBACKS, ChosenCallbacks, UsersCallbacks, make_callbacks
from agents.configuration import TrainingConfiguration, to_yaml
from agents.demonstrations.phase import DemonstrationCallback, DemonstrationSplit, demonstrations_of
from agents.evaluation import FINAL_SEED, Evaluation, evaluate
from agents.monitoring.callbacks import (
    CurvePoint,
    EpisodeFiguresCallback,
    EvaluationCallback,
    FinalPolicyCallback,
    current_normalization,
    progress_bar,
)
from agents.monitoring.episode_pictures import EpisodePicturesCallback, pictures_for
from agents.monitoring.network import NetworkCallback
from agents.ppo.imitation import FitPoint
from agents.ppo.noise_schedule import NoiseSchedule
from agents.ppo.rebalancing_callback import RebalancingCallback
from agents.ppo.self_imitation import BestEpisodes, SelfImitation
from agents.ppo.self_imitation_callback import SelfImitationCallback
from agents.ppo.sequence_ppo import SequencePPO, check_batch_size
from agents.rebalancing_plan import check_fit, check_moves, rebalancings
from agents.recommendation.recommend import resolved
from agents.resumption.callback import CheckpointCallback
from agents.resumption.callback_states import by_state_key
from agents.resumption.checkpoint import checkpoint_to_resume
from agents.resumption.logs import continued_logger
from agents.resumption.options import changed_options
from agents.resumption.signals import InterruptibleVecEnv, InterruptionCallback, SignalWatch
from agents.resumption.stopping import explained_stops
from agents.runs.folder import RunFolder
from agents.runs.lock import run_lock
from agents.runs.normalization import FixedStatistics, PartialStatistics, kept_entries
from agents.runs.patterns import write_patterns
from envs.lookup import ActionSpace, environment_spaces
from envs.task import pays_progress, task_of, with_split
from envs.vectorized.cuts import EndingCuts
from envs.vectorized.finite import FiniteVecEnv
from envs.vectorized.make import make_vec_env
from envs.vectorized.progress import ProgressRewards
from policies.network.architectures import ActorCriticSpecification
from policies.network.initialization import parse_initialization
from policies.refusal import Refusal
from policies.streams import say

EVALUATION_ENVIRONMENTS = 64
"""Most environments that an evaluation steps together."""

PICTURES = 12
"""of patterns over a training in which weights move, or as many as evaluations"""

OWN_CALLBACKS = (
    RebalancingCallback,
    NetworkCallback,
    DemonstrationCallback,
    SelfImitationCallback,
    EpisodeFiguresCallback,
    EvaluationCallback,
    EpisodePicturesCallback,
)
"""What may run beside every training and has a state: checkpoints hold it under these names, which are to stay."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves behind."""

    path: Path
    """the run folder"""
    final: Evaluation
    """the final policy over fresh episodes"""
    curve: tuple[CurvePoint, ...]
    """evaluations during the training, all over the same episodes"""
    best: CurvePoint
    """the evaluation with the highest mean return, whose policy is in best/"""
    imitation: tuple[FitPoint, ...]
    """losses while the policy was fitted to demonstrations, if it was"""
    steps: int
    seconds: float
    """of the whole training, evaluations included"""

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain numbers, for result.json."""
        return {
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "final": self.final.summary(),
            "best": self.best.summary(),
            "imitation": [asdict(point) for point in self.imitation],
            "curve": [point.summary() for point in self.curve],
        }


def plan_training(
    configuration: TrainingConfiguration, spaces: tuple[Box, ActionSpace] | None = None
) -> ActorCriticSpecification:
    """Check everything that can be checked before a training starts, and return the networks it would train.

    :param configuration: in which nothing is left to the parent; see `agents.recommendation.recommend.resolved`
    :param spaces: of the environment, where they are known already
    :raises Refusal: one line that names the option at fault and what would fit
    """
    check_device(configuration.device)
    check_batch_size(configuration.batch_size, configuration.n_steps, configuration.n_envs)
    parse_initialization(configuration.init)
    CALLBACKS.find_all(configuration.callbacks)
    observation_space, action_space = spaces or environment_spaces(
        configuration.env, configuration.training_arguments, configuration.wrappers
    )
    for name, without in (("noise_correlation", 0.0), ("log_std_final", None)):
        value = getattr(configuration, name)
        if value != without and not isinstance(action_space, Box):
            raise Refusal(
                f"`{name}` {value} does not fit {configuration.env}, whose actions are choices without noise: "
                "leave it out"
            )
    specification = specification_of(configuration, observation_space, action_space)
    check_moves(configuration, specification)
    return specification


def train(
    configuration: TrainingConfiguration, callbacks: Sequence[BaseCallback] = (), *, resume: RunFolder | None = None
) -> TrainingResult:
    """Train an agent as configured and write its run folder, or go on with a run that was stopped.

    SIGINT (Ctrl-C) and SIGTERM stop it with a checkpoint; a second one ends the process at once.

    :param callbacks: Stable-Baselines3 callbacks to run beside the product's own and those of the configuration; those
        with `get_state` and `set_state` are part of checkpoints, each under a key of its own, its `state_key` or the
        name of its class. When a run is resumed, one that the checkpoint lacks starts fresh, and a state that no
        callback takes is dropped
    :param resume: folder of the run to go on with; see `agents.resumption.options.configuration_to_resume`
    :raises Refusal: if something in the configuration does not fit; nothing is written then
    :raises TrainingStopped: if it cannot go on: a number is not finite, an environment, a callback of the
        configuration or the state of any callback raised, the disk is full
    :raises Interrupted: for the two signals
    """
    configuration = resolved(configuration)
    specification = plan_training(configuration)
    callbacks = [UsersCallbacks(list(callbacks)), ChosenCallbacks(make_callbacks(configuration.callbacks))]
    by_state_key([*OWN_CALLBACKS, *callbacks])
    with ExitStack() as cleanup:
        training = _Training(configuration, specification, callbacks, resume, cleanup)
        with training.signals.deferred():
            training.learn()
            return training.finish()


class _Training:
    """A training that is about to begin or to go on: its folder is open and its learner ready.

    :param cleanup: closes what is opened here
    """

    def __init__(
        self,
        configuration: TrainingConfiguration,
        specification: ActorCriticSpecification,
        callbacks: Sequence[BaseCallback],
        resume: RunFolder | None,
        cleanup: ExitStack,
    ) -> None:
        self.started = time.perf_counter()
        self.configuration = configuration
        self.cleanup = cleanup
        self.figures = task_of(configuration.env).figures
        self.signals = cleanup.enter_context(SignalWatch())
        demonstrations = demonstrations_of(configuration)
        if demonstrations is not None:
            check_fit(configuration, len(demonstrations[0]))
        self.environments = training_environments(configuration, demonstrations)
        cleanup.callback(self.environments.close)
        held_out = self.held_out("validation", configuration.eval_episodes)
        self.folder = resume or RunFolder.create(configuration, default_run_name(configuration))
        cleanup.enter_context(run_lock(self.folder.path))
        checkpoint = checkpoint_to_resume(self.folder.path) if resume else None
        logger = cleanup.enter_context(continued_logger(self.folder.path, checkpoint))

        every = configuration.eval_every
        self.evaluations = EvaluationCallback(
            held_out,
            every=every,
            episodes=configuration.eval_episodes,
            folder=self.folder,
            figures=self.figures,
            moving=configuration.moving_networks,
        )
        self.specification = specification
        fit_rebalancing, rebalancing = rebalancings(configuration)
        self.fits: list[DemonstrationCallback] = []
        if demonstrations is not None:
            self.fits = [
                DemonstrationCallback(
                    demonstrations,
                    configuration,
                    specification.actor.n_hidden,
                    self.evaluations,
                    self.signals.check,
                    fit_rebalancing,
                    partial(self.keep_patterns, "demos"),
                )
            ]
        moves: list[BaseCallback] = []
        pictures_every = None
        if rebalancing is not None:
            often = configuration.rebalance_every
            moves = [RebalancingCallback(rebalancing, every=often, keep=self.keep_patterns)]
            pictures_every = max(every, configuration.total_timesteps // PICTURES)
        others = [
            *self.fits,
            NetworkCallback(every=every // 5, pictures_every=pictures_every),
            *noise_schedule(configuration),
            *self_imitation(configuration),
            EpisodeFiguresCallback(self.figures),
            self.evaluations,
            *pictures_for(configuration, held_out),
            *callbacks,
        ]
        self.checkpoints = CheckpointCallback(
            self.folder, every=configuration.checkpoint_every, keep=configuration.keep, others=[*moves, *others]
        )
        cleanup.enter_context(explained_stops(self.folder, self.checkpoints))
        cleanup.enter_context(torch_threads(configuration.device))
        self.algorithm = build_algorithm(configuration, specification, self.environments)
        self.algorithm.set_logger(logger)
        self.is_new = checkpoint is None
        if checkpoint is None:
            logger.record("configuration", f"```yaml\n{to_yaml(configuration)}```", exclude=("csv", "stdout"))
        else:
            changed = changed_options(self.folder.read_configuration(), configuration)
            self.checkpoints.restore(self.algorithm, checkpoint, changed)
            if not configuration.moving_networks and self.networks() != specification:
                raise Refusal("the checkpoint does not fit this run: its networks are others")
            self.folder.write_configuration(configuration)
        self.write_networks()
        if configuration.progress:
            others.append(cleanup.enter_context(progress_bar()))
        interruption = InterruptionCallback(self.signals.check)
        final = FinalPolicyCallback(self.folder)
        # A move belongs to the update before it: what a checkpoint holds is after the move.
        self.callbacks = [*moves, self.checkpoints.before_others, final, interruption, *others, self.checkpoints]

    def learn(self) -> None:
        """Train up to the configured number of steps."""
        steps = max(0, self.configuration.last_step - self.algorithm.num_timesteps)
        self.algorithm.learn(steps, callback=self.callbacks, reset_num_timesteps=self.is_new)
        if self.algorithm.num_timesteps < self.configuration.last_step:
            say(f"note: a callback ended the training after {self.algorithm.num_timesteps:,} steps")
        if unused := self.algorithm.rollouts_without_update:
            rollouts = self.algorithm.num_timesteps // (self.algorithm.n_envs * self.algorithm.n_steps)
            say(f"note: nothing was learned from {unused:,} of {rollouts:,} rollouts")

    def networks(self) -> ActorCriticSpecification:
        """Return the networks as they are."""
        return networks_of(self.algorithm.policy, self.specification)

    def write_networks(self) -> None:
        """Write network.json."""
        self.folder.write_networks(self.networks(), self.specification)

    def keep_patterns(self, phase: str = "", update: int = 0) -> None:
        """Write down where the weights are now.

        :param phase: "demos" while demonstrations are fitted
        :param update: of that phase
        """
        self.write_networks()
        policy, names = self.algorithm.policy, self.configuration.moving_networks
        layers = {name: getattr(policy, name) for name in names}
        write_patterns(self.folder.path, update if phase else self.algorithm.num_timesteps, layers, phase)

    def finish(self) -> TrainingResult:
        """Evaluate the final policy over fresh episodes, and write what came of the training."""
        self.write_networks()
        policy, normalization = self.algorithm.policy, current_normalization(self.environments)
        episodes = self.configuration.final_episodes or self.configuration.eval_episodes
        final = evaluate(
            policy,
            self.held_out("test", episodes),
            episodes=episodes,
            first_seed=FINAL_SEED,
            normalization=normalization,
            figures=self.figures,
        )
        self.evaluations.say_cut(final)
        assert self.evaluations.best is not None
        result = TrainingResult(
            path=self.folder.path,
            final=final,
            curve=tuple(self.evaluations.curve),
            best=self.evaluations.best,
            imitation=tuple(point for fit in self.fits for point in fit.curve),
            steps=self.algorithm.num_timesteps,
            seconds=self.checkpoints.seconds_before + time.perf_counter() - self.started,
        )
        self.folder.write_json("result.json", result.summary() | {"resumptions": self.checkpoints.resumptions})
        return result

    def held_out(self, split: str, episodes: int) -> VecEnv:
        """Make environments for evaluation that a signal stops."""
        environments = held_out_environments(self.configuration, split, episodes)
        self.cleanup.callback(environments.close)
        return InterruptibleVecEnv(environments, self.signals.check)


def noise_schedule(configuration: TrainingConfiguration) -> list[NoiseSchedule]:
    """Return what narrows exploration noise over a training, if it is to be narrowed."""
    last = configuration.log_std_final
    return [] if last is None else [NoiseSchedule(configuration.log_std_init, last, configuration.total_timesteps)]


def self_imitation(configuration: TrainingConfiguration) -> list[SelfImitationCallback]:
    """Return what keeps a training's best episodes for it to imitate, if it is to."""
    if configuration.self_imitation == 0:
        return []
    best = BestEpisodes(configuration.self_imitation_episodes, configuration.gamma)
    return [SelfImitationCallback(SelfImitation(configuration.self_imitation, best))]


def training_environments(
    configuration: TrainingConfiguration, demonstrations: DemonstrationSplit | None = None
) -> VecEnv:
    """Make the environments of a training, watched for numbers that are not finite, normalized as configured.

    :param demonstrations: take the statistics of observations from the ones to fit, and keep them
    """
    environments: VecEnv = FiniteVecEnv(
        make_vec_env(
            configuration.env,
            arguments=configuration.training_arguments,
            n_envs=configuration.n_envs,
            seed=configuration.seed,
            vectorization=configuration.vectorization,
            training=True,
            wrappers=configuration.wrappers,
        )
    )
    if configuration.cuts_episodes:
        environments = EndingCuts(environments)
    if pays_progress(configuration.reward):
        environments = ProgressRewards(environments)
    if not (configuration.normalize_observation or configuration.normalize_reward):
        return environments
    normalized = VecNormalize(
        environments,
        norm_obs=configuration.normalize_observation,
        norm_reward=configuration.normalize_reward,
        gamma=configuration.gamma,
    )
    if configuration.normalize_observation:
        kept = kept_entries(environments.observation_space)
        if demonstrations is not None:
            fitted, _ = demonstrations
            normalized.obs_rms = FixedStatistics(fitted.observations[fitted.counted], kept)
        elif kept.any():
            normalized.obs_rms = PartialStatistics(kept)
    return normalized


def held_out_environments(configuration: TrainingConfiguration, split: str, episodes: int | None = None) -> VecEnv:
    """Make environments for evaluation: registered reward, not normalized.

    :param split: "validation" or "test", for environments that have splits of their data
    :param episodes: of an evaluation (default: those of the evaluations during training)
    """
    arguments = with_split(configuration.env, configuration.env_arguments, split)
    episodes = episodes or configuration.eval_episodes
    return evaluation_environments(
        configuration.env, arguments, episodes, configuration.vectorization, configuration.wrappers
    )


def evaluation_environments(
    env: str, arguments: Mapping[str, Any], episodes: int, vectorization: str, wrappers: Sequence[str] = ()
) -> VecEnv:
    """Make as many environments as step together while so many episodes are played."""
    n_envs = min(episodes, EVALUATION_ENVIRONMENTS)
    return make_vec_env(
        env,
        arguments=arguments,
        n_envs=n_envs,
        seed=0,
        vectorization=vectorization,
        training=False,
        wrappers=wrappers,
    )


def build_algorithm(
    configuration: TrainingConfiguration, specification: ActorCriticSpecification, environments: VecEnv
) -> SequencePPO:
    """Build the learner of a configuration on environments that exist already."""
    policy_class, policy_options = policy_recipe(configuration, specification)
    return SequencePPO(
        policy_class,
        environments,
        learning_rate=LinearSchedule(configuration.learning_rate, end=0.0, end_fraction=1.0)
        if configuration.learning_rate_schedule == "linear"
        else configuration.learning_rate,
        n_steps=configuration.n_steps,
        batch_size=configuration.batch_size,
        n_epochs=configuration.n_epochs,
        gamma=configuration.gamma,
        gae_lambda=configuration.gae_lambda,
        clip_range=configuration.clip_range,
        clip_range_vf=configuration.clip_range_vf,
        ent_coef=configuration.ent_coef,
        vf_coef=configuration.vf_coef,
        max_grad_norm=configuration.max_grad_norm,
        grad_clipping=configuration.grad_clipping,
        cut_episodes=configuration.cuts_episodes,
        target_kl=configuration.target_kl,
        loss_steps=configuration.loss_steps,
        critic_rollouts=configuration.critic_rollouts if configuration.demos else 0,
        policy_kwargs=policy_options,
        seed=configuration.seed,
        device=configuration.device,
    )


def default_run_name(configuration: TrainingConfiguration) -> str:
    """Return a name that tells runs apart in TensorBoard: architecture, seed and time."""
    return f"{configuration.architecture}-seed{configuration.seed}-{datetime.now():%Y%m%d-%H%M%S}"


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or that this machine does not have.

    :raises Refusal: one line that names what would fit
    """
    if device == "auto":
        return
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError):
        available = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        raise Refusal(f"`device` {device} is not available here: {available} is needed") from None


@contextmanager
def torch_threads(device: str) -> Iterator[None]:
    """Give torch one thread while a training runs on the CPU.

    Threads of torch and of the environments get in each other's way: the products of these networks are small, and
    the layer's own kernels already run the actor and the critic side by side.
    """
    before = torch.get_num_threads()
    if device == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
