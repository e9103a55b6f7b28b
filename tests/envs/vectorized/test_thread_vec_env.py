"""ThreadVecEnv against DummyVecEnv with Monitor, for any number of threads; failures; no thread left behind."""

import functools
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from envs.lookup import make_environment
from envs.vectorized.threads import EnvironmentFailure, ThreadVecEnv, available_cores


class Walk(gymnasium.Env):
    """A random walk that ends at 3, by its own hand, and is cut after `limit` steps; fails where told to."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1, 1, (1,))
    render_mode = "rgb_array"

    def __init__(self, limit: int = 7, fail_at: tuple[int, int] | None = None) -> None:
        self.limit, self.fail_at = limit, fail_at
        self.episode = self.time = 0
        self.place = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.episode = 1 if seed is not None else self.episode + 1
        self.time = 0
        self.place = (options or {}).get("place", self.np_random.normal())
        if self.fail_at == (self.episode, 0):
            raise KeyError("no start")
        return np.array([self.place, 0.1]), {"episode_number": self.episode}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        if self.fail_at == (self.episode, self.time):
            raise ZeroDivisionError("a wall\nof text")
        time.sleep(self.np_random.uniform(0, 2e-4))  # releases the lock, so that threads overtake each other
        self.place += self.np_random.normal() + float(action[0])
        ended = abs(self.place) > 3
        return np.array([self.place, 0.1]), self.place / 3, ended, self.time >= self.limit, {"time": self.time}

    def render(self) -> np.ndarray:
        return np.full((4, 4, 3), self.time, dtype=np.uint8)


def run(environments: VecEnv, steps: int, actions: np.ndarray) -> list[Any]:
    environments.seed(11)
    record: list[Any] = [environments.reset(), [dict(info) for info in environments.reset_infos]]
    for step in range(steps):
        observations, rewards, dones, infos = environments.step(actions[step])
        for info in infos:
            if "episode" in info:
                assert info["episode"].pop("t") >= 0
        record.append((observations, rewards, dones, infos, [dict(info) for info in environments.reset_infos]))
    environments.close()
    return record


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    else:
        assert left == right


def as_float32(record: list[Any]) -> list[Any]:
    """What DummyVecEnv reports, with observations as float32."""
    record[0] = record[0].astype(np.float32)
    for step, (observations, rewards, dones, infos, reset_infos) in enumerate(record[2:], start=2):
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = info["terminal_observation"].astype(np.float32)
        record[step] = (observations.astype(np.float32), rewards, dones, infos, reset_infos)
    return record


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_equals_dummy_vec_env_with_monitor(n_threads: int) -> None:
    fns: list[Callable[[], gymnasium.Env]] = [functools.partial(Walk, limit=3 + i) for i in range(6)]
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 6, 1)).astype(np.float32)
    expected = as_float32(run(DummyVecEnv([lambda fn=fn: Monitor(fn()) for fn in fns]), 60, actions))
    assert sum(info["TimeLimit.truncated"] for step in expected[2:] for info in step[3]) > 10
    assert (
        sum(bool(step[2][i]) and not step[3][i]["TimeLimit.truncated"] for step in expected[2:] for i in range(6)) > 10
    )
    assert_same(run(ThreadVecEnv(fns, n_threads), 60, actions), expected)


def test_hammer_does_not_depend_on_the_threads() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (210, 5, 26)).astype(np.float32)
    make = functools.partial(make_environment, "AdroitHandHammer-v1")
    expected = run(ThreadVecEnv([make] * 5, 1), 210, actions)
    assert_same(run(ThreadVecEnv([make] * 5, 2), 210, actions), expected)
    assert_same(run(ThreadVecEnv([make] * 5, 4), 210, actions), expected)
    # The episode dictionary is Monitor's, so only what Monitor does not add is compared.
    dummy = as_float32(run(DummyVecEnv([lambda: Monitor(make())] * 5), 210, actions))
    assert_same(expected, dummy)


def test_discrete_actions_and_float32_observations() -> None:
    actions = np.random.default_rng(0).integers(0, 2, (100, 4))
    make = functools.partial(make_environment, "CartPole-v1")
    expected = run(DummyVecEnv([lambda: Monitor(make())] * 4), 100, actions)
    assert_same(run(ThreadVecEnv([make] * 4, 2), 100, actions), expected)


def test_results_are_the_callers() -> None:
    environments = ThreadVecEnv([Walk] * 3, 2)
    first = environments.reset()
    kept = first.copy()
    step = environments.step(np.zeros((3, 1)))
    copies = [np.copy(part) for part in step[:3]]
    infos = [dict(info) for info in step[3]]
    for _ in range(20):
        environments.step(np.ones((3, 1)))
    np.testing.assert_array_equal(first, kept)
    for part, copy in zip(step[:3], copies, strict=True):
        np.testing.assert_array_equal(part, copy)
    assert step[3] == infos
    assert environments.observation_space.dtype == first.dtype == np.float32
    assert environments.observation_space.contains(first[0])
    environments.close()


def test_options_and_attributes_and_rendering() -> None:
    environments = ThreadVecEnv([Walk] * 3, 2)
    environments.set_options({"place": 2.5})
    np.testing.assert_array_equal(environments.reset()[:, 0], [2.5] * 3)
    environments.seed(1)
    assert not (environments.reset()[:, 0] == 2.5).any()
    environments.seed(1)
    environments.set_options([{"place": 0.0}] * 3)  # so that the step below ends no episode
    environments.reset()
    assert environments.get_attr("limit") == [7, 7, 7]
    environments.set_attr("limit", 2, indices=[1])
    assert environments.get_attr("limit") == [7, 2, 7]
    assert environments.env_is_wrapped(Monitor) == [False] * 3
    environments.step(np.zeros((3, 1)))
    assert [image[0, 0, 0] for image in environments.get_images()] == [1, 1, 1]
    assert environments.render().shape == (8, 8, 3)
    assert len(environments.env_method("render", indices=[0, 2])) == 2
    environments.close()


def step_often(environments: VecEnv) -> None:
    for _ in range(100):
        environments.step(np.zeros((environments.num_envs, 1)))


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("fail_at", [(2, 3), (3, 0)])
def test_failure_names_environment_seed_and_step(n_threads: int, fail_at: tuple[int, int]) -> None:
    fns: list[Callable[[], gymnasium.Env]] = [Walk] * 6
    for index in (4, 2):
        fns[index] = functools.partial(Walk, fail_at=fail_at)
    environments = ThreadVecEnv(fns, n_threads)
    environments.seed(100)
    environments.reset()
    with pytest.raises(EnvironmentFailure) as caught:
        step_often(environments)
    failure = caught.value
    assert failure.index in (2, 4)
    assert failure.seed == 100 + failure.index
    assert (failure.episode, failure.step) == fail_at
    assert isinstance(failure.__cause__, KeyError if fail_at[1] == 0 else ZeroDivisionError)
    assert (
        f"environment {failure.index} failed (seed {failure.seed}, episode {fail_at[0]}, step {fail_at[1]}): "
        in str(failure)
    )
    assert "\n" not in str(failure)

    # What the message says is enough to get there again.
    walk = Walk(fail_at=fail_at)
    walk.reset(seed=failure.seed)
    for _ in range(1, failure.episode):
        ended = False
        while not ended:
            *_, terminated, truncated, _ = walk.step(np.zeros(1))
            ended = terminated or truncated
        if walk.episode + 1 == failure.episode and failure.step == 0:
            with pytest.raises(KeyError):
                walk.reset()
            break
        walk.reset()

    # A reset goes on from there, and nothing of the failed step is left over.
    environments.set_attr("fail_at", None)
    environments.seed(100)
    environments.reset()
    again = environments.step(np.zeros((6, 1)))
    fresh = ThreadVecEnv([Walk] * 6, 1)
    fresh.seed(100)
    fresh.reset()
    assert_same(again, fresh.step(np.zeros((6, 1))))
    environments.close()
    fresh.close()


def test_failure_of_the_first_reset_and_of_several_at_once() -> None:
    environments = ThreadVecEnv([functools.partial(Walk, fail_at=(1, 0))] * 3, 2)
    with pytest.raises(EnvironmentFailure, match=r"environment 0 failed \(seed None, episode 1, step 0\): KeyError"):
        environments.reset()
    environments.close()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_step_interrupted_from_the_keyboard_leaves_nothing_over(n_threads: int) -> None:
    class Interrupted(Walk):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            return super().step(action)

    environments = ThreadVecEnv([Interrupted, *[functools.partial(Walk, limit=1000)] * 3], n_threads)
    environments.reset()
    # A worker may take the environment that interrupts the main thread.
    for _ in range(100):
        try:
            environments.step(np.zeros((4, 1)))
        except KeyboardInterrupt:
            break
    else:
        pytest.fail("the main thread never came to the environment")
    environments.seed(3)
    first = environments.reset()
    environments.set_attr("step", lambda action: (np.zeros(2), 0.0, False, False, {}), indices=[0])
    environments.step(np.zeros((4, 1)))
    assert environments.get_attr("time", indices=[1, 2, 3]) == [1, 1, 1]
    np.testing.assert_array_equal(first[1:, 0] != 0, [True] * 3)
    environments.close()


def test_no_thread_outlives_the_environments() -> None:
    def threads() -> int:
        return sum(thread.name.startswith("environments-") for thread in threading.enumerate())

    gc.collect()
    before = threads()
    closed, dropped = ThreadVecEnv([Walk] * 4, 3), ThreadVecEnv([Walk] * 4, 2)
    assert threads() == before + 3
    for environments in (closed, dropped):
        environments.reset()
        environments.step(np.zeros((4, 1)))
    closed.close()
    closed.close()
    assert threads() == before + 1
    del dropped, environments
    gc.collect()
    assert threads() == before


def test_number_of_threads() -> None:
    assert ThreadVecEnv([Walk] * 2, 5).n_threads == 2
    assert ThreadVecEnv([Walk] * 64).n_threads == min(64, available_cores())
    with pytest.raises(ValueError, match="n_threads 0"):
        ThreadVecEnv([Walk], 0)


def test_tables_of_observations_are_refused() -> None:
    class Table(Walk):
        observation_space = spaces.Dict(a=spaces.Box(0, 1, (1,)))  # type: ignore[assignment]

    with pytest.raises(ValueError, match="a Box is needed"):
        ThreadVecEnv([Table])


def test_threads_step_side_by_side() -> None:
    together = threading.Barrier(4)

    class Meeting(Walk):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            together.wait(timeout=60)  # raises if not all four are in their step at a time
            return super().step(action)

    environments = ThreadVecEnv([Meeting] * 4, 4)
    environments.reset()
    environments.step(np.zeros((4, 1)))
    environments.close()
