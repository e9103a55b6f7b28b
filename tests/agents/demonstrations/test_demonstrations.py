import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from data_files import ROOT
from demonstration_data import record, write
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from agents.demonstrations.dataset import _check_episode, load_demonstrations
from envs.lookup import environment_spaces
from policies.refusal import Refusal


@pytest.fixture
def pendulum(tmp_path, monkeypatch):
    return record(tmp_path, monkeypatch)


@pytest.fixture
def pendulum_spaces():
    return environment_spaces("Pendulum-v1")


def test_episodes_come_back_as_they_were_recorded(pendulum, pendulum_spaces):
    fitted, held_out = load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)
    assert (len(fitted), len(held_out)) == (5, 1)
    with h5py.File(pendulum / "data" / "main_data.hdf5") as file:
        recorded = {
            file[name]["observations"][0].tobytes(): (
                file[name]["observations"][:-1],
                file[name]["actions"][:],
                file[name]["rewards"][:],
            )
            for name in file
        }
    for part in (fitted, held_out):
        assert part.observations.dtype == part.actions.dtype == np.float32
        for index in range(len(part)):
            observations, actions, rewards = recorded.pop(part.observations[0, index].tobytes())
            np.testing.assert_array_equal(part.observations[:, index], observations)
            np.testing.assert_array_equal(part.actions[:, index], actions)
            assert part.returns[index] == pytest.approx(rewards.sum())
            assert part.lengths[index] == 30
    assert not recorded


def test_an_id_is_found_where_minari_keeps_its_data_sets(pendulum, pendulum_spaces):
    by_id = load_demonstrations("test/made-v0", *pendulum_spaces, None, seed=3)
    by_path = load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=3)
    np.testing.assert_array_equal(by_id[0].observations, by_path[0].observations)


def test_fewer_episodes_are_drawn_by_seed_and_the_held_out_come_from_the_rest(pendulum, pendulum_spaces):
    first, held_out = load_demonstrations(str(pendulum), *pendulum_spaces, 2, seed=0)
    again, _ = load_demonstrations(str(pendulum), *pendulum_spaces, 2, seed=0)
    assert (len(first), len(held_out)) == (2, 1)
    np.testing.assert_array_equal(first.observations, again.observations)
    starts = {episodes.observations[0, i].tobytes() for episodes in (first, held_out) for i in range(len(episodes))}
    assert len(starts) == 3
    draws = {
        load_demonstrations(str(pendulum), *pendulum_spaces, 2, seed=s)[0].observations.tobytes() for s in range(6)
    }
    assert len(draws) > 1


def test_episodes_of_different_lengths_are_padded_and_counted(tmp_path, monkeypatch):
    folder = record(tmp_path, monkeypatch, "CartPole-v1", episodes=8, steps=60)
    with h5py.File(folder / "data" / "main_data.hdf5", "r+") as file:
        for key in ("actions", "rewards", "terminations", "truncations"):
            short = file["episode_3"][key][:17]
            del file["episode_3"][key]
            file["episode_3"][key] = short
        short = file["episode_3"]["observations"][:18]
        del file["episode_3"]["observations"]
        file["episode_3"]["observations"] = short
    parts = load_demonstrations(str(folder), *environment_spaces("CartPole-v1"), None, seed=0)
    lengths = np.concatenate([part.lengths for part in parts])
    assert sorted(lengths) == [17] + [60] * 7
    for part in parts:
        assert part.actions.dtype == np.int64
        np.testing.assert_array_equal(part.counted.sum(axis=0), part.lengths)
        assert not part.observations[~part.counted].any()
    chosen = parts[0].select(np.flatnonzero(parts[0].lengths == 17)) if 17 in parts[0].lengths else parts[1]
    assert len(chosen.observations) == 17


def test_spaces_match_by_shape_and_bounds_and_not_by_type(tmp_path, monkeypatch, pendulum_spaces):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    observation_space, action_space = pendulum_spaces
    double = spaces.Box(observation_space.low.astype(float), observation_space.high.astype(float), dtype=np.float64)
    write("test/double-v0", [episode(dtype=np.float64) for _ in range(3)], double, action_space)
    fitted, _ = load_demonstrations("test/double-v0", *pendulum_spaces, None, seed=0)
    assert fitted.observations.dtype == np.float32
    wider = spaces.Box(-3.0, 3.0, (1,), np.float32)
    write("test/wider-v0", [episode() for _ in range(3)], observation_space, wider)
    with pytest.raises(
        ValueError, match=r"its actions are a Box of shape \(1,\) from -3 to 3, a Box .* -2 to 2 is needed"
    ):
        load_demonstrations("test/wider-v0", *pendulum_spaces, None, seed=0)


def episode(steps: int = 5, dtype=np.float32, **changed) -> EpisodeBuffer:
    generator = np.random.default_rng(0)
    observations = np.clip(generator.normal(size=(steps + 1, 3)), -1, 1).astype(dtype)
    parts = {
        "observations": list(observations),
        "actions": list(generator.uniform(-2, 2, (steps, 1)).astype(np.float32)),
        "rewards": [1.0] * steps,
        "terminations": [False] * steps,
        "truncations": [False] * (steps - 1) + [True],
    }
    return EpisodeBuffer(**(parts | changed))


