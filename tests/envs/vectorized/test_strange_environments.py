"""What other people's environments return: refused where it comes first, or taken; and what is theirs stays theirs."""

import functools
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import pytest
import strange_environments
from stable_baselines3.common.vec_env import VecEnv
from strange_environments import FLAGS, INFOS, OBSERVATIONS, REWARDS, SHARED_INFO, STEPS, SUCCESSES

from envs.contract import EnvironmentFailure, as_truth
from envs.lookup import environment_spaces, make_environment
from envs.refusal import Refusal
from envs.vectorized.make import make_vec_env
from envs.vectorized.state import environment_state

IN_THIS_PROCESS = ("serial", "threads")
EACH = (*IN_THIS_PROCESS, pytest.param("processes", marks=pytest.mark.slow))
TAKEN = ("list", "float64", "whole", "nan")
"""Observations that fit; a NaN is for the learner and for evaluations to refuse."""
TAKEN_REWARDS = ("array of one", "array without axes", "scalar", "bool", "nan", "tensor")


@contextmanager
def strange(habit: str, way: str = "serial", env: str = "Strange-v0", **arguments: Any) -> Iterator[VecEnv]:
    environments = make_vec_env(
        env, arguments={"habit": habit, **arguments}, n_envs=3, seed=10, vectorization=way, training=True, n_threads=2
    )
    try:
        yield environments
    finally:
        environments.close()


def play(environments: VecEnv, steps: int = 12) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]]:
    environments.reset()
    return [environments.step(np.zeros(3, int)) for _ in range(steps)]


def failure_of(habit: str, way: str = "serial", env: str = "Strange-v0", **arguments: Any) -> EnvironmentFailure:
    with warnings.catch_warnings(), strange(habit, way, env, **arguments) as environments:
        warnings.simplefilter("error")  # nothing else is said
        with pytest.raises(EnvironmentFailure) as caught:
            play(environments)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("which", sorted(OBSERVATIONS.keys() - set(TAKEN)))
@pytest.mark.parametrize("at", [0, 1, 3])
def test_observations_that_do_not_fit(which: str, at: int) -> None:
    failure = failure_of(f"observation: {which}", seed=11, at=at)
    assert (failure.index, failure.seed, failure.episode, failure.step) == (1, 11, 1, at)
    assert f"the observation of its {'step' if at else 'reset'}" in str(failure)
    assert failure.__cause__ is None  # there is no traceback worth to be seen


@pytest.mark.parametrize("way", EACH)
def test_what_is_said_of_an_observation(way: str) -> None:
    shape = failure_of("observation: one entry", way, seed=12, at=2)
    assert (shape.index, shape.seed, shape.episode, shape.step) == (2, 12, 1, 2)
    assert "has the shape (1,): (2,) is needed, as its observation_space says" in str(shape)
    assert "is beyond float32 (1e+50 at entry 1)" in str(failure_of("observation: huge", way, at=1))
    assert "type <U32: numbers of type float32" in str(failure_of("observation: text", way))
    assert "is None: numbers of type float32" in str(failure_of("observation: None", way))


@pytest.mark.parametrize("way", EACH)
def test_observations_that_fit(way: str) -> None:
    with strange("", way) as environments:
        expected = play(environments)
    for which in ("list", "float64"):
        with strange(f"observation: {which}", way) as environments:
            played = play(environments)
        for step, other in zip(played, expected, strict=True):
            assert step[0].dtype == np.float32
            np.testing.assert_array_equal(step[0], other[0])


@pytest.mark.parametrize("which", sorted(REWARDS.keys() - set(TAKEN_REWARDS)))
def test_rewards_that_do_not_fit(which: str) -> None:
    failure = failure_of(f"reward: {which}", seed=11)
    assert (failure.index, failure.episode, failure.step) == (1, 1, 1)
    assert "the reward of its step is" in str(failure)
    assert ("beyond float32" if which in ("huge", "beyond any float") else "a number is needed") in str(failure)


@pytest.mark.parametrize("way", EACH)
def test_rewards_that_fit(way: str) -> None:
    for which in set(TAKEN_REWARDS) - {"nan"}:
        with strange(f"reward: {which}", way) as environments:
            *_, rewards, _, infos = play(environments, 5)[-1]
        np.testing.assert_array_equal(rewards, np.ones(3))
        assert [info["episode"]["r"] for info in infos] == [5.0] * 3


