"""Control without velocities: what is seen, what stays of the environment inside, exact resumption, and refusals."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.lookup import check_environment, check_render_mode, environment_spaces, make_environment
from envs.position_only.positions import POSITIONS
from envs.refusal import Refusal
from envs.remarks import remarks
from envs.vectorized.make import make_vec_env
from envs.vectorized.state import set_vec_env_state, vec_env_state
from tests.envs.vectorized.test_environment_state import assert_equal, play

ENV = "PositionOnly-v0"
WITH_PLACE = ("Ant", "HalfCheetah", "Hopper", "Humanoid", "HumanoidStandup", "Swimmer", "Walker2d")
"""They can show where they are along the way."""


def variants() -> list[tuple[str, dict[str, Any]]]:
    """Return every environment of the table that can be made here, with the arguments that change its observation."""
    check_environment("CartPole-v1")  # which imports Gymnasium-Robotics
    found: list[tuple[str, dict[str, Any]]] = [("Ant-v4", {"use_contact_forces": True})]
    for env_id, spec in gymnasium.registry.items():
        known = spec.namespace is None and spec.name in POSITIONS
        if known and (spec.version not in (2, 3) and env_id != "Pusher-v4"):
            found.append((env_id, {}))
            if spec.name in WITH_PLACE and env_id != "HumanoidStandup-v4":
                found.append((env_id, {"exclude_current_positions_from_observation": False}))
    return found


@pytest.mark.parametrize(("env_id", "arguments"), variants())
def test_what_is_seen_does_not_depend_on_velocities_and_all_positions_are_seen(
    env_id: str, arguments: dict[str, Any]
) -> None:
    """In MuJoCo's tasks: with other velocities the same is seen, and what is not seen changes."""
    outside = make_environment(ENV, {"env": env_id, **arguments})
    inside = make_environment(env_id, arguments)
    observation, _ = outside.reset(seed=3)
    whole, _ = inside.reset(seed=3)
    kept = np.array([*POSITIONS[gymnasium.spec(env_id).name][len(whole)]])
    np.testing.assert_array_equal(observation, np.asarray(whole)[kept])
    assert isinstance(outside.observation_space, spaces.Box)
    assert isinstance(inside.observation_space, spaces.Box)
    np.testing.assert_array_equal(outside.observation_space.low, inside.observation_space.low[kept])
    np.testing.assert_array_equal(outside.observation_space.high, inside.observation_space.high[kept])
    assert outside.action_space == inside.action_space
    assert outside.observation_space.dtype == inside.observation_space.dtype
    simulator: Any = inside.unwrapped
    if hasattr(simulator, "data"):
        read = next(getattr(simulator, name) for name in ("_get_obs", "get_obs") if hasattr(simulator, name))
        before = read()
        simulator.data.qvel[:] += 0.5
        moved = read() != before
        assert not moved[kept].any()
        assert moved.any()
    outside.close()
    inside.close()


def test_named_by_module_and_by_default_a_pendulum() -> None:
    assert check_environment(f"envs:{ENV}") == ENV
    assert environment_spaces(ENV)[0].shape == (2,)


def test_time_limit_reward_success_and_rendering_are_those_inside() -> None:
    outside, inside = make_environment(ENV, {"env": "AdroitHandDoor-v1", "keep": (0, 3)}), None
    inside = make_environment("AdroitHandDoor-v1")
    outside.reset(seed=1)
    inside.reset(seed=1)
    for step in range(200):
        action = inside.action_space.sample()
        observation, *rest, info = outside.step(action)
        whole, *expected, expected_info = inside.step(action)
        np.testing.assert_array_equal(observation, whole[[0, 3]])
        assert rest == expected
        assert rest[2] == (step == 199)
        assert info["is_success"] == expected_info["is_success"]
    assert remarks(ENV) == remarks("Pendulum-v1") == []
    check_render_mode(ENV, {}, "rgb_array")


@pytest.mark.parametrize("keep", [(2, 0), [2, 0], 1])
def test_kept_entries(keep: Any) -> None:
    outside, inside = make_environment(ENV, {"env": "CartPole-v1", "keep": keep}), make_environment("CartPole-v1")
    whole = inside.reset(seed=3)[0]
    np.testing.assert_array_equal(outside.reset(seed=3)[0], np.atleast_1d(whole[keep if keep == 1 else [*keep]]))


@pytest.mark.parametrize("env", ["Reacher-v5", "AdroitHandHammer-v1"])
def test_goes_on_bit_by_bit(env: str) -> None:
    def make(seed: int) -> Any:
        arguments = {"env": env, "max_episode_steps": 30}
        return make_vec_env(ENV, arguments=arguments, n_envs=2, seed=seed, training=True)

    whole = make(5)
    whole.reset()
    play(whole, np.random.default_rng(0), 47)
    state = vec_env_state(whole)
    assert state is not None
    expected = play(whole, np.random.default_rng(1), 40)
    resumed = make(77)
    set_vec_env_state(resumed, state)
    assert_equal(play(resumed, np.random.default_rng(1), 40), expected)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"env": 3}, "no id of an environment"),
    ({"env": "Nothing-v0"}, "unknown to Gymnasium"),
    ({"env": "os:CartPole-v1"}, "os:PositionOnly-v0 with env=CartPole-v1 is needed"),
    ({"env": "FrozenLake-v1"}, "keep="),
    ({"env": "FetchReach-v4"}, "keep="),
    ({"env": "RandomAnomaly-v0"}, "splits"),
    ({"env": "CartPole-v1", "wheels": 3}, "'wheels'"),
    ({"env": "Ant-v5", "include_cfrc_ext_in_observation": False, "keep": None, "frame_skip": "x"}, "frame_skip"),
    ({"env": "AdroitHandRelocate-v1"}, "keep= with the indices"),
    ({"env": ENV}, "keep= with the indices"),
    *(({"keep": keep}, "keep=") for keep in [(), (3,), (-1,), (0, 0), (True,), (0.0,), "0", {}, 3, [[0]], (10**400,)]),
]


@pytest.mark.parametrize(("arguments", "reason"), UNFIT)
def test_what_does_not_fit_is_refused_in_one_line(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refusal, match=f"env {ENV} with env_arguments ") as caught:
        make_environment(ENV, arguments)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_environment_of_a_users_module_is_shown() -> None:
    assert check_environment(f"picky:{ENV}") == ENV
    environment = make_environment(ENV, {"env": "Picky-v0", "sees": "nested", "keep": (0, 4)})
    assert environment.observation_space.shape == (2,)
    environment.close()
