"""States of environments: what goes on from one equals, bit by bit, what was never interrupted."""

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from envs.lookup import make_environment
from envs.refusal import Refusal
from envs.vectorized.make import make_vec_env
from envs.vectorized.state import MODEL_FIELDS, set_vec_env_state, vec_env_state
from envs.vectorized.threads import ThreadVecEnv

EXACT = [
    ("AdroitHandHammer-v1", "threads"),
    ("AdroitHandDoor-v1", "threads"),
    ("AdroitHandPen-v1", "serial"),
    ("AdroitHandRelocate-v1", "serial"),
    ("Ant-v5", "serial"),
    ("Humanoid-v5", "serial"),
    ("Reacher-v5", "serial"),
    ("RandomAnomaly-v0", "batched"),
    ("RandomAnomaly-v0", "serial"),
    ("SequenceChoice-v0", "batched"),
    ("SequenceChoice-v0", "serial"),
]
ADROIT = [env for env, _ in EXACT if env.startswith("Adroit")]


def make(env: str, vectorization: str, seed: int = 5) -> VecEnv:
    arguments = {} if env.startswith(("Random", "Sequence")) else {"max_episode_steps": 30}
    return make_vec_env(env, arguments=arguments, n_envs=3, seed=seed, vectorization=vectorization, training=True)


def play(environments: VecEnv, generator: np.random.Generator, steps: int) -> list[Any]:
    space = environments.action_space
    record = []
    for _ in range(steps):
        if isinstance(space, gymnasium.spaces.Discrete):
            actions = generator.integers(0, space.n, environments.num_envs)
        else:
            actions = generator.uniform(space.low, space.high, (environments.num_envs, *space.shape))
            actions = actions.astype(np.float32)
        observations, rewards, dones, infos = environments.step(actions)
        for info in infos:
            info.get("episode", {}).pop("t", None)
            info.get("episode", {}).pop("wall", None)
        record.append((observations, rewards, dones, infos))
    return record


def assert_equal(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, list | tuple):
        for one, other in zip(left, right, strict=True):
            assert_equal(one, other)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_equal(left[key], right[key])
    else:
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("env", "vectorization"), EXACT)
def test_goes_on_bit_by_bit(env: str, vectorization: str) -> None:
    whole = make(env, vectorization)
    whole.reset()
    play(whole, np.random.default_rng(0), 47)  # in the middle of the second episode of 30 steps, the fifth of 11
    state = vec_env_state(whole)
    assert state is not None
    expected = play(whole, np.random.default_rng(1), 40)
    whole.close()

    resumed = make(env, vectorization, seed=77)
    set_vec_env_state(resumed, state)
    assert_equal(play(resumed, np.random.default_rng(1), 40), expected)
    resumed.reset()
    play(resumed, np.random.default_rng(2), 9)
    set_vec_env_state(resumed, state)  # taking it did not tie it to the environments it was taken from
    assert_equal(play(resumed, np.random.default_rng(1), 40), expected)
    resumed.close()


@pytest.mark.parametrize("env", ADROIT)
def test_resets_change_no_other_field_of_the_model(env: str) -> None:
    environment = make_environment(env)
    model = environment.unwrapped.model  # type: ignore[attr-defined]

    def fields() -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            names = [name for name in dir(model) if not name.startswith("_")]
            return {n: getattr(model, n).copy() for n in names if isinstance(getattr(model, n), np.ndarray)}

    before = fields()
    changed = set()
    for seed in range(3):
        environment.reset(seed=seed)
        for _ in range(5):
            environment.step(environment.action_space.sample())
        changed |= {name for name, value in fields().items() if not np.array_equal(value, before[name])}
    environment.close()
    assert changed
    assert changed <= set(MODEL_FIELDS)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_what_cannot_be_captured_has_no_state(env: str) -> None:
    environments = make_vec_env(env, n_envs=2, seed=0, training=True)
    environments.reset()
    assert vec_env_state(environments) is None
    environments.close()


def test_environments_in_processes_have_no_state() -> None:
    environments = make_vec_env("AdroitHandHammer-v1", n_envs=1, seed=0, vectorization="processes", training=True)
    assert isinstance(environments.unwrapped, SubprocVecEnv)
    assert vec_env_state(environments) is None
    environments.close()


def test_a_foreign_state_is_refused() -> None:
    hammer, door = (make(env, "serial") for env in ("AdroitHandHammer-v1", "AdroitHandDoor-v1"))
    hammer.reset()
    door.reset()
    state = vec_env_state(hammer)
    assert state is not None
    with pytest.raises(ValueError, match="does not fit|do not fit"):
        set_vec_env_state(door, state)
    state["environments"]["environments"].pop()
    with pytest.raises(ValueError, match="does not fit"):
        set_vec_env_state(hammer, state)
    hammer.close()
    door.close()


class OwnState(gymnasium.Env):
    """An environment of another origin whose set_state takes nothing."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(2, np.float32), {}

    def get_state(self) -> dict[str, Any]:
        return {"own": 3}

    def set_state(self, state: dict[str, Any]) -> None:
        assert state == {"own": 3}
        raise KeyError("a bug of its own")


def test_what_the_set_state_of_another_origin_raises_is_left_alone() -> None:
    environments = ThreadVecEnv([OwnState])
    environments.reset()
    state = environments.get_state()
    assert state is not None
    with pytest.raises(KeyError, match="a bug of its own"):
        environments.set_state(state)
    environments.close()


def test_a_state_is_of_the_time_when_it_was_taken() -> None:
    class Board(OwnState):
        board = np.zeros(2)

        def get_state(self) -> dict[str, Any]:
            return {"board": self.board}

        def step(self, action: Any) -> Any:
            self.board[:] += 1
            return np.zeros(2, np.float32), 0.0, False, False, {}

    class Unknown(OwnState):
        def get_state(self) -> Any:
            return None

    environments = ThreadVecEnv([Board])
    environments.reset()
    taken = vec_env_state(environments)
    assert taken is not None
    environments.step(np.zeros(1, int))
    assert taken["environments"]["environments"][0]["inner"]["board"].tolist() == [0, 0]
    environments.close()
    environments = ThreadVecEnv([Unknown])
    environments.reset()
    assert vec_env_state(environments) is None
    environments.close()


def test_a_state_for_environments_without_one_is_refused() -> None:
    environments = make_vec_env("CartPole-v1", n_envs=1, seed=0, training=True)
    environments.reset()
    hammer = make_vec_env("AdroitHandHammer-v1", n_envs=1, seed=0, vectorization="serial", training=True)
    hammer.reset()
    state = vec_env_state(hammer)
    assert state is not None
    with pytest.raises(Refusal, match="does not fit these environments"):
        set_vec_env_state(environments, state)
    environments.close()
    hammer.close()


def test_plain_values_beside_arrays_are_json() -> None:
    environments = make("AdroitHandPen-v1", "serial")
    environments.reset()
    state = vec_env_state(environments)
    assert state is not None

    def without_arrays(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: without_arrays(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [without_arrays(value) for value in tree]
        return None if isinstance(tree, np.ndarray) else tree

    plain = without_arrays(state)
    assert json.loads(json.dumps(plain)) == plain
    environments.close()
