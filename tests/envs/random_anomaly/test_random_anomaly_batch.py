"""The batch equals single environments bit by bit, keeps SB3's conventions, and goes on from a saved state."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from envs.random_anomaly.batch import (
    RandomAnomalyVecEnv,
    pack_generator_state,
    unpack_generator_state,
)
from envs.random_anomaly.environment import RandomAnomalyEnv
from envs.vectorized.make import make_vec_env

ARGUMENTS: dict[str, Any] = {"sequence_length": 5, "image_size": 20, "split": "validation", "anomaly_probability": 0.8}
STEPS = 3 * 6


def make_batched(n_envs: int, seed: int, **arguments: Any) -> RandomAnomalyVecEnv:
    """Make a batch whose environment i is seeded with seed + i at the first reset."""
    environments = RandomAnomalyVecEnv(n_envs, **arguments)
    environments.seed(seed)
    return environments


def rollout(environments: Any, actions: np.ndarray) -> list[Any]:
    records = []
    for action in actions:
        observations, rewards, dones, infos = environments.step(action)
        for info in infos:
            info.pop("episode", None)
            if "terminal_observation" in info:
                info["terminal_observation"] = info["terminal_observation"].tolist()
        records.append((observations.tobytes(), rewards.tolist(), dones.tolist(), infos))
    return records


@pytest.fixture
def actions() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 6, (STEPS, 4))


def test_equals_single_environments(actions: np.ndarray) -> None:
    batch = make_batched(4, 7, **ARGUMENTS)
    singles = DummyVecEnv([lambda: RandomAnomalyEnv(**ARGUMENTS)] * 4)
    singles.seed(7)
    assert batch.observation_space == singles.observation_space
    assert batch.action_space == singles.action_space
    for _ in range(2):  # the second time without seeds: episodes that were begun are given up
        np.testing.assert_array_equal(batch.reset(), singles.reset())
        for action in actions[:-2]:
            observations, rewards, dones, infos = batch.step(action)
            expected_observations, expected_rewards, expected_dones, expected_infos = singles.step(action)
            assert observations.dtype == expected_observations.dtype
            assert observations.tobytes() == expected_observations.tobytes()
            assert rewards.dtype == expected_rewards.dtype
            np.testing.assert_array_equal(rewards, expected_rewards)
            assert dones.dtype == expected_dones.dtype
            np.testing.assert_array_equal(dones, expected_dones)
            for info, expected in zip(infos, expected_infos, strict=True):
                if not dones[0]:
                    assert info == {}
                    continue
                np.testing.assert_array_equal(info.pop("terminal_observation"), expected.pop("terminal_observation"))
                episode = info.pop("episode")
                assert (episode["r"], episode["l"]) == (float(info["is_success"]), 6)
                assert episode["t"] >= 0
                assert info == expected


def test_stream_depends_on_the_seed_alone(actions: np.ndarray) -> None:
    many = make_batched(9, 3, **ARGUMENTS)
    few = make_batched(2, 6, **ARGUMENTS)
    many_observations, few_observations = [many.reset()], [few.reset()]
    for _ in range(STEPS):
        many_observations.append(many.step(np.zeros(9, dtype=int))[0])
        few_observations.append(few.step(np.zeros(2, dtype=int))[0])
    np.testing.assert_array_equal(np.stack(many_observations)[:, 3:5], np.stack(few_observations))
    assert not np.array_equal(many_observations[0][0], many_observations[0][1])


def test_seeding_again_restarts_the_streams(actions: np.ndarray) -> None:
    environments = make_batched(4, 5, **ARGUMENTS)
    first = environments.reset()
    records = rollout(environments, actions)
    assert rollout(environments, actions) != records
    environments.step(actions[0])
    environments.seed(5)
    np.testing.assert_array_equal(environments.reset(), first)
    assert rollout(environments, actions) == records


def test_unseeded_batches_differ() -> None:
    first, second = (RandomAnomalyVecEnv(2, image_size=10).reset() for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("steps", [0, 1, 5, 6, 9, 12])
def test_state_goes_on_bit_by_bit(steps: int, actions: np.ndarray) -> None:
    original = make_batched(4, 11, **ARGUMENTS)
    observations = original.reset()
    for index in range(steps):
        observations, *_ = original.step(actions[index])
    state = original.get_state()
    copy = RandomAnomalyVecEnv(4, **ARGUMENTS)
    np.testing.assert_array_equal(copy.set_state(state), observations)
    expected = rollout(original, actions)
    assert rollout(copy, actions) == expected
    np.testing.assert_array_equal(copy.reset(), original.reset())
    # And in place, after going on; the state was no view of it.
    original.set_state(state)
    assert rollout(original, actions) == expected


def test_unfit_states() -> None:
    environments = make_batched(2, 0, **ARGUMENTS)
    with pytest.raises(gymnasium.error.ResetNeeded):
        environments.get_state()
    environments.reset()
    state = environments.get_state()
    with pytest.raises(ValueError, match=r"\(3, 6\) of uint64"):
        make_batched(3, 0, **ARGUMENTS).set_state(state)
    with pytest.raises(ValueError, match="time is 6, a whole number from 0 to 5 is needed"):
        environments.set_state(state | {"time": 6})


def test_generator_state_is_whole() -> None:
    for draws in range(3):
        generator = np.random.default_rng(1)
        generator.standard_normal(2 * draws + 1, dtype=np.float32)  # half of a 64-bit output is left over
        packed = pack_generator_state(generator)
        assert packed.dtype == np.uint64
        assert packed[4] == 1
        copy = unpack_generator_state(packed)
        np.testing.assert_array_equal(
            copy.standard_normal(100, dtype=np.float32), generator.standard_normal(100, dtype=np.float32)
        )


def test_what_is_returned_is_not_overwritten() -> None:
    environments = make_batched(2, 0, **ARGUMENTS)
    returned = [environments.reset()]
    for _ in range(STEPS):
        observations, rewards, dones, _ = environments.step(np.zeros(2, dtype=int))
        returned += [observations, rewards, dones]
    copies = [array.copy() for array in returned]
    for array in returned:
        array[:] = 1
    environments.seed(0)
    again = [environments.reset()]
    for _ in range(STEPS):
        again += environments.step(np.zeros(2, dtype=int))[:3]
    for array, expected in zip(again, copies, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_as_a_vec_env() -> None:
    environments = make_batched(3, 0, **ARGUMENTS)
    assert environments.render_mode is None
    assert environments.get_attr("split") == ["validation"] * 3
    assert environments.get_attr("image_size", [0, 1]) == [20, 20]
    assert environments.get_attr("sequence_length", 2) == [5]
    assert not environments.has_attr("nothing")
    assert environments.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    with pytest.raises(gymnasium.error.ResetNeeded):
        environments.step(np.zeros(3, dtype=int))
    with pytest.raises(NotImplementedError):
        environments.set_attr("split", "train")
    with pytest.raises(NotImplementedError):
        environments.env_method("reset")
    environments.close()
    with pytest.raises(ValueError, match="n_envs 0"):
        make_batched(0, 0, **ARGUMENTS)
    with pytest.raises(ValueError, match="split 'all'"):
        make_batched(2, 0, split="all")


def test_found_by_the_vectorization() -> None:
    for way in ("batched", "serial"):
        environments = make_vec_env(
            "RandomAnomaly-v0",
            arguments={"image_size": 12, "sequence_length": 3},
            n_envs=2,
            seed=4,
            vectorization=way,
            training=False,
        )
        observations = [environments.reset()]
        for _ in range(4):
            step = environments.step(np.ones(2, dtype=int))
            observations.append(step[0])
        assert step[2].all()
        assert [info["episode"]["l"] for info in step[3]] == [4, 4]
        expected = make_batched(2, 4, image_size=12, sequence_length=3, split="validation")
        np.testing.assert_array_equal(observations[0], expected.reset())
        for observation in observations[1:]:
            np.testing.assert_array_equal(observation, expected.step(np.ones(2, dtype=int))[0])
        environments.close()


def test_stable_baselines_trains_on_it() -> None:
    """Episode figures reach SB3 through its own wrapper and buffers."""
    environments = VecNormalize(make_batched(8, 0, **(ARGUMENTS | {"image_size": 8})), norm_obs=False)
    model = PPO("MlpPolicy", environments, n_steps=12, batch_size=48, n_epochs=1, seed=0, device="cpu")
    model.learn(3 * 96)
    assert model.num_timesteps == 3 * 96
    assert len(model.ep_info_buffer) == 3 * 96 // 6
    assert len(model.ep_success_buffer) == 3 * 96 // 6
