"""The reward for progress pays what exceeds the episode's best step, and goes on exactly from a state."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from envs.vectorized.make import make_vec_env
from envs.vectorized.progress import ProgressRewards
from envs.vectorized.state import set_vec_env_state, vec_env_state
from envs.vectorized.threads import ThreadVecEnv


class Paid(gymnasium.Env):
    """Pays what its action says; an episode ends with an action above 9."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-10, 10, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(1, np.float32), float(action[0]), bool(action[0] > 9), False, {}


def paid(rewards: np.ndarray) -> np.ndarray:
    environments = ProgressRewards(ThreadVecEnv([Paid] * rewards.shape[1]))
    environments.reset()
    return np.array([environments.step(row[:, None])[1] for row in rewards])


def test_what_is_paid_by_hand() -> None:
    rewards = np.array([[-3, -1, -2, 4, 4, 2, 9.5, 1, 5]], np.float32).T
    #                    first       best           ends  first
    assert paid(rewards)[:, 0].tolist() == [0, 2, 0, 5, 0, 0, 5.5, 0, 4]


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=30))
def test_an_episode_is_paid_the_way_from_its_first_step_to_its_best(rewards: list[float]) -> None:
    column = np.array(rewards, np.float32)[:, None]
    gains = paid(column)
    assert (gains >= 0).all()
    np.testing.assert_allclose(gains.sum(), column.max() - column[0, 0], rtol=1e-4, atol=1e-4)


def test_environments_do_not_share_their_best() -> None:
    rewards = np.array([[0, 5], [1, 5], [2, 6]], np.float32)
    assert paid(rewards).tolist() == [[0, 0], [1, 0], [1, 1]]


def test_the_best_so_far_is_part_of_the_state() -> None:
    def make() -> ProgressRewards:
        options = {"n_envs": 2, "seed": 0, "vectorization": "threads", "training": True}
        return ProgressRewards(make_vec_env("AdroitHandHammer-v1", **options))

    first, second = make(), make()
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 2, 26)).astype(np.float32)
    first.reset()
    for action in actions[:15]:
        first.step(action)
    state = vec_env_state(first)
    assert state is not None
    second.reset()
    set_vec_env_state(second, state)
    paid_after = [[environments.step(action)[1] for action in actions[15:]] for environments in (first, second)]
    np.testing.assert_array_equal(*paid_after)
    assert np.any(paid_after[0])
    first.close()
    second.close()


def test_the_returns_of_episodes_are_the_registered_ones() -> None:
    options = {"n_envs": 1, "seed": 0, "training": True}
    plain = make_vec_env("CartPole-v1", **options)
    progress = ProgressRewards(make_vec_env("CartPole-v1", **options))
    plain.reset(), progress.reset()
    for _ in range(40):
        _, _, (done,), (info,) = plain.step(np.zeros(1, int))
        _, rewards, _, (other,) = progress.step(np.zeros(1, int))
        assert rewards[0] == 0  # every step pays the same
        if done:
            assert other["episode"]["r"] == info["episode"]["r"] > 5
