"""Observations of any space become the row that Gymnasium flattens them to, or are refused in one line."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import picky
import pytest
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim, flatten
from hypothesis import given, settings
from hypothesis import strategies as st
from nested_spaces import OBSERVATION_SPACES
from stable_baselines3.common.vec_env import VecEnv

from envs.contract import EnvironmentFailure, Unfit
from envs.flattening import LARGEST, FlatBox, FlatObservations, is_flat, misfit, parts_of
from envs.lookup import environment_spaces, make_environment
from envs.remarks import remarks
from envs.vectorized.make import VECTORIZATIONS, make_vec_env
from policies.refusal import Refusal

NESTED = picky.OBSERVATIONS["nested"]


def is_picture(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and bool((space.high == 255).all())


@given(OBSERVATION_SPACES, st.integers(0, 2**31 - 1))
@settings(max_examples=150)
def test_rows_are_those_of_gymnasium(space: spaces.Space, seed: int) -> None:
    assert misfit(space) is None
    flat = FlatBox(space)
    assert flat.shape == (flatdim(space),)
    assert is_flat(flat)
    parts = [part for _, part in parts_of(space)]
    scale = np.concatenate([np.full(flatdim(part), 255.0 if is_picture(part) else 1.0) for part in parts])
    kinds = np.concatenate([np.full(flatdim(part), not isinstance(part, spaces.Box)) for part in parts])
    np.testing.assert_array_equal(flat.discrete, kinds)
    space.seed(seed)
    for _ in range(3):
        observation = space.sample()
        row = flat.row(observation)
        assert row.dtype == np.float32
        np.testing.assert_allclose(row, flatten(space, observation) / scale, rtol=1e-6)
        assert flat.contains(row)
        assert set(row[flat.discrete]) <= {0, 1}
    again = pickle.loads(pickle.dumps(flat))
    np.testing.assert_array_equal(again.row(observation), row)
    assert again == flat


def test_pictures_are_scaled() -> None:
    flat = FlatBox(spaces.Box(0, 255, (2, 2), np.uint8))
    np.testing.assert_array_equal(flat.row(np.array([[0, 51], [102, 255]], np.uint8)), np.float32([0, 0.2, 0.4, 1]))
    assert (flat.low, flat.high) == (pytest.approx(np.zeros(4)), pytest.approx(np.ones(4)))


def test_whole_numbers_that_are_no_bytes_stay() -> None:
    flat = FlatBox(spaces.Box(0, 10, (2,), np.uint8))
    np.testing.assert_array_equal(flat.row(np.array([3, 10], np.uint8)), [3, 10])


def test_many_rows_at_once() -> None:
    flat = FlatBox(NESTED)
    observations = [NESTED.sample() for _ in range(4)]

    def stacked(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {key: stacked([value[key] for value in values]) for key in values[0]}
        return (
            tuple(map(stacked, zip(*map(list, values), strict=True)))
            if isinstance(values[0], tuple)
            else np.array(values)
        )

    np.testing.assert_array_equal(flat.rows(stacked(observations), 3), [flat.row(one) for one in observations[:3]])


GOAL = {"goal": {"at": np.zeros(2), "kind": 1}, "seen": (np.zeros((2, 2), np.uint8), np.zeros(2, np.int8))}
MISFITS: dict[str, tuple[Any, str]] = {
    "no table": (np.zeros(3), "the observation of its step is ndarray: a table of ['goal', 'seen'] is needed"),
    "other names": ({"goal": GOAL["goal"]}, "is a table of ['goal']: a table of ['goal', 'seen'] is needed"),
    "too many": (GOAL | {"more": 1}, "is a table of ['goal', 'more', 'seen']"),
    "no tuple": (GOAL | {"seen": 3}, "at 'seen' is int: a tuple of 2 is needed"),
    "short tuple": (GOAL | {"seen": (1,)}, "at 'seen' is 1 entries: a tuple of 2 is needed"),
    "shape": (GOAL | {"goal": {"at": np.zeros((2, 1)), "kind": 1}}, "at 'goal' at 'at' has the shape (2, 1): (2,) is"),
    "outside": (
        GOAL | {"goal": {"at": np.zeros(2), "kind": 0}},
        "at 'goal' at 'kind' is 0, outside Discrete(3, start=1)",
    ),
    "half": (
        GOAL | {"goal": {"at": np.zeros(2), "kind": 1.5}},
        "at 'goal' at 'kind' is float64: numbers of type int64",
    ),
    "text": (GOAL | {"goal": {"at": "ab", "kind": 1}}, "at 'goal' at 'at' is 'ab': numbers of type float32 are needed"),
    "huge": (
        GOAL | {"goal": {"at": np.array([0, 1e50]), "kind": 1}},
        "at 'goal' at 'at' is beyond float32 (1e+50 at entry 1)",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_other_observations_are_refused(name: str) -> None:
    observation, line = MISFITS[name]
    with pytest.raises(Unfit) as caught:
        FlatBox(NESTED).row(observation)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_choices_never_wrap_around() -> None:
    space = spaces.MultiDiscrete([2, 3], start=[0, 4])
    np.testing.assert_array_equal(FlatBox(space).row(np.array([1, 6])), [0, 1, 0, 0, 1])
    for choices in ([-1, 4], [2, 4], [0, 3], [0, 7]):
        with pytest.raises(Unfit, match="outside MultiDiscrete"):
            FlatBox(space).row(np.array(choices))


def play(environments: VecEnv) -> None:
    environments.reset()
    for _ in range(3):
        environments.step(np.array([5]))


class Forgetful(picky.Picky):
    """An environment whose observations fit for two steps."""

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return (7 if self.time == 2 else observation, *rest)


class OldReset(picky.Picky):
    """An environment of gym's old API."""

    def reset(self, **options: Any) -> Any:
        return super().reset(**options)[0]


