"""The hammer task against the registered environment, its corrected reward, and its counts on recorded experts."""

import math

import gymnasium
import h5py
import numpy as np
import pytest
from data_files import HAMMER_DEMONSTRATIONS
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from envs.adroit.hammer import HammerEnv, euler_angles
from envs.lookup import check_environment, make_environment
from envs.task import with_reward

HAMMER = "AdroitHandHammer-v1"


def registered(env_id: str = HAMMER, **arguments: object) -> gymnasium.Env:
    return gymnasium.make(check_environment(env_id), disable_env_checker=True, **arguments)


def recorded_episode(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with h5py.File(HAMMER_DEMONSTRATIONS / "data" / "main_data.hdf5") as file:
        episode = file[f"episode_{index}"]
        return episode["observations"][:], episode["actions"][:], episode["rewards"][:]


def test_checkers_pass(recwarn: pytest.WarningsRecorder) -> None:
    environment = make_environment(HAMMER)
    check_env(environment.unwrapped, skip_render_check=True)
    check_env_for_sb3(environment)
    # float64 observations, as registered; make_vec_env reports float32
    assert [str(w.message) for w in recwarn if "infinity" not in str(w.message)] == []


@pytest.mark.parametrize("variant", ["", "Sparse"])
def test_equal_to_the_registered_environment(variant: str) -> None:
    env_id = f"AdroitHandHammer{variant}-v1"
    ours, theirs = make_environment(env_id), registered(env_id)
    assert isinstance(ours.unwrapped, HammerEnv)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    actions = np.random.default_rng(0).uniform(-1.3, 1.3, (200, 26)).astype(np.float32)
    for seed in (0, None):
        seen, expected = ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0]
        np.testing.assert_allclose(seen, expected, rtol=1e-13, atol=1e-14)
        for step, action in enumerate(actions, start=1):
            seen, reward, terminated, truncated, info = ours.step(action)
            expected, expected_reward, *_, expected_info = theirs.step(action)
            # The physics bit by bit; what is computed from it up to the order of additions.
            for name in ("qpos", "qvel", "act", "qacc_warmstart", "sensordata", "time"):
                np.testing.assert_array_equal(getattr(ours.unwrapped.data, name), getattr(theirs.unwrapped.data, name))
            np.testing.assert_allclose(seen, expected, rtol=1e-13, atol=1e-14)
            assert reward == pytest.approx(expected_reward, rel=1e-13)
            assert info["success"] == expected_info["success"]
            assert not terminated
            assert truncated == (step == 200)


def test_euler_angles_at_and_off_the_poles() -> None:
    from gymnasium_robotics.utils.rotations import euler2quat, quat2euler

    generator = np.random.default_rng(0)
    quaternions = list(generator.normal(size=(500, 4)))
    quaternions += [euler2quat(np.array([a, b, 0.3])) for a in (0.0, 0.5) for b in (math.pi / 2, -math.pi / 2, 0.0)]
    quaternions += [
        np.array([1.0, 0, 0, 0]),
        np.array([0.0, 1, 0, 0]),
        np.array([math.sqrt(0.5), 0, math.sqrt(0.5), 0]),
    ]
    for quaternion in quaternions:
        np.testing.assert_allclose(euler_angles(*quaternion.tolist()), quat2euler(quaternion), atol=1e-12)