def test_each_kind_of_bad_episode_is_named(tmp_path, monkeypatch, pendulum_spaces):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def damaged(change) -> str:
        folder = record(tmp_path, monkeypatch, dataset=f"test/{change.__name__}-v0")
        with h5py.File(folder / "data" / "main_data.hdf5", "r+") as file:
            change(file["episode_2"])
        with pytest.raises(ValueError, match="episode 2") as caught:
            load_demonstrations(str(folder), *pendulum_spaces, None, seed=0)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def nan_observation(group):
        group["observations"][7, 1] = np.nan

    def infinite_action(group):
        group["actions"][3] = np.inf

    def nan_reward(group):
        group["rewards"][29] = np.nan

    def empty(group):
        for key in ("actions", "rewards"):
            del group[key]
        group["actions"], group["rewards"] = np.zeros((0, 1)), np.zeros(0)

    def outside(group):
        group["actions"][3] = 2.5

    def narrow(group):
        del group["observations"]
        group["observations"] = np.zeros((31, 2))

    assert "observations that are not finite, first at step 7" in damaged(nan_observation)
    assert "actions that are not finite, first at step 3" in damaged(infinite_action)
    assert "rewards that are not finite, first at step 29" in damaged(nan_reward)
    assert "is empty" in damaged(empty)
    assert "outside the bounds" in damaged(outside)
    assert "shape (30, 2): (30, 3) is needed" in damaged(narrow)


@pytest.mark.parametrize("count", [0, 6, 100])
def test_too_many_or_too_few_episodes_are_refused(pendulum, pendulum_spaces, count):
    with pytest.raises(ValueError, match=r"demo_episodes .* 1 to 5 is needed"):
        load_demonstrations(str(pendulum), *pendulum_spaces, count, seed=0)


def test_files_that_are_no_data_set_are_refused(pendulum, pendulum_spaces, tmp_path):
    with pytest.raises(ValueError, match=r"holds no data/metadata\.json"):
        load_demonstrations(str(tmp_path), *pendulum_spaces, None, seed=0)
    with pytest.raises(ValueError, match="neither a folder nor the id"):
        load_demonstrations("no such folder", *pendulum_spaces, None, seed=0)
    file = pendulum / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="is damaged"):
        load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)
    (pendulum / "data" / "metadata.json").write_text("[1, 2")
    with pytest.raises(ValueError, match="is damaged"):
        load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)


@pytest.mark.parametrize("total", [None, -1, 2.5, True, [6], {"6": 6}, 10**12])
def test_a_number_of_episodes_that_cannot_be_is_refused(pendulum, pendulum_spaces, total):
    path = pendulum / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "total_episodes": total}))
    with pytest.raises(ValueError, match="is damaged: its total_episodes is"):
        load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)


def test_of_the_metadata_only_what_is_used_must_be_whole(pendulum, pendulum_spaces):
    """Minari's own reader raises a TypeError for these authors."""
    path = pendulum / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "author": [{}], "author_email": 1.5}))
    load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)


def test_what_says_that_it_is_larger_than_its_file_is_not_read(pendulum, pendulum_spaces):
    """A few bytes of a file can ask for all of the memory."""
    with h5py.File(pendulum / "data" / "main_data.hdf5", "a") as file:
        del file["episode_3/rewards"]
        file["episode_3"].create_dataset("rewards", shape=(2**40,), dtype="f8", chunks=(1024,))
    with pytest.raises(ValueError, match=r"/episode_3/rewards says that it takes 8,796,093,022,208 bytes"):
        load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)


def test_an_unknown_id_without_network_is_one_line(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "train.py",
            "--env",
            "AdroitHandHammer-v1",
            "--demos",
            "D4RL/hammer/expert-v2",
            "--log-dir",
            tmp_path,
        ],
        env={**os.environ, "MINARI_DATASETS_PATH": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: --demos D4RL/hammer/expert-v2 is not on this machine and cannot be downloaded")


def test_no_folder_for_data_sets(pendulum_spaces, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file" / "data"))
    with pytest.raises(Refusal, match="Not a directory.*MINARI_DATASETS_PATH has to name one"):
        load_demonstrations("D4RL/hammer/expert-v2", *pendulum_spaces, None, 0)


@pytest.mark.parametrize("key", ["env_spec", "requirements", "observation_space", "action_space"])
def test_nothing_that_a_data_set_names_is_run(pendulum, pendulum_spaces, tmp_path, monkeypatch, key):
    """Minari would build an environment from the entry point in the file where the spaces are missing."""
    planted = tmp_path / "planted.py"
    planted.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Env: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = pendulum / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    spec = json.dumps({"id": "Planted-v0", "entry_point": "planted:Env", "kwargs": {}, "additional_wrappers": []})
    metadata["env_spec"] = spec
    if key.endswith("_space"):
        del metadata[key]
    elif key == "requirements":
        metadata[key] = ["planted"]
    path.write_text(json.dumps(metadata))
    if key.endswith("_space"):
        with pytest.raises(ValueError, match=f"is damaged: KeyError: '{key}'"):
            load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)
    else:
        load_demonstrations(str(pendulum), *pendulum_spaces, None, seed=0)
    assert not (tmp_path / "ran").exists()


def test_bounds_that_float32_rounds_are_no_fault() -> None:
    space = spaces.Box(0.0, 700.7, (1,), np.float64)
    seen, rewards = np.zeros((3, 2), np.float32), np.zeros(3)
    done = np.float32([[0], [700.7], [5]])  # the nearest float32 is above the bound
    assert done[1, 0] > space.high[0] + 1e-5
    observations = spaces.Box(-1, 1, (2,), np.float32)
    _check_episode("here", seen, done, rewards, observations, space)
    with pytest.raises(Refusal, match="outside the bounds"):
        _check_episode("here", seen, done + 1, rewards, observations, space)
