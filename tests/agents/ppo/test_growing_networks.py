"""A training neither learns from probabilities that are roundings, nor stops learning without a word."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.building import policy_recipe, specification_of
from agents.configuration import configure as configure_training
from agents.ppo.growth_limit import GrowthLimit
from agents.ppo.mismatch import Mismatch
from agents.ppo.sequence_buffer import SequenceRolloutBuffer
from agents.ppo.sequence_ppo import SequencePPO
from agents.ppo.stretches import long_stretches
from envs.vectorized.finite import NotFinite
from policies.gru_policy import GruPolicy
from policies.lstm_policy import LstmPolicy
from policies.sequence_policy import SequencePolicy
from policies.varied_sparsity_policy import VariedSparsityPolicy

N_ENVS, N_STEPS, LONG = 4, 50, 1_000
BOX = spaces.Box(-1, 1, (3,), np.float32)
ARCHITECTURES: dict[str, tuple[type[SequencePolicy], dict[str, Any]]] = {
    "varied": (VariedSparsityPolicy, {"architecture": "varied"}),
    "uniform": (VariedSparsityPolicy, {"architecture": "uniform"}),
    "dense": (VariedSparsityPolicy, {"architecture": "dense"}),
    "lstm": (LstmPolicy, {}),
    "gru": (GruPolicy, {}),
}


class Wander(gymnasium.Env):
    """Observations are noise; an action is paid for by the sign of the last one."""

    def __init__(self, n_inputs: int, action_space: spaces.Space, length: int = LONG) -> None:
        self.length = length
        self.observation_space = spaces.Box(-np.inf, np.inf, (n_inputs,), np.float32)
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        self.last = self.np_random.standard_normal(self.observation_space.shape).astype(np.float32)
        return self.last, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        reward = float(np.sign(self.last[0]) * np.tanh(np.sum(action)))
        self.last = self.np_random.standard_normal(self.observation_space.shape).astype(np.float32)
        return self.last, reward, False, self.time == self.length, {}


def learner(
    policy: type[SequencePolicy],
    options: dict[str, Any],
    n_inputs: int,
    action_space: spaces.Space,
    length: int = LONG,
    **settings: Any,
) -> SequencePPO:
    environments = DummyVecEnv([lambda: Wander(n_inputs, action_space, length)] * N_ENVS)
    settings = {"n_epochs": 4, "learning_rate": 3e-4, "seed": 0} | settings
    algorithm = SequencePPO(
        policy,
        environments,
        n_steps=N_STEPS,
        batch_size=2 * N_STEPS,
        policy_kwargs=options,
        device="cpu",
        **settings,
    )
    algorithm.set_logger(configure(None, []))
    return algorithm


def log_probabilities(policy: SequencePolicy, environment: Wander) -> tuple[torch.Tensor, torch.Tensor]:
    """Act for a whole long episode; log probabilities of its steps one by one, and of the sequence at once."""
    policy.set_training_mode(False)
    zero = torch.zeros(1, 1, policy.lstm_hidden_state_shape[-1])
    first = state = RNNStates((zero, zero), (zero, zero))
    starts = torch.zeros(LONG, 1)
    starts[0] = 1
    observation, _ = environment.reset(seed=1)
    observations, actions, step_by_step = [], [], []
    with torch.no_grad():
        for start in starts:
            observations.append(torch.from_numpy(observation)[None])
            action, _, log_probability, state = policy.forward(observations[-1], state, start)
            actions.append(action)
            step_by_step.append(log_probability)
            observation, *_ = environment.step(action[0].numpy())
        _, at_once, _ = policy.evaluate_sequences(torch.stack(observations), torch.stack(actions), first, starts)
    return torch.stack(step_by_step), at_once


@settings(max_examples=25, derandomize=True)
@given(
    architecture=st.sampled_from(list(ARCHITECTURES)),
    n_inputs=st.integers(1, 40),
    n_outputs=st.integers(2, 20),
    discrete=st.booleans(),
    weights_per_side=st.integers(30, 300),
    hidden_proportion=st.floats(0.1, 0.9),
    initialization=st.sampled_from(["scaled", "scaled:1.3", "scaled:3", "normal:0.05", "normal:0.2"]),
    activation=st.sampled_from(["relu", "tanh"]),
    noise_correlation=st.sampled_from([0.0, 0.9]),
    learning_rate=st.sampled_from([3e-4, 1e-3, 5e-3]),
    seed=st.integers(0, 1_000),
)
@example(
    "dense", 30, 9, False, 192, 0.5, "normal:0.2", "relu", 0.9, 1e-3, 1_000
)  # large states whose memory never fades
@pytest.mark.filterwarnings("ignore:a new network")
def test_steps_and_whole_sequences_agree_over_a_thousand_steps(
    architecture: str,
    n_inputs: int,
    n_outputs: int,
    discrete: bool,
    weights_per_side: int,
    hidden_proportion: float,
    initialization: str,
    activation: str,
    noise_correlation: float,
    learning_rate: float,
    seed: int,
) -> None:
    policy, options = ARCHITECTURES[architecture]
    options = {**options, "noise_correlation": noise_correlation}
    if policy is VariedSparsityPolicy:
        options |= {"budget": weights_per_side * (n_inputs + n_outputs), "activation": activation}
        options |= {"initialization": initialization}
        if architecture == "varied":
            options["hidden_proportion"] = hidden_proportion
    else:
        options["lstm_hidden_size"] = weights_per_side // 8
    action_space = spaces.Discrete(n_outputs) if discrete else spaces.Box(-1, 1, (n_outputs,), np.float32)
    algorithm = learner(policy, options, n_inputs, action_space, learning_rate=learning_rate, seed=seed)
    for n_rollouts in (0, 4):
        try:
            algorithm.learn(n_rollouts * N_ENVS * N_STEPS)
        except NotFinite:
            return  # Steps so large that the loss was infinite within an update: the training ends in one line.
        step_by_step, at_once = log_probabilities(algorithm.policy, Wander(n_inputs, action_space))
        assert (step_by_step - at_once).abs().max() < 1e-3


@pytest.mark.parametrize(
    "env",
    [
        *("AdroitHandHammer-v1", "AdroitHandDoor-v1", "AdroitHandPen-v1"),
        *("CartPole-v1", "RandomAnomaly-v0", "SequenceChoice-v0"),
    ],
)
@pytest.mark.filterwarnings("ignore:a new network")
def test_steps_and_whole_sequences_agree_with_the_networks_of_presets(env: str) -> None:
    configuration = configure_training(env, budget=2_000, hidden_proportion=0.5)
    seen = spaces.Box(-np.inf, np.inf, (20,), np.float32)
    policy, options = policy_recipe(configuration, specification_of(configuration, seen, BOX))
    steps = 10 * configuration.learning_rate  # large ones, and no limit on the divergence
    cut = configuration.training_episode_steps
    settings = {"grad_clipping": configuration.grad_clipping, "cut_episodes": cut is not None}
    algorithm = learner(policy, options, 20, BOX, cut or LONG, learning_rate=steps, **settings)
    algorithm.learn(4 * N_ENVS * N_STEPS)
    step_by_step, at_once = log_probabilities(algorithm.policy, Wander(20, BOX))
    assert (step_by_step - at_once).abs().max() < 1e-3


NETWORK = {"budget": 2_000, "hidden_proportion": 0.5}


class AtRolloutStart(BaseCallback):
    """Makes the actor's recurrence expand before a rollout, as no update of ours leaves it."""

    def __init__(self, gain: float = 4.0) -> None:
        super().__init__()
        self.gain = gain

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            with torch.no_grad():
                self.model.policy.actor.weights["hh"].mul_(self.gain)
            self.after = {name: value.clone() for name, value in self.model.policy.state_dict().items()}


