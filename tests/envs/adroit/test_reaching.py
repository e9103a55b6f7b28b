"""The door and the relocation with their corrected reward, against the registered environments."""

import math

import gymnasium
import numpy as np
import pytest

from envs.lookup import make_environment

DOOR, RELOCATE = "AdroitHandDoor-v1", "AdroitHandRelocate-v1"


@pytest.mark.parametrize("env_id", [DOOR, RELOCATE])
def test_same_as_registered(env_id: str) -> None:
    ours, registered = make_environment(env_id), gymnasium.make(env_id, disable_env_checker=True)
    np.testing.assert_array_equal(ours.reset(seed=3)[0], registered.reset(seed=3)[0])
    generator = np.random.default_rng(1)
    for _ in range(200):
        action = generator.uniform(-1, 1, ours.action_space.shape).astype(np.float32)
        seen, reward, terminated, truncated, info = ours.step(action)
        others = registered.step(action)
        np.testing.assert_array_equal(seen, others[0])
        assert (reward, terminated, truncated) == others[1:4]
        assert not info.pop("is_success")
        assert info == others[4]
    assert truncated


@pytest.mark.parametrize(("env_id", "palm", "thing"), [(DOOR, "S_grasp", "S_handle"), (RELOCATE, "S_grasp", "Object")])
def test_corrected_reward_by_hand(env_id: str, palm: str, thing: str) -> None:
    ours, corrected = make_environment(env_id), make_environment(env_id, {"reward": "corrected"})
    ours.reset(seed=5)
    corrected.reset(seed=5)
    data = corrected.unwrapped.data
    generator = np.random.default_rng(2)
    distances = []
    for _ in range(50):
        action = generator.uniform(-1, 1, ours.action_space.shape).astype(np.float32)
        seen, registered, *ends, info = ours.step(action)
        seen_too, reward, *ends_too, info_too = corrected.step(action)
        np.testing.assert_array_equal(seen, seen_too)
        assert registered == info_too.pop("registered_reward")
        assert (ends, info) == (ends_too, info_too)
        place = data.body(thing).xpos if env_id == RELOCATE else data.site(thing).xpos
        distances.append(math.dist(data.site(palm).xpos, place))
        # What the original tasks pay is -0.1 a metre, what is registered +0.1.
        assert reward == pytest.approx(registered - 0.2 * distances[-1], abs=1e-12)
    assert max(distances) - min(distances) > 0.01


@pytest.mark.parametrize("task", ["Door", "Relocate"])
def test_rewards_that_are_refused(task: str) -> None:
    with pytest.raises(ValueError, match="reward 'other' is unknown: one of registered, corrected is needed"):
        make_environment(f"AdroitHand{task}-v1", {"reward": "other"})
    with pytest.raises(ValueError, match="reward corrected does not fit the sparse reward"):
        make_environment(f"AdroitHand{task}-v1", {"reward": "corrected", "reward_type": "sparse"})