@pytest.mark.parametrize(
    ("entry_point", "line"),
    [
        (Forgetful, r"environment 0 failed \(seed 3, episode 1, step 2\): the observation of its step is 7, outside"),
        (OldReset, r"environment 0 failed \(seed 3, episode 1, step 0\): its reset returned .*: a pair"),
    ],
)
@pytest.mark.parametrize("vectorization", ["serial", "processes"])
def test_the_line_says_where(entry_point: type, line: str, vectorization: str) -> None:
    gymnasium.register("Forgetful-v0", entry_point, kwargs={"space": "from 5", "sees": "choice"})
    try:
        environments = make_vec_env("Forgetful-v0", n_envs=1, seed=3, vectorization=vectorization, training=True)
        with pytest.raises(EnvironmentFailure, match=line):
            play(environments)
        environments.close()
    finally:
        del gymnasium.registry["Forgetful-v0"]


@pytest.mark.parametrize("sees", picky.OBSERVATIONS)
@pytest.mark.parametrize("vectorization", VECTORIZATIONS[:3])
def test_environments_of_any_space_are_stepped_together(sees: str, vectorization: str) -> None:
    arguments = {"space": "several", "sees": sees}
    observation_space, action_space = environment_spaces("Picky-v0", arguments)
    environments = make_vec_env(
        "Picky-v0", arguments=arguments, n_envs=2, seed=3, vectorization=vectorization, training=True
    )
    assert environments.observation_space == observation_space
    assert environments.observation_space.contains(environments.reset()[1])
    for _ in range(20):
        observations, _, dones, infos = environments.step(np.array([action_space.sample()] * 2))
    assert dones.all()
    assert observations.shape == (2, *observation_space.shape)
    assert observation_space.contains(infos[0]["terminal_observation"])
    environments.close()


def test_flat_rows_of_floats_are_left_alone() -> None:
    environment: gymnasium.Env = make_environment("CartPole-v1")
    while isinstance(environment, gymnasium.Wrapper):
        assert not isinstance(environment, FlatObservations)
        environment = environment.env


def test_vast_spaces_are_refused_before_any_memory_is_taken() -> None:
    assert misfit(spaces.Tuple((spaces.Discrete(LARGEST), spaces.Discrete(1)))) is not None
    assert misfit(spaces.Discrete(LARGEST)) is None


def test_a_batch_of_other_observations_is_refused() -> None:
    gymnasium.register("Batched-v0", Batched, kwargs={"space": "from 5", "sees": "choice"})
    try:
        with pytest.raises(Refusal, match="a flat Box of floats is needed, use serial"):
            make_vec_env("Batched-v0", n_envs=1, seed=0, vectorization="batched", training=True)
    finally:
        del gymnasium.registry["Batched-v0"]


class Batched(picky.Picky):
    """An environment that brings a batch, whose observations are not flat."""

    @staticmethod
    def batched(n_envs: int, **arguments: Any) -> Any:
        class Batch:
            observation_space = picky.OBSERVATIONS["choice"]

        return Batch()


class Camera(picky.Picky):
    """An environment that sees a picture."""

    def __init__(self, width: int) -> None:
        super().__init__("from 5")
        self.observation_space = spaces.Box(0, 255, (100, width, 1), np.uint8)


def test_a_warning_names_how_many_pixels_there_are() -> None:
    gymnasium.register("Camera-v0", Camera, max_episode_steps=5)
    try:
        (line,) = remarks("Camera-v0", {"width": 201})
        assert line.startswith("warning: observations of Camera-v0 have n_x = 20,100 numbers")
        assert remarks("Camera-v0", {"width": 200}) == []
    finally:
        del gymnasium.registry["Camera-v0"]
