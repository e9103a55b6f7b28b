"""Demonstrations in environments of any space, read as the environment shows and takes them."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import picky
import pytest
from demonstration_data import write
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from agents.configuration import configure
from agents.demonstrations.dataset import load_demonstrations
from agents.training import train
from envs.flattening import FlatBox
from envs.lookup import environment_spaces
from policies.refusal import Refusal


def stacked(values: list[Any]) -> Any:
    """Return values that are nested alike as lists nested as they are, which is how Minari takes them."""
    if isinstance(values[0], dict):
        return {key: stacked([value[key] for value in values]) for key in values[0]}
    return tuple(map(stacked, map(list, zip(*values, strict=True)))) if isinstance(values[0], tuple) else values


def record(dataset: str, space: str, sees: str, seen: spaces.Space | None = None) -> list[list[Any]]:
    """Record four episodes of random actions, and return their observations, the last ones left out."""
    environment: gymnasium.Env = gymnasium.make("Picky-v0", space=space, sees=sees, disable_env_checker=True)
    environment.action_space.seed(0)
    buffers, recorded = [], []
    for seed in range(4):
        observations, actions, over = [environment.reset(seed=seed)[0]], [], False
        while not over:
            actions.append(environment.action_space.sample())
            observation, _, over, _, _ = environment.step(actions[-1])
            observations.append(observation)
        n = len(actions)
        ends = {"rewards": [1.0] * n, "terminations": [False] * (n - 1) + [True], "truncations": [False] * n}
        buffers.append(EpisodeBuffer(id=seed, observations=stacked(observations), actions=actions, infos={}, **ends))
        recorded.append(observations[:-1])
    write(dataset, buffers, seen or environment.observation_space, environment.action_space)
    return recorded


@pytest.mark.parametrize(
    ("space", "sees"),
    [("several from", "nested"), ("yes or no", "pair"), ("from 5", "choice"), ("matrix", "picture"), ("int32", "bits")],
)
def test_demonstrations_in_any_space(space: str, sees: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    recorded = record("test/any-v0", space, sees)
    arguments = {"space": space, "sees": sees}
    observation_space, action_space = environment_spaces("Picky-v0", arguments)
    assert isinstance(observation_space, FlatBox)
    fitted, held_out = load_demonstrations("test/any-v0", observation_space, action_space, None, seed=0)
    order = np.random.default_rng(0).permutation(4)
    for index, column in zip(order, range(4), strict=True):
        part, place = (fitted, column) if column < len(fitted) else (held_out, column - len(fitted))
        rows = [observation_space.row(observation) for observation in recorded[index]]
        np.testing.assert_array_equal(part.observations[:, place], rows)
    result = train(
        configure(
            "Picky-v0",
            env_arguments=arguments,
            demos="test/any-v0",
            demo_epochs=2,
            budget=600,
            total_timesteps=128,
            n_envs=2,
            n_steps=32,
            batch_size=64,
            n_epochs=1,
            eval_every=128,
            eval_episodes=2,
            vectorization="serial",
            progress=False,
            log_dir=str(tmp_path / "logs"),
        )
    )
    assert result.steps == 128
    assert len(result.imitation) == 2


def test_other_spaces_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    record("test/other-v0", "several", "pair")
    for space, sees, line in (
        ("several", "nested", "its observations are Tuple.*, Dict.* is needed"),
        ("several", "choice", r"its observations are Tuple.*, Discrete\(4, start=-1\) is needed"),
        ("several from", "pair", "its actions are MultiDiscrete.*, MultiDiscrete.* is needed"),
        ("yes or no", "pair", r"its actions are MultiDiscrete.*, MultiBinary\(3\) is needed"),
    ):
        needed = environment_spaces("Picky-v0", {"space": space, "sees": sees})
        with pytest.raises(Refusal, match=line) as caught:
            load_demonstrations("test/other-v0", *needed, None, seed=0)
        assert "\n" not in str(caught.value)


def test_observations_outside_the_space_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setitem(picky.OBSERVATIONS, "beyond", spaces.Discrete(9))
    record("test/beyond-v0", "several", "beyond", seen=spaces.Discrete(2))
    needed = environment_spaces("Picky-v0", {"space": "several", "sees": "beyond"})
    with pytest.raises(Refusal, match=r"episode \d does not fit: the observation .*, outside Discrete\(2"):
        load_demonstrations("test/beyond-v0", FlatBox(spaces.Discrete(2)), needed[1], None, seed=0)