@pytest.mark.parametrize("env", ["Strange-v0", "StrangeTimed-v0"])  # with a time limit its wrapper meets them first
@pytest.mark.parametrize("way", EACH)
def test_old_gym(way: str, env: str) -> None:
    reset = failure_of("old reset", way, env, seed=10)
    assert (reset.index, reset.seed, reset.episode, reset.step) == (0, 10, 1, 0)
    assert "reset returned an array of shape (2,) and type float32: a pair (observation, info)" in str(reset)
    assert "a pair (observation, info)" in str(failure_of("old reset: list", way, env))
    later = failure_of("old step", way, env, at=3)
    assert (later.index, later.seed, later.episode, later.step) == (0, 10, 1, 3)
    assert "five values (observation, reward, terminated, truncated, info) are needed" in str(later)


def test_reset_without_a_seed() -> None:
    failure = failure_of("", env="StrangeWithoutSeed-v0")
    assert failure.step == 0
    assert "seed" in str(failure)


@pytest.mark.parametrize("which", INFOS)
def test_infos_that_are_none(which: str) -> None:
    assert "the info of its reset is" in str(failure_of(f"info: {which}"))
    failure = failure_of(f"info: {which}", at=5)  # where an episode ends, which is where wrappers add to it
    assert (failure.episode, failure.step) == (1, 5)
    assert "the info of its step is" in str(failure)


@pytest.mark.parametrize("which", STEPS)
def test_steps_that_return_no_values(which: str) -> None:
    failure = failure_of(f"step: {which}", at=2)
    assert failure.step == 2
    assert failure.__cause__ is None
    assert "five values (observation, reward, terminated, truncated, info) are needed" in str(failure)


def test_ends_that_are_tensors() -> None:
    with strange("tensor flags") as environments:
        assert [step[2].tolist() for step in play(environments, 5)] == [[False] * 3] * 4 + [[True] * 3]


@pytest.mark.parametrize("which", FLAGS)
def test_ends_that_are_neither_true_nor_false(which: str) -> None:
    assert "terminated of its step is" in str(failure_of(f"flag: {which}", at=2))


@pytest.mark.parametrize("way", EACH)
def test_what_an_environment_raises_is_said_with_its_line(way: str) -> None:
    failure = failure_of("raises", way, at=4, seed=11)
    assert (failure.index, failure.seed, failure.episode, failure.step) == (1, 11, 1, 4)
    assert "RuntimeError: the simulator diverged (" in str(failure)
    assert "strange_environments.py, line " in str(failure)


@pytest.mark.parametrize("way", EACH)
def test_an_environment_that_exits_has_failed(way: str) -> None:
    """In a thread, too, where an exit would end the thread, and nobody would hear of the step again."""
    failure = failure_of("exits", way, at=4, seed=11)
    assert (failure.index, failure.seed, failure.episode, failure.step) == (1, 11, 1, 4)
    assert "SystemExit: the licence has expired (" in str(failure)


def test_ctrl_c_is_the_users() -> None:
    with strange("interrupts", "serial", at=2) as environments, pytest.raises(KeyboardInterrupt):
        play(environments)


