"""The four ways of stepping many environments: equal results, seeds, episode figures, splits, refusals."""

import functools
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from envs.task import TASKS, Task
from envs.vectorized.make import make_vec_env
from envs.vectorized.threads import ThreadVecEnv

HAMMER = "AdroitHandHammer-v1"


class Guess(gymnasium.Env):
    """Two steps per episode; says which split it was given, and can be made as a batch."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, split: str = "train", size: int = 1) -> None:
        self.split, self.size = split, size
        self.time = 0

    @staticmethod
    def batched(n_envs: int, **arguments: Any) -> VecEnv:
        return DummyVecEnv([functools.partial(Guess, **arguments)] * n_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.random(1, dtype=np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        info = {"success": self.time == 2 and bool(action)}
        return self.np_random.random(1, dtype=np.float32), 1.0, self.time == 2, False, info


@pytest.fixture
def guess(monkeypatch: pytest.MonkeyPatch) -> Any:
    gymnasium.register("Guess-v0", Guess, kwargs={"size": 3})
    monkeypatch.setitem(TASKS, "Guess-v0", Task(ids=("Guess-v0",), has_splits=True))
    yield "Guess-v0"
    del gymnasium.registry["Guess-v0"]


def rollout(environments: VecEnv, actions: np.ndarray) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    arrays, ends = [environments.reset()], []
    for action in actions:
        observations, rewards, dones, infos = environments.step(action)
        arrays += [observations, rewards, dones]
        for index in np.flatnonzero(dones):
            info = dict(infos[index])
            info["episode"] = {"r": info["episode"]["r"], "l": info["episode"]["l"]}
            info["terminal_observation"] = info["terminal_observation"].tolist()
            ends.append(info)
    environments.close()
    return arrays, ends


def test_all_ways_agree_on_the_hammer() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (201, 2, 26)).astype(np.float32)
    results = [
        rollout(make_vec_env(HAMMER, n_envs=2, seed=7, vectorization=way, training=True), actions)
        for way in ("serial", "threads", "processes")
    ]
    for arrays, ends in results:
        assert len(ends) == 2
        assert all({"episode", "is_success", "lifted", "terminal_observation"} <= info.keys() for info in ends)
        assert all(info["TimeLimit.truncated"] and info["episode"]["l"] == 200 for info in ends)
        for array, expected in zip(arrays, results[0][0], strict=True):
            # SubprocVecEnv reports rewards as float64.
            np.testing.assert_array_equal(array.astype(expected.dtype), expected)
        assert arrays[0].dtype == np.float32
        assert ends == results[0][1]


def test_environment_i_is_seeded_with_seed_plus_i() -> None:
    many = make_vec_env("CartPole-v1", n_envs=3, seed=20, training=True).reset()
    for index in range(3):
        one = make_vec_env("CartPole-v1", n_envs=1, seed=20 + index, training=True).reset()
        np.testing.assert_array_equal(many[index], one[0])
    assert len(np.unique(many[:, 0])) == 3


def test_threads_by_vectorization() -> None:
    serial = make_vec_env("CartPole-v1", n_envs=4, seed=0, vectorization="serial", training=True)
    threads = make_vec_env("CartPole-v1", n_envs=4, seed=0, vectorization="threads", n_threads=3, training=True)
    assert isinstance(serial, ThreadVecEnv)
    assert isinstance(threads, ThreadVecEnv)
    assert (serial.n_threads, threads.n_threads) == (1, 3)
    serial.close()
    threads.close()


def test_corrected_reward_reaches_the_environments() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 2, 26)).astype(np.float32)
    arguments = {"reward": "corrected"}
    environments = make_vec_env(HAMMER, arguments=arguments, n_envs=2, seed=0, vectorization="threads", training=True)
    registered, _ = rollout(make_vec_env(HAMMER, n_envs=2, seed=0, training=False), actions)
    environments.reset()
    for step, action in enumerate(actions):
        _, rewards, _, infos = environments.step(action)
        expected = registered[2 + 3 * step]
        assert (rewards < expected).all()
        np.testing.assert_array_equal(np.float32([info["registered_reward"] for info in infos]), expected)
    environments.close()


def test_normalization_goes_around_it() -> None:
    environments = VecNormalize(make_vec_env(HAMMER, n_envs=2, seed=0, vectorization="threads", training=True))
    environments.reset()
    observations, *_ = environments.step(np.zeros((2, 26), dtype=np.float32))
    assert observations.dtype == np.float32
    environments.close()


@pytest.mark.parametrize("way", ["serial", "threads", "batched"])
def test_splits_and_success_of_the_last_step(guess: str, way: str) -> None:
    for training, split in ((True, "train"), (False, "validation")):
        environments = make_vec_env(guess, n_envs=3, seed=0, vectorization=way, training=training)
        assert environments.get_attr("split") == [split] * 3
        assert environments.get_attr("size") == [3] * 3
        environments.reset()
        environments.step(np.array([0, 1, 1]))
        _, _, dones, infos = environments.step(np.array([0, 1, 1]))
        assert dones.all()
        assert [info["episode"]["l"] for info in infos] == [2, 2, 2]
        assert [info["episode"]["r"] for info in infos] == [2.0, 2.0, 2.0]
        if way != "batched":  # this batch is made of bare environments
            assert [info["is_success"] for info in infos] == [False, True, True]
        environments.close()
    environments = make_vec_env(
        guess, arguments={"split": "test", "size": 5}, n_envs=2, seed=0, vectorization=way, training=True
    )
    assert environments.get_attr("split") == ["test"] * 2
    assert environments.get_attr("size") == [5] * 2
    environments.close()


def test_an_argument_of_another_environment_is_its_own(guess: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TASKS, guess)
    environments = make_vec_env(guess, n_envs=1, seed=0, training=False)
    assert environments.get_attr("split") == ["train"]
    environments.close()


@pytest.mark.parametrize(("task", "threshold"), [("Door", 25), ("Pen", 20), ("Relocate", 25)])
def test_other_adroit_tasks_count_successful_steps(task: str, threshold: int) -> None:
    environments = make_vec_env(f"AdroitHand{task}-v1", n_envs=1, seed=0, training=True)
    (environment,) = environments.envs  # type: ignore[attr-defined]
    assert environment.more_than == threshold
    environments.reset()
    successes = 0
    for action in np.random.default_rng(0).uniform(-1, 1, (200, 1, environment.action_space.shape[0])):
        _, _, dones, infos = environments.step(action.astype(np.float32))
        successes += infos[0]["success"]
        assert infos[0]["is_success"] == (successes > threshold)
    assert dones.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_id": "CartPole"}, "env"),
        ({"env_id": "gymnasium:CartPole-v1"}, "command line"),
        ({"vectorization": "batched"}, "no batched version"),
        ({"vectorization": "fibres"}, "one of threads, serial, processes, batched"),
        ({"arguments": {"nothing": 1}}, "env_arguments nothing=1"),
        ({"arguments": {"nothing": 1}, "vectorization": "processes"}, "env_arguments nothing=1"),
        ({"arguments": {"reward": "corrected"}}, "env_arguments reward='corrected'"),
    ],
)
def test_refusals_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make_vec_env(**({"env_id": "CartPole-v1", "n_envs": 2, "seed": 0, "training": True} | options))
    assert "\n" not in str(error.value)