class ShiftedLogProbabilities(BaseCallback):
    """Makes the rollout's log probabilities differ from those of its update, as roundings do."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.model.rollout_buffer.log_probs -= 0.05


def test_nothing_is_learned_from_probabilities_that_are_noise() -> None:
    algorithm = learner(VariedSparsityPolicy, NETWORK, 4, BOX)
    algorithm.learn(N_ENVS * N_STEPS)
    expanding = AtRolloutStart()
    assert algorithm.logger.name_to_value["train/log_prob_mismatch"] < 1e-4
    with pytest.raises(Mismatch, match=r"^the log probabilities of the rollout and those of its update differ by"):
        algorithm.learn(N_ENVS * N_STEPS, callback=expanding, reset_num_timesteps=False)
    assert expanding.after.keys() == (now := algorithm.policy.state_dict()).keys()
    assert all(torch.equal(expanding.after[name], now[name]) for name in now)


def test_an_update_scales_an_expanding_network_back() -> None:
    algorithm = learner(VariedSparsityPolicy, NETWORK, 4, BOX)
    algorithm.learn(N_ENVS * N_STEPS)
    assert algorithm.logger.name_to_value["network/recurrence_scale/actor"] == 1
    # Growing, but by so little that the roundings of a rollout are still small.
    algorithm.learn(N_ENVS * N_STEPS, callback=AtRolloutStart(1.7), reset_num_timesteps=False)
    assert algorithm.logger.name_to_value["network/growth/actor"] > 1
    assert algorithm.logger.name_to_value["network/recurrence_scale/actor"] < 1
    grown = algorithm.policy.limit_growth(algorithm.rollout_buffer.stretches())
    assert grown["actor"].before <= 1


def stock_learner(length: int = LONG) -> RecurrentPPO:
    environments = DummyVecEnv([lambda: Wander(4, BOX, length)] * N_ENVS)
    algorithm = RecurrentPPO(
        VariedSparsityPolicy, environments, n_steps=N_STEPS, policy_kwargs=NETWORK, learning_rate=1e-5, seed=0
    )
    algorithm.set_logger(configure(None, []))
    return algorithm


@pytest.mark.parametrize("is_limited", [False, True])
def test_a_stock_trainer_scales_an_expanding_network_back(is_limited: bool) -> None:
    algorithm = stock_learner()
    limit = [GrowthLimit()] if is_limited else []
    algorithm.learn(2 * N_ENVS * N_STEPS, callback=[AtRolloutStart(1.7), *limit])
    seen = algorithm.rollout_buffer.observations.reshape(N_ENVS, N_STEPS, 4).swapaxes(0, 1)  # as learned from
    stretches = long_stretches(seen, np.zeros((N_STEPS, N_ENVS)))
    grown = algorithm.policy.limit_growth(torch.from_numpy(stretches))
    assert (grown["actor"].before <= 1) == is_limited


def test_only_policies_that_know_their_growth_are_limited() -> None:
    algorithm = RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", n_steps=8)
    with pytest.raises(TypeError, match=r"^RecurrentActorCriticPolicy does not limit its growth"):
        algorithm.learn(8, callback=GrowthLimit())


@pytest.mark.parametrize("cut", [False, True])
def test_growth_shows_over_episodes_that_are_cut_before_it_would(cut: bool) -> None:
    algorithm = learner(VariedSparsityPolicy, NETWORK, 4, BOX, length=20, cut_episodes=cut)
    algorithm.learn(N_ENVS * N_STEPS)
    assert tuple(algorithm.stretches().shape[:2]) == ((200, 1) if cut else (20, 4))
    algorithm.learn(N_ENVS * N_STEPS, callback=AtRolloutStart(1.7), reset_num_timesteps=False)
    # Twenty steps grow by less than a hundredfold; whole episodes would grow by a thousand times that.
    assert (algorithm.logger.name_to_value["network/recurrence_scale/actor"] < 1) == cut


@pytest.mark.parametrize("cut", [False, True])
def test_growth_shows_over_cut_episodes_in_a_stock_trainer_too(cut: bool) -> None:
    algorithm = stock_learner(length=20)
    algorithm.learn(2 * N_ENVS * N_STEPS, callback=[GrowthLimit(cut_episodes=cut), AtRolloutStart(1.7)])
    assert (algorithm.logger.name_to_value["network/recurrence_scale/actor"] < 1) == cut


@given(
    starts=st.lists(st.booleans(), min_size=24, max_size=24),
    over_resets=st.integers(0, 30),
)
def test_stretches_go_on_over_resets_until_they_are_long_enough(starts: list[bool], over_resets: int) -> None:
    n_steps, n_envs = 12, 2
    space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    buffer = SequenceRolloutBuffer(n_steps, space, BOX, (1, 1, 1), "cpu", n_envs=n_envs)
    buffer.reset()
    buffer.episode_starts[:] = np.array(starts).reshape(n_envs, n_steps).T
    buffer.observations[:, :, 0] = np.arange(n_envs * n_steps).reshape(n_envs, n_steps).T  # places in one sequence
    places = buffer.stretches(over_resets)[..., 0].numpy().astype(int)
    np.testing.assert_array_equal(np.diff(places, axis=0) % (n_envs * n_steps), 1)
    inner = [place for column in places.T for place in column[max(over_resets, 1) :] if place]
    if any(starts):
        assert not any(starts[place] for place in inner)


def test_the_target_divergence_counts_from_the_rollout_itself() -> None:
    # The shift alone is a divergence of 0.0012: counted from zero, no update would ever be made.
    algorithm = learner(VariedSparsityPolicy, NETWORK, 4, BOX, target_kl=5e-4, learning_rate=1e-5)
    before = algorithm.policy.actor.weights["hh"].clone()
    algorithm.learn(N_ENVS * N_STEPS, callback=ShiftedLogProbabilities())
    assert algorithm.rollouts_without_update == 0
    assert not torch.equal(before, algorithm.policy.actor.weights["hh"])


def test_rollouts_without_an_update_are_counted() -> None:
    algorithm = learner(VariedSparsityPolicy, NETWORK, 4, BOX, loss_steps="last")  # of which there is none yet
    algorithm.learn(3 * N_ENVS * N_STEPS)
    assert algorithm.rollouts_without_update == 3
    assert algorithm.logger.name_to_value["train/rollouts_without_update"] == 3