@pytest.mark.parametrize("way", IN_THIS_PROCESS)
def test_where_ctrl_c_raises_something_else_an_interrupt_is_the_environments_own(way: str) -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        failure = failure_of("interrupts", way, at=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert failure.step == 2
    assert "KeyboardInterrupt: raise KeyboardInterrupt (" in str(failure)


def test_words_of_an_environment_are_no_fields_of_ours() -> None:
    assert "call 'reset' of 'env' first" in str(failure_of("quotes"))


@pytest.mark.parametrize("way", IN_THIS_PROCESS)
def test_one_dictionary_for_all_infos(way: str) -> None:
    before = dict(SHARED_INFO)
    with strange("shared info", way) as environments:
        played = play(environments)
    assert before == SHARED_INFO
    infos = [info for step in played for info in step[3]]
    assert len({id(info) for info in infos}) == len(infos)
    for step, (_, _, dones, step_infos) in enumerate(played, start=1):
        for done, info in zip(dones, step_infos, strict=True):
            assert done == (step % 5 == 0)
            assert ("episode" in info, "terminal_observation" in info) == (done, done)
            assert info["TimeLimit.truncated"] is False
            assert (info["own.episode"], info["own.terminal_observation"]) == (3, "mine")
            if done:
                assert (info["episode"]["r"], info["episode"]["l"]) == (5.0, 5)


@pytest.mark.slow
def test_infos_of_processes() -> None:
    with strange("shared info", "processes") as environments:
        played = play(environments)
    assert ["episode" in step[3][0] for step in played] == [bool(step[2][0]) for step in played]
    with strange("failure", "processes") as environments:
        assert play(environments, 1)[0][3][0]["failure"] == "mine"


def test_success_is_forgotten_with_the_episode() -> None:
    environment = make_environment("Strange-v0", {"habit": "sometimes success"})
    for seed, expected in ((0, True), (1, None)):
        environment.reset(seed=seed)
        for _ in range(5):
            *_, info = environment.step(0)
        assert info.get("is_success") is expected
        assert "is_success" not in SHARED_INFO


@pytest.mark.parametrize("which", SUCCESSES)
def test_success_of_any_type(which: str) -> None:
    given, expected = SUCCESSES[which]
    assert as_truth(given) is expected
    with strange(f"success: {which}") as environments:
        infos = play(environments, 5)[-1][3]
    assert [info.get("is_success") for info in infos] == [expected] * 3


def test_arrays_of_the_last_info_are_kept() -> None:
    with strange("reused") as environments:
        played = play(environments)
    assert [info["score"].tolist() for info in played[4][3]] == [[-1.0]] * 3


@pytest.mark.parametrize("way", EACH)
def test_spaces_made_in_reset(way: str) -> None:
    observation_space, action_space = environment_spaces("Strange-v0", {"habit": "spaces"})
    assert (observation_space.shape, action_space.n) == ((2,), 2)  # type: ignore[union-attr]
    with strange("spaces", way) as late, strange("", way) as usual:
        for step, other in zip(play(late), play(usual), strict=True):
            np.testing.assert_array_equal(step[0], other[0])


def test_spaces_that_never_come() -> None:
    class Spaceless(strange_environments.Strange):
        observation_space = None

    with pytest.raises(Refusal, match="its observations are None"), registered(Spaceless):
        environment_spaces("Spaceless-v0")


@contextmanager
def registered(creator: Any) -> Iterator[None]:
    gymnasium.register("Spaceless-v0", functools.partial(creator))
    try:
        yield
    finally:
        del gymnasium.registry["Spaceless-v0"]


@pytest.mark.parametrize("way", [*EACH, "batched"])
def test_close_that_raises_is_one_line(way: str, capfd: pytest.CaptureFixture[str]) -> None:
    environment_spaces("Strange-v0", {"habit": "close"})
    assert capfd.readouterr().err.count("\n") == 1
    with strange("close", way) as environments:
        play(environments)
        capfd.readouterr()
    lines = capfd.readouterr().err.splitlines()
    if way != "processes":  # theirs may go to where the standard error was when the first of all processes began
        assert len(lines) == 1
        assert lines[0].startswith("warning: an environment could not be closed: RuntimeError: no end (")


@pytest.mark.parametrize(
    ("habit", "said"),
    [
        ("batch observation", "the observation of its reset has the shape (3, 1): (3, 2) is needed"),
        ("batch reward", "the rewards of its step have the shape (3, 1): 3 numbers are needed"),
        ("batch info", "infos of its step"),
        ("raises", "RuntimeError: the simulator diverged"),
    ],
)
def test_batches_of_an_environments_own(habit: str, said: str) -> None:
    failure = failure_of(habit, "batched")
    assert str(failure).startswith("the batch of environments failed (seed 10, step ")
    assert said in str(failure)


def test_ends_of_a_batch_that_are_numbers() -> None:
    with strange("batch dones", "batched") as environments:
        played = play(environments)
    assert any(step[2].any() for step in played)
    assert {(step[1].dtype, step[2].dtype) for step in played} == {(np.dtype(np.float32), np.dtype(np.bool_))}


def test_infos_of_a_batch() -> None:
    with strange("shared info", "batched") as environments:
        played = play(environments)
    assert ["episode" in step[3][0] for step in played] == [bool(step[2][0]) for step in played]
    assert [info["episode"]["l"] for info in played[4][3]] == [5] * 3


def test_methods_that_are_called_as_ours() -> None:
    assert environment_state(make_environment("StrangeOwnState-v0")) is None
