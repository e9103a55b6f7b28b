"""What is said of an environment before a training in it starts."""

from collections.abc import Iterator
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction, TimeLimit

from envs.remarks import far_bounds, remarks
from envs.task import TASKS, Task


class Acting(gymnasium.Env):
    """Has an action space, and nothing else of note."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, high: float = 1.0) -> None:
        self.action_space = spaces.Box(0.0, high, (1,), np.float32)


def rescaled(high: float = 1.0) -> gymnasium.Env:
    return RescaleAction(Acting(high), -1.0, 1.0)


def limited() -> gymnasium.Env:
    return TimeLimit(Acting(), 10)


@pytest.fixture
def acting() -> Iterator[None]:
    """Three environments without a time limit that Gymnasium knows of."""
    makers = {"Acting-v0": Acting, "Rescaled-v0": rescaled, "Limited-v0": limited, "Known-v0": partial(Acting)}
    for env_id, maker in makers.items():
        gymnasium.register(env_id, maker)
    TASKS["Known-v0"] = Task(ids=("Known-v0",), ends=True)
    yield
    del TASKS["Known-v0"]
    for env_id in makers:
        del gymnasium.registry[env_id]


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Pendulum-v1", "AdroitHandHammer-v1", "RandomAnomaly-v0", "SequenceChoice-v0"]
)
def test_nothing_is_said_of_what_is_usual(env_id: str) -> None:
    assert remarks(env_id) == []


def test_a_run_without_a_time_limit_says_so(acting: None) -> None:
    (line,) = remarks("Acting-v0")
    assert "Acting-v0 has no time limit" in line
    assert "`env_arguments` max_episode_steps=N" in line
    assert remarks("Acting-v0", {"max_episode_steps": 5}) == []
    assert remarks("Limited-v0") == remarks("Known-v0") == []
    assert len(remarks("CartPole-v1", {"max_episode_steps": -1})) == 1


def test_far_bounds_are_said_with_the_cure(acting: None) -> None:
    line, _ = remarks("Acting-v0", {"high": 1000.0})
    assert "[0, 1000]" in line
    assert "gymnasium.wrappers:RescaleAction" in line
    assert len(remarks("Rescaled-v0", {"high": 1000.0})) == 1  # of the time limit


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        ([-1], [1], None),
        ([-2], [2], None),
        ([0], [1], None),
        ([-0.4, -3], [0.4, 3], None),
        ([0, 7], [1, 7], None),  # nothing to choose
        ([0], [255], "[0, 255],"),
        ([-0.01], [0.01], "[-0.01, 0.01],"),
        ([0.5], [1.5], "[0.5, 1.5],"),
        ([-1, -1e30], [1, 1e30], "[-1e+30, 1e+30] at entry 1, 1 of 2 in all"),
        ([-9, -9], [9, 9], "[-9, 9],"),
    ],
)
def test_which_bounds_are_far(low: list[float], high: list[float], found: str | None) -> None:
    line = far_bounds("Any-v0", spaces.Box(np.float32(low), np.float32(high)))
    assert line is None if found is None else line is not None and found in line


def test_choices_have_no_bounds() -> None:
    assert far_bounds("Any-v0", spaces.Discrete(3)) is None


def test_environment_that_cannot_be_closed(acting: None, capsys: pytest.CaptureFixture[str]) -> None:
    class Stuck(Acting):
        def close(self) -> None:
            raise OSError("the device is gone")

    gymnasium.register("Stuck-v0", Stuck)
    try:
        assert len(remarks("Stuck-v0")) == len(remarks("Acting-v0"))
    finally:
        del gymnasium.registry["Stuck-v0"]
    assert "warning: an environment could not be closed: OSError: the device is gone" in capsys.readouterr().err
