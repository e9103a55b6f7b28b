"""The records of environments: what they say is there, cheap to load, and decides about two arguments."""

import pkgutil
import subprocess
import sys

import gymnasium
import pytest
from data_files import ROOT

from envs.lookup import check_environment
from envs.task import TASKS, Task, pays_progress, register, task_of, with_reward, with_split
from policies.refusal import Refusal

HAMMER, ANOMALY = "AdroitHandHammer-v1", "RandomAnomaly-v0"


def test_what_records_name_is_there() -> None:
    assert {HAMMER, ANOMALY, "AdroitHandPenSparse-v1"} <= TASKS.keys()
    for env_id, task in TASKS.items():
        assert env_id in task.ids
        assert check_environment(env_id, allow_module=False) == env_id
        for name in (task.entry_point, task.replacement, task.pictures, task.still, task.film):
            if name is not None and name.startswith("envs."):  # others are those of tests
                assert callable(pkgutil.resolve_name(name))


def test_records_load_nothing_heavy() -> None:
    program = "import sys, envs; print(*{'mujoco', 'torch', 'matplotlib', 'cv2', 'sklearn'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_any_environment_has_a_record() -> None:
    assert task_of("Pendulum-v1") == Task(ids=("Pendulum-v1",))
    assert task_of(f"some.module:{ANOMALY}") is task_of(ANOMALY) is TASKS[ANOMALY]


def test_entry_point_is_registered() -> None:
    task = Task(ids=("OwnPole-v0", "OwnPole-v1"), entry_point="gymnasium.envs.classic_control:CartPoleEnv")
    try:
        register(task)
        assert task_of("OwnPole-v1") is task
        assert gymnasium.make("OwnPole-v0").action_space.n == 2
    finally:
        for env_id in task.ids:
            del TASKS[env_id], gymnasium.registry[env_id]


def test_split_is_for_tasks_that_have_splits() -> None:
    assert with_split(ANOMALY, {"size": 2}, "test") == {"size": 2, "split": "test"}
    assert with_split(ANOMALY, {"split": "train"}, "test") == {"split": "train"}
    assert with_split("CartPole-v1", {"a": 1}, "test") == {"a": 1}


def test_reward_becomes_an_argument() -> None:
    assert with_reward(HAMMER, {"width": 3}, "corrected") == {"width": 3, "reward": "corrected"}
    assert with_reward(HAMMER, {"width": 3}, "corrected-progress") == {"width": 3, "reward": "corrected"}
    assert with_reward(HAMMER, {"width": 3}, "registered") == {"width": 3}
    assert with_reward(HAMMER, {"width": 3}, "progress") == {"width": 3}
    assert with_reward("CartPole-v1", {"reward": 5}, "registered") == {"reward": 5}  # an argument like any other


def test_rewards_that_pay_progress() -> None:
    rewards = ("registered", "progress", "corrected", "corrected-progress")
    assert [pays_progress(reward) for reward in rewards] == [False, True, False, True]


@pytest.mark.parametrize(
    ("env_id", "arguments", "reward", "message"),
    [
        ("CartPole-v1", {}, "corrected", "reward 'corrected' .* CartPole-v1: registered or progress is .*Hammer-v1"),
        (
            HAMMER,
            {},
            "other",
            "reward 'other' does not fit .*: registered or progress or corrected or .*-progress is needed",
        ),
        ("CartPole-v1", {}, "corrected-progress", "CartPole-v1: registered or progress is needed, corrected is for"),
        (HAMMER, {"reward": "corrected"}, "registered", "env_arguments reward='corrected' .* reward sets it"),
        (HAMMER, {"reward": "corrected"}, "corrected", "env_arguments reward='corrected' .* reward sets it"),
    ],
)
def test_reward_that_does_not_fit(env_id: str, arguments: dict[str, str], reward: str, message: str) -> None:
    with pytest.raises(Refusal, match=message) as error:
        with_reward(env_id, arguments, reward)
    assert "\n" not in str(error.value)
