"""The environment and its batch: what is seen and rewarded, equal bit by bit, and going on from a saved state."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.lookup import make_environment
from envs.refusal import Refusal
from envs.sequence_choice.batch import SequenceChoiceVecEnv
from envs.sequence_choice.environment import SequenceChoiceEnv
from envs.sequence_choice.task import SequenceChoiceTask
from envs.vectorized.make import make_vec_env

COUNTS = {"odd": 10, "normal": 40}


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Fifty sequences of two channels, of one to seven steps."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 8, 50)
    np.savez(
        tmp_path / "a.npz",
        x=generator.normal(100.0, 3.0, (lengths.sum(), 2)),
        lengths=lengths,
        y=np.repeat(list(COUNTS), list(COUNTS.values())),
    )
    return str(tmp_path / "a.npz")


def test_an_episode_answered_at_the_end(source: str) -> None:
    environment = SequenceChoiceEnv(source)
    split = environment.task.sequences
    assert environment.action_space == gymnasium.spaces.Discrete(2)
    assert environment.observation_space.shape == (3,)
    for seed, right in ((5, True), (6, False)):
        observation, info = environment.reset(seed=seed)
        assert info == {}
        start, length, label = (int(entries[seed]) for entries in (split.starts, split.lengths, split.classes))
        expected = np.column_stack([split.steps[start : start + length], np.zeros(length, np.float32)])
        for step in range(length):
            np.testing.assert_array_equal(observation, expected[step])
            observation, reward, terminated, truncated, info = environment.step(label)
            assert (reward, terminated, truncated, info) == (0.0, False, False, {})
        np.testing.assert_array_equal(observation, [*expected[-1, :2], 1.0])  # the extra step
        _, reward, terminated, truncated, info = environment.step(label if right else 1 - label)
        assert (reward, terminated, truncated) == (float(right), True, False)
        assert info == {
            "sequence": seed,
            "label": split.labels[label],
            "answer": split.labels[label if right else 1 - label],
            "labels": ("normal", "odd"),
            "channels": ("channel 1", "channel 2"),
            "is_success": right,
        }
        with pytest.raises(gymnasium.error.ResetNeeded):
            environment.step(0)


def test_an_episode_answered_at_every_step(source: str) -> None:
    environment = SequenceChoiceEnv(source, answer="every")
    split = environment.task.sequences
    seed = int(np.argmax(split.lengths))
    label, length = int(split.classes[seed]), int(split.lengths[seed])
    observation, _ = environment.reset(seed=seed)
    seen = [observation]
    for step in range(length):
        answer = label if step != 1 else 1 - label
        observation, reward, terminated, _, info = environment.step(answer)
        seen.append(observation)
        assert reward == float(step != 1)
        assert terminated == (step == length - 1)
    np.testing.assert_array_equal(seen[:-1], split.steps[split.starts[seed] :][:length])
    assert info["is_success"]
    assert info["right_steps"] == pytest.approx((length - 1) / length)


@pytest.mark.parametrize("answer", ["end", "every"])
def test_windows_hold_all_steps_in_order(answer: str, source: str) -> None:
    environment = SequenceChoiceEnv(source, answer=answer, window=3)
    split = environment.task.sequences
    for seed in range(10):
        observation, _ = environment.reset(seed=seed)
        seen, over = [], False
        while not over:
            seen.append(observation[:6])
            observation, _, over, _, _ = environment.step(0)
        length = int(split.lengths[seed])
        steps = split.steps[split.starts[seed] :][:length]
        assert len(seen) == -(-length // 3) + (answer == "end")
        if answer == "end":
            np.testing.assert_array_equal(seen.pop(), seen[-1])
        readings = np.concatenate(seen).reshape(-1, 2)
        np.testing.assert_array_equal(readings[:length], steps)
        assert (readings[length:] == steps[-1]).all()


@pytest.mark.filterwarnings("ignore:.*A Box observation space m")
@pytest.mark.parametrize("answer", ["end", "every"])
def test_as_gymnasium_wants_it(answer: str, source: str) -> None:
    check_env(SequenceChoiceEnv(source, answer=answer), skip_render_check=True)


@pytest.mark.parametrize(
    "arguments", [{}, {"answer": "every"}, {"window": 3}, {"balanced": True, "split": "validation"}]
)
def test_batch_equals_single_environments(arguments: dict[str, Any], source: str) -> None:
    batch = SequenceChoiceVecEnv(4, source=source, **arguments)
    singles = DummyVecEnv([lambda: SequenceChoiceEnv(source, **arguments)] * 4)
    batch.seed(7)
    singles.seed(7)
    assert batch.observation_space == singles.observation_space
    assert batch.action_space == singles.action_space
    generator = np.random.default_rng(0)
    ended = 0
    for _ in range(2):  # the second time without seeds: episodes that were begun are given up
        np.testing.assert_array_equal(batch.reset(), singles.reset())
        for actions in generator.integers(0, 2, (40, 4)):
            observations, rewards, dones, infos = batch.step(actions)
            expected = singles.step(actions)
            assert observations.dtype == np.float32
            assert observations.tobytes() == expected[0].tobytes()
            assert rewards.dtype == expected[1].dtype
            np.testing.assert_array_equal(rewards, expected[1])
            np.testing.assert_array_equal(dones, expected[2])
            ended += dones.sum()
            for done, info, other in zip(dones, infos, expected[3], strict=True):
                if done:
                    np.testing.assert_array_equal(info.pop("terminal_observation"), other.pop("terminal_observation"))
                assert info == (other if done else {})
    assert ended > 20


@pytest.mark.parametrize("answer", ["end", "every"])
@pytest.mark.parametrize("steps", [0, 1, 5, 13])
def test_state_goes_on_bit_by_bit(steps: int, answer: str, source: str) -> None:
    actions = np.random.default_rng(1).integers(0, 2, (40, 3))

    def rollout(environments: SequenceChoiceVecEnv, actions: np.ndarray) -> list[Any]:
        records = []
        for action in actions:
            observations, rewards, dones, infos = environments.step(action)
            ends = [{**info, "terminal_observation": None} for info in infos]
            records.append((observations.tobytes(), rewards.tolist(), dones.tolist(), ends))
        return records

    original = SequenceChoiceVecEnv(3, source=source, answer=answer)
    original.seed(11)
    observations = original.reset()
    for action in actions[:steps]:
        observations, *_ = original.step(action)
    state = original.get_state()
    copy = SequenceChoiceVecEnv(3, source=source, answer=answer)
    np.testing.assert_array_equal(copy.set_state(state), observations)
    expected = rollout(original, actions)
    assert rollout(copy, actions) == expected
    np.testing.assert_array_equal(copy.reset(), original.reset())
    original.set_state(state)  # in place, after going on; the state was no view of it
    assert rollout(original, actions) == expected


def test_unfit_states(source: str) -> None:
    environments = SequenceChoiceVecEnv(2, source=source)
    with pytest.raises(gymnasium.error.ResetNeeded):
        environments.get_state()
    with pytest.raises(gymnasium.error.ResetNeeded):
        environments.step(np.zeros(2, int))
    environments.reset()
    state = environments.get_state()
    with pytest.raises(Refusal, match="generators is a list of 2, a list of 3 is needed"):
        SequenceChoiceVecEnv(3, source=source).set_state(state)
    for name, value in (("sequences", 999), ("sequences", -1), ("times", 8), ("right_steps", 1)):
        with pytest.raises(Refusal, match=f"{name} is an array .* one of these 32 sequences is needed"):
            environments.set_state(state | {name: np.full(2, value)})
    environment = SequenceChoiceEnv(source)
    environment.reset(seed=0)
    with pytest.raises(Refusal, match="sequence is 32, a whole number from 0 to 31"):
        environment.set_state(environment.get_state() | {"sequence": 32})


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_as_many_seeds_in_a_row_show_each_sequence_once(split: str, source: str) -> None:
    for first in (0, 1_500_000_000, 2_000_000_003):
        environments = SequenceChoiceVecEnv(8, source=source, split=split)
        assert environments.distinct_episodes == {"train": 32, "validation": 8, "test": 10}[split]
        shown: list[int] = []
        for seed in range(first, first + 40, 8):
            environments.seed(seed)
            environments.reset()
            shown += environments._sequences.tolist()
        assert sorted(shown[: environments.distinct_episodes]) == list(range(environments.distinct_episodes))


def test_draws(source: str) -> None:
    for balanced, share in ((False, 6 / 32), (True, 0.5)):
        task = SequenceChoiceTask(source, balanced=balanced)
        generator = np.random.default_rng(0)
        drawn = np.array([task.draw(generator) for _ in range(4_000)])
        assert set(drawn.tolist()) == set(range(32))
        assert np.mean(task.sequences.classes[drawn] == 1) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"answer": "never"}, "answer 'never' is unknown: end or every is needed"),
        ({"split": "all"}, "split 'all' is unknown"),
        ({"split_seed": -1}, "split_seed -1 does not fit: a whole number from 0"),
        ({"split_seed": True}, "split_seed True does not fit"),
        ({"window": 0}, "window 0 does not fit: a whole number from 1 to 1000000"),
        ({"window": 500_000}, "window 500000 does not fit: it makes 4,000,000 inputs"),
        ({"balanced": 1}, "balanced 1 does not fit: True or False is needed"),
        ({"source": "nowhere.csv"}, "nowhere.csv' does not exist"),
        ({"colour": "red"}, "it takes source, split, answer, window, split_seed, balanced"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message) as caught:
        make_environment("SequenceChoice-v0", arguments)
    assert str(caught.value).startswith("env SequenceChoice-v0 with env_arguments ")
    assert "\n" not in str(caught.value)


def test_found_by_the_vectorization(source: str) -> None:
    records = []
    for way in ("batched", "serial"):
        environments = make_vec_env(
            "SequenceChoice-v0",
            arguments={"source": source},
            n_envs=2,
            seed=4,
            vectorization=way,
            training=False,
        )
        record = [environments.reset()]
        for _ in range(20):
            observations, rewards, dones, infos = environments.step(np.ones(2, dtype=int))
            last = [info for info, done in zip(infos, dones, strict=True) if done]
            ends = [(info["episode"]["r"], info["episode"]["l"], info["is_success"]) for info in last]
            record += [observations, rewards, dones, np.array(ends)]
        records.append(record)
        environments.close()
    for one, other in zip(*records, strict=True):
        np.testing.assert_array_equal(one, other)
