"""Self-imitation: which episodes are kept, what is learned from them, and that they are what was played."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.logger import configure as logger_of
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.configuration import configure
from agents.ppo.self_imitation import LASTING, MARGIN, ORDINARY, RECENT, BestEpisodes, Episode, SelfImitation
from agents.ppo.self_imitation_callback import SelfImitationCallback
from agents.ppo.sequence_ppo import SequencePPO
from agents.training import train
from policies.refusal import Refusal
from policies.varied_sparsity_policy import VariedSparsityPolicy

GAMMA = 0.9
rewards = arrays.arrays(np.float32, st.integers(1, 6), elements=st.integers(-3, 3).map(float))


def episode(of: np.ndarray) -> Episode:
    T = len(of)
    return Episode(np.zeros((T, 2), np.float32), np.zeros((T, 1), np.float32), of)


@given(st.lists(rewards, max_size=12), st.integers(1, 5))
def test_the_best_by_discounted_return_are_kept(played: list[np.ndarray], capacity: int) -> None:
    best = BestEpisodes(capacity, GAMMA)
    for one in played:
        best.add(episode(one))
    values = [sum(float(reward) * GAMMA**step for step, reward in enumerate(one)) for one in played]
    order = sorted(range(len(played)), key=lambda index: -values[index])[:capacity]  # a stable sort: older ones first
    assert [one.value for one in best.kept] == pytest.approx([values[index] for index in order])
    assert all(one.episode.rewards is played[index] for one, index in zip(best.kept, order, strict=True))


def test_what_could_not_be_repeated_is_let_go() -> None:
    best = BestEpisodes(2, GAMMA)
    best.add(episode(np.array([9.0], np.float32)))
    best.lessons = LASTING - 1
    best.add(episode(np.array([1.0], np.float32)))
    assert [one.value for one in best.kept] == [9, 1]
    best.lessons += 1
    best.add(episode(np.array([2.0], np.float32)))
    assert [one.value for one in best.kept] == [2, 1]


def test_what_has_become_ordinary_is_left_to_ppo() -> None:
    best = BestEpisodes(2, GAMMA)
    for reward in (-2.0, 8.0, 2.0):
        best.add(episode(np.array([reward], np.float32)))
    assert [one.rewards.item() for one in best.rare()] == [8, 2]
    # Halfway from the worst, -2, is 3 to the one and 0 to the other.
    for _ in range(ORDINARY - 2):
        best.add(episode(np.array([0.5], np.float32)))
    assert [one.rewards.item() for one in best.rare()] == [8]
    for _ in range(ORDINARY - 1):
        best.add(episode(np.array([3.5], np.float32)))
    assert best.rare() == []
    for _ in range(RECENT):
        best.add(episode(np.array([-2.0], np.float32)))
    assert [one.rewards.item() for one in best.rare()] == [8, 3.5]  # it is being forgotten


def policy_of(action_space: spaces.Space) -> VariedSparsityPolicy:
    return VariedSparsityPolicy(
        spaces.Box(-np.inf, np.inf, (2,), np.float32),
        action_space,
        lambda _: 1e-3,
        budget=120,
        network_seed=0,
        **({"noise_correlation": 0.8} if isinstance(action_space, spaces.Box) else {}),
    )


def zero_states(policy: VariedSparsityPolicy) -> RNNStates:
    state = torch.zeros(1, 3, policy.lstm_actor.hidden_size)
    return RNNStates((state, state), (state, state))


@pytest.mark.parametrize(
    "action_space", [spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3, start=-1), spaces.MultiDiscrete([2, 3])]
)
@pytest.mark.parametrize("last_only", [False, True])
def test_loss_is_the_papers_over_steps_that_beat_the_critic(action_space: spaces.Space, last_only: bool) -> None:
    generator = np.random.default_rng(0)
    action_space.seed(0)
    policy = policy_of(action_space)
    best = BestEpisodes(4, GAMMA)
    for T, reward in ((5, 9.0), (3, 4.0), (4, 1.0)):
        observations = generator.normal(size=(T, 2)).astype(np.float32)
        actions = np.stack([np.asarray(action_space.sample()) for _ in range(T)])
        played = np.array([0.0] * (T - 1) + [reward], np.float32)
        best.add(Episode(observations, actions, played))
    term = SelfImitation(1.0, best)
    assert term(policy, 3, zero_states(policy), generator) is None  # not laid out yet
    assert term.n_episodes == 0
    term.prepare(None, "cpu", last_only=last_only)
    assert term.n_episodes == 3
    found = term(policy, 3, zero_states(policy), generator)
    assert found is not None

    gains, log_probs = [], []
    for one in (kept.episode for kept in best.kept):
        T = len(one.rewards)
        starts = torch.zeros(T, 1)
        starts[0] = 1
        state = torch.zeros(1, 1, policy.lstm_actor.hidden_size)
        observations = torch.as_tensor(one.observations)[:, None]
        outputs, values = policy.run_sequences(observations, RNNStates((state, state), (state, state)), starts)
        actions = policy.counted_from_zero(torch.as_tensor(one.actions))
        log_prob = policy.distribution(outputs[:, 0]).log_prob(actions)
        for step in range(T):
            gain = float(one.rewards[-1] * GAMMA ** (T - 1 - step) - values[step, 0].detach())
            if gain > MARGIN and (step == T - 1 or not last_only):
                gains.append(gain)
                log_probs.append(log_prob[step])
    assert gains
    expected = -sum(log_prob * gain for log_prob, gain in zip(log_probs, gains, strict=True)) / len(gains)
    loss, gain = found
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert gain.item() == pytest.approx(sum(gains) / len(gains), rel=1e-4)
    parameters = list(policy.parameters())
    ours, written_out = (
        torch.autograd.grad(one, parameters, allow_unused=True, materialize_grads=True) for one in (loss, expected)
    )
    for mine, other in zip(ours, written_out, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_an_ordinary_good_episode_is_not_imitated() -> None:
    policy = policy_of(spaces.Discrete(2))
    best = BestEpisodes(1, GAMMA)
    played = np.array([0.0, MARGIN / 2], np.float32)
    best.add(Episode(np.zeros((2, 2), np.float32), np.zeros(2, np.int64), played))
    term = SelfImitation(1.0, best)
    term.prepare(None, "cpu", last_only=False)
    assert term(policy, 1, zero_states(policy), np.random.default_rng(0)) is None


class Recorded(gymnasium.Wrapper):
    """Writes down every episode that ends, as it is played."""

    def __init__(self, env: gymnasium.Env, episodes: list[Episode]) -> None:
        super().__init__(env)
        self.episodes = episodes
        self.steps: list[tuple[Any, ...]] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.seen, info = self.env.reset(**kwargs)
        self.steps = []
        return self.seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self.steps.append((self.seen, action, np.float32(result[1])))
        self.seen = result[0]
        if result[2] or result[3]:
            self.episodes.append(Episode(*(np.stack(part) for part in zip(*self.steps, strict=True))))
        return result


def test_episodes_are_those_that_were_played_over_the_ends_of_rollouts() -> None:
    played: list[Episode] = []
    environments = VecNormalize(
        DummyVecEnv([lambda: Recorded(gymnasium.make("CartPole-v1"), played)] * 3), clip_reward=1e-3
    )
    algorithm = SequencePPO(
        VariedSparsityPolicy, environments, n_steps=7, batch_size=7, n_epochs=1, policy_kwargs={"budget": 100}, seed=0
    )
    algorithm.set_logger(logger_of(None, []))
    best = BestEpisodes(1_000, GAMMA)
    algorithm.learn(7 * 3 * 20, callback=SelfImitationCallback(SelfImitation(1.0, best)))
    assert len(played) > 8
    assert len(best) == len(played)
    found = {one.observations.tobytes(): one for one in (kept.episode for kept in best.kept)}
    for one in played:
        kept = found[one.observations.tobytes()]
        np.testing.assert_array_equal(kept.actions, one.actions)
        np.testing.assert_array_equal(kept.rewards, one.rewards)  # neither scaled nor clipped


class Lock(gymnasium.Env[np.ndarray, int]):
    """Opens for one row of seven choices among 2,187, and says nothing on the way."""

    combination = (2, 0, 1, 1, 2, 0, 2)

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.chosen: list[int] = []
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.chosen.append(int(action))
        done = len(self.chosen) == len(self.combination)
        opened = done and tuple(self.chosen) == self.combination
        return np.zeros(1, np.float32), float(opened), done, False, {"is_success": opened}


@pytest.mark.parametrize(("weight", "opens"), [(1.0, True), (0.0, False)])
def test_what_happened_by_luck_is_learned(weight: float, opens: bool, tmp_path: Path) -> None:
    if "Lock-v0" not in gymnasium.registry:
        gymnasium.register("Lock-v0", Lock)
    result = train(
        configure(
            "Lock-v0",
            self_imitation=weight,
            budget=300,
            n_envs=16,
            n_steps=28,
            batch_size=224,
            n_epochs=4,
            total_timesteps=448 * 150,
            eval_every=448 * 150,
            log_dir=str(tmp_path),
            progress=False,
        )
    )
    assert result.final.success_rate == float(opens)


def test_weights_below_zero_are_refused() -> None:
    with pytest.raises(Refusal, match="self_imitation"):
        configure("CartPole-v1", self_imitation=-1.0)