@pytest.mark.parametrize("recorded", [False, True])
def test_corrected_reward_by_hand(recorded: bool) -> None:
    environment = make_environment(HAMMER, {"reward": "corrected"})
    actions = np.random.default_rng(1).uniform(-1, 1, (200, 26)).astype(np.float32)
    if recorded:
        actions = recorded_episode(0)[1]
    environment.reset(seed=10_000)
    data, names = environment.unwrapped.data, environment.unwrapped._model_names
    bonuses = set()
    for action in actions:
        _, reward, *_, info = environment.step(action)
        palm = data.site_xpos[names.site_name2id["S_grasp"]]
        hammer = data.xpos[names.body_name2id["Object"]]
        head = data.site_xpos[names.site_name2id["tool"]]
        nail = data.site_xpos[names.site_name2id["S_target"]]
        goal = data.site_xpos[names.site_name2id["nail_goal"]]
        to_goal = np.linalg.norm(nail - goal)
        bonus = 2 * (hammer[2] > 0.04 and head[2] > 0.04) + 25 * (to_goal < 0.02) + 75 * (to_goal < 0.01)
        bonuses.add(int(bonus))
        others = -np.linalg.norm(head - nail) - 10 * to_goal - 0.01 * np.linalg.norm(data.qvel) + bonus
        distance = np.linalg.norm(palm - hammer)
        assert reward == pytest.approx(others - 0.1 * distance, abs=1e-12)
        assert info["registered_reward"] == pytest.approx(others + 0.1 * distance, abs=1e-12)
    if recorded:
        assert bonuses >= {0, 2, 102}


def test_corrected_reward_changes_nothing_else() -> None:
    ours, corrected = make_environment(HAMMER), make_environment(HAMMER, {"reward": "corrected"})
    ours.reset(seed=5)
    corrected.reset(seed=5)
    for action in np.random.default_rng(2).uniform(-1, 1, (200, 26)).astype(np.float32):
        seen, reward, *ends, info = ours.step(action)
        seen_too, _, *ends_too, info_too = corrected.step(action)
        np.testing.assert_array_equal(seen, seen_too)
        assert reward == info_too.pop("registered_reward")
        assert (ends, info) == (ends_too, info_too)


def test_corrected_sparse_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="reward corrected does not fit the sparse reward"):
        make_environment("AdroitHandHammerSparse-v1", {"reward": "corrected"})
    with pytest.raises(ValueError, match="corrected is for AdroitHandHammer-v1, AdroitHandDoor-v1, AdroitHandRelocate"):
        with_reward("AdroitHandHammerSparse-v1", {}, "corrected")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_replayed_expert_succeeds(index: int) -> None:
    observations, actions, rewards = recorded_episode(index)
    environment = make_environment(HAMMER)
    first, _ = environment.reset(seed=10_000 + index)
    np.testing.assert_allclose(first, observations[0], atol=1e-6)
    seen, replayed, nail_in, lifted = [first], [], 0, 0
    for step, action in enumerate(actions, start=1):
        observation, reward, _, truncated, info = environment.step(action)
        seen.append(observation)
        replayed.append(reward)
        data, unwrapped = environment.unwrapped.data, environment.unwrapped
        nail_in += info["success"]
        lifted += bool(data.xpos[unwrapped.obj_body_id][2] > 0.04 and data.site_xpos[unwrapped.tool_site_id][2] > 0.04)
        assert info["is_success"] == (nail_in > 25)
        assert info["lifted"] == lifted / step
    assert truncated
    assert info["is_success"]
    assert info["lifted"] > 0.3
    # They were recorded with MuJoCo 4.0.0: the first steps agree to roundings, then contacts amplify what differs.
    np.testing.assert_allclose(replayed[:5], rewards[:5], atol=1e-6)
    np.testing.assert_allclose(np.array(seen)[:5], observations[:5], atol=1e-4)
    assert sum(replayed) == pytest.approx(sum(rewards), rel=0.02)


def test_counts_start_anew_and_need_more_than_25_steps() -> None:
    observations, actions, _ = recorded_episode(0)
    environment = make_environment(HAMMER)
    for _ in range(2):
        environment.reset(seed=10_000)
        successes = []
        for action in actions:
            *_, info = environment.step(action)
            successes.append(info["success"])
            assert info["is_success"] == (sum(successes) > 25)
        assert sum(successes) > 26  # so that exactly 25, which is no success, came by
    environment.reset(seed=10_000)
    *_, info = environment.step(actions[0])
    assert not info["is_success"]
    assert info["lifted"] in (0.0, 1.0)
