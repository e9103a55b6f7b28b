"""Videos: what is in the files, and what is refused before anything is played."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from agents.errors import EvaluationStopped
from agents.trained.policy import TrainedPolicy, load_trained_policy
from agents.trained.recording import record, thinned, write_video
from agents.trained.report import evaluate_policy
from envs.random_anomaly.beliefs import LAST_FRAMES
from envs.rendering import prepare_off_screen_rendering
from policies.refusal import Refusal

MakeRun = Callable[..., Path]
LENGTH = 3


def can_render() -> bool:
    try:
        prepare_off_screen_rendering()
    except ValueError:
        return False
    return True


def read(path: Path) -> tuple[np.ndarray, float]:
    """Return the frames (n, height, width, 3) of a film, and how many are shown per second."""
    reader = imageio_ffmpeg.read_frames(path)
    about = next(reader)
    width, height = about["size"]
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    return np.stack(frames), about["fps"]


@pytest.fixture(scope="module")
def cartpole(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> TrainedPolicy:
    return load_trained_policy(make_run(tmp_path_factory.mktemp("logs"), "CartPole-v1"))


@pytest.fixture(scope="module")
def anomaly(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"image_size": 12, "sequence_length": LENGTH}
    return make_run(tmp_path_factory.mktemp("logs"), "RandomAnomaly-v0", env_arguments=arguments)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_film_holds_the_frames(suffix: str, tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)] * 4
    frames = [np.full((33, 47, 3), colour, np.uint8) for colour in colours]
    write_video(tmp_path / f"film{suffix}", iter(frames), 10.0)
    found, fps = read(tmp_path / f"film{suffix}")
    assert fps == 10.0
    assert found.shape == ((12, 34, 48, 3) if suffix == ".mp4" else (12, 33, 47, 3))
    assert abs(found[:, 5:25, 5:40].mean(axis=(1, 2)) - colours).max() < 8


@pytest.mark.parametrize(
    ("fps", "suffix", "expected"),
    [(100, ".mp4", (50, 2)), (100, ".gif", (20, 5)), (30, ".mp4", (30, 1)), (50, ".gif", (50 / 3, 3))],
)
def test_fast_environments_lose_frames_and_no_pace(fps: float, suffix: str, expected: tuple[float, int]) -> None:
    assert thinned(fps, suffix) == expected


@pytest.mark.skipif(not can_render(), reason="no OpenGL library that renders without a display")
def test_mujoco_is_recorded_off_screen(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "InvertedPendulum-v5")
    policy = load_trained_policy(run, env_arguments={"width": 64, "height": 48, "max_episode_steps": 11})
    length = int(evaluate_policy(policy, episodes=1, first_seed=9).evaluation.lengths[0])
    record(policy, tmp_path / "film.mp4", episodes=2, first_seed=9)
    first, fps = read(tmp_path / "film.mp4")
    assert fps == 25.0
    assert first.shape[0] > length + 1
    assert first.shape[1:] == (48, 64, 3)
    assert first.std() > 10
    assert abs(first[0].astype(int) - first[length]).max() > 30
    record(policy, tmp_path / "film.gif", episodes=1, first_seed=9)
    # Rendered 25 times per second, so that a GIF has each second frame, the first and the last among them.
    assert len(read(tmp_path / "film.gif")[0]) == 1 + (length + 1) // 2
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"film.mp4", "film.gif"}


@pytest.mark.parametrize("suffix", [".png", ".gif", ".mp4"])
def test_random_anomaly_is_recorded_with_beliefs(suffix: str, anomaly: Path, tmp_path: Path) -> None:
    record(load_trained_policy(anomaly), tmp_path / f"film{suffix}", episodes=2, first_seed=1)
    if suffix == ".png":
        with Image.open(tmp_path / "film.png") as picture:
            assert picture.width > 300
        record(load_trained_policy(anomaly.with_suffix(".onnx")), tmp_path / "onnx.png", episodes=2, first_seed=1)
        pictures = [np.asarray(Image.open(tmp_path / f"{name}.png"), int) for name in ("film", "onnx")]
        assert (abs(pictures[0] - pictures[1]) > 8).mean() < 1e-3
    else:
        assert len(read(tmp_path / f"film{suffix}")[0]) == 2 * (LENGTH + LAST_FRAMES)


def test_too_many_episodes_for_a_picture(anomaly: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="video_episodes 21 does not fit"):
        record(load_trained_policy(anomaly), tmp_path / "film.png", episodes=21, first_seed=1)
    assert not list(tmp_path.iterdir())


def test_drawn_actions_come_from_the_seed(anomaly: Path, tmp_path: Path) -> None:
    policy = load_trained_policy(anomaly)
    for name, deterministic in (("drawn", False), ("again", False), ("likeliest", True)):
        record(policy, tmp_path / f"{name}.png", episodes=6, first_seed=1, deterministic=deterministic)
    drawn, again, likeliest = ((tmp_path / f"{name}.png").read_bytes() for name in ("drawn", "again", "likeliest"))
    assert drawn == again
    assert drawn != likeliest


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("film.avi", "video .*film.avi does not fit CartPole-v1: .mp4 or .gif"),
        ("film.png", "video .*film.png does not fit CartPole-v1"),
        ("film", "video .*film does not fit"),
        ("nowhere/film.mp4", "cannot be written: No such file or directory"),
        ("taken.mp4", "cannot be written: it is a folder"),
        ("file/film.mp4", "cannot be written: Not a directory"),
    ],
)
def test_path_is_refused_before_anything_is_played(
    name: str, reason: str, cartpole: TrainedPolicy, tmp_path: Path
) -> None:
    (tmp_path / "taken.mp4").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refusal, match=reason):
        record(cartpole, tmp_path / name, episodes=1, first_seed=0)
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_pygame_is_named_and_an_older_film_stays(
    cartpole: TrainedPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)  # importing it fails, installed or not
    (tmp_path / "film.mp4").write_bytes(b"older")
    with pytest.raises(Refusal, match="pygame is not installed"):
        record(cartpole, tmp_path / "film.mp4", episodes=1, first_seed=0)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_cartpole_is_recorded(cartpole: TrainedPolicy, tmp_path: Path) -> None:
    record(cartpole, tmp_path / "film.mp4", episodes=1, first_seed=0)
    assert read(tmp_path / "film.mp4")[0].shape[1:] == (400, 600, 3)


def test_environment_without_pictures(make_run: MakeRun, tmp_path: Path) -> None:
    class Silent(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
        action_space = gymnasium.spaces.Discrete(2)

    gymnasium.register("Silent-v0", Silent)
    try:
        policy = load_trained_policy(make_run(tmp_path, "CartPole-v1"), env="Silent-v0")
        with pytest.raises(Refusal, match="video does not fit Silent-v0: it renders nothing"):
            record(policy, tmp_path / "film.mp4", episodes=1, first_seed=0)
    finally:
        del gymnasium.registry["Silent-v0"]
    assert not (tmp_path / "film.mp4").exists()


class Painted(gymnasium.Env):
    """Renders pictures of a kind, of 20 steps that are told apart by their brightness."""

    observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    metadata: ClassVar = {"render_modes": ["rgb_array"]}

    def __init__(self, kind: str, render_mode: str | None = None, fps: object = None) -> None:
        self.kind, self.render_mode, self.steps = kind, render_mode, 0
        self.metadata = {**self.metadata, "render_fps": fps}  # type: ignore[misc]

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        self.steps = 0
        return np.zeros(4, np.float32), {}

    def step(self, action: object) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.steps += 1
        return np.zeros(4, np.float32), 0.0, self.steps == 20, False, {}

    def render(self) -> Any:
        picture = np.full((32, 48, 3), 10 * self.steps, np.uint8)
        return {
            "grey": picture[:, :, 0],
            "one channel": picture[:, :, :1],
            "transparent": np.concatenate([picture, np.full((32, 48, 1), 7, np.uint8)], axis=2),
            "upside down": picture[::-1],
            "none": None,
            "list": [picture],
            "float": picture / 255,
            "whole numbers": picture.astype(int),
            "empty": picture[:0],
            "channels first": picture.transpose(2, 0, 1),
            "growing": np.zeros((32, 48 + 2 * self.steps, 3), np.uint8),
            "lost": picture if self.steps < 5 else None,
        }[self.kind]


@pytest.fixture
def painted(make_run: MakeRun, tmp_path: Path) -> Iterator[Callable[..., TrainedPolicy]]:
    gymnasium.register("Painted-v0", Painted)
    run = make_run(tmp_path / "logs", "CartPole-v1")
    yield lambda **arguments: load_trained_policy(run, env="Painted-v0", env_arguments=arguments)
    del gymnasium.registry["Painted-v0"]


@pytest.mark.parametrize("kind", ["grey", "one channel", "transparent", "upside down"])
def test_pictures_of_other_kinds_are_recorded(kind: str, painted: Callable[..., TrainedPolicy], tmp_path: Path) -> None:
    record(painted(kind=kind), tmp_path / "film.gif", episodes=1, first_seed=0)
    frames, _ = read(tmp_path / "film.gif")
    assert frames.shape[1:] == (32, 48, 3)
    assert abs(frames[-1].astype(int) - 200).max() < 8


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("none", "None"),
        ("list", "of type list"),
        ("float", "shape .32, 48, 3. and type float64"),
        ("whole numbers", "type int64"),
        ("empty", "shape .0, 48, 3."),
        ("channels first", "shape .3, 32, 48."),
    ],
)
def test_what_is_no_picture_is_refused_before_anything_is_played(
    kind: str, shown: str, painted: Callable[..., TrainedPolicy], tmp_path: Path
) -> None:
    policy = painted(kind=kind)
    with pytest.raises(Refusal, match=f"Painted-v0 cannot be rendered here: its render returned .*{shown}.*uint8"):
        record(policy, tmp_path / "film.gif", episodes=1, first_seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize(("kind", "where"), [("growing", "step 2.: .*shape .32, 52, 3."), ("lost", "step 6.: .*None")])
def test_picture_that_changes_names_its_step(
    kind: str, where: str, painted: Callable[..., TrainedPolicy], tmp_path: Path
) -> None:
    with pytest.raises(EvaluationStopped, match=f"seed 4, episode 1, {where}"):
        record(painted(kind=kind), tmp_path / "film.gif", episodes=1, first_seed=4)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "fast", None])
def test_pace_that_is_none(fps: object, painted: Callable[..., TrainedPolicy], tmp_path: Path) -> None:
    record(painted(kind="grey", fps=fps), tmp_path / "film.mp4", episodes=1, first_seed=0)
    assert read(tmp_path / "film.mp4")[1] == 30


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "file:a.gif", "pipe:1.mp4", "-x.mp4", "%03d.mp4", "a b'c\"d [1] é#=?.mp4", "a:b/c.mp4"]
)
def test_file_of_any_name(
    name: str, painted: Callable[..., TrainedPolicy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / name).parent.mkdir(parents=True)
    policy = painted(kind="grey")
    monkeypatch.chdir(here)
    record(policy, name, episodes=1, first_seed=0)
    assert [str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()] == [name]
    assert len(read(here / name)[0]) > 10
