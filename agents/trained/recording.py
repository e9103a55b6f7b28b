"""Videos of a trained policy, rendered off-screen or drawn by the task, written by ffmpeg; still pictures."""

import dataclasses
import itertools
import math
import numbers
import pkgutil
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from agents.evaluation import LONGEST_EPISODE, play_episodes
from agents.extras import require
from agents.trained.failures import explained_failures
from agents.trained.policy import TrainedPolicy
from agents.trained.report import check_episodes
from agents.training import evaluation_environments, torch_threads
from envs import contract
from envs.contract import EnvironmentFailure
from envs.episode import PlayedEpisode
from envs.lookup import check_render_mode, float32_space, make_environment
from envs.rendering import prepare_off_screen_rendering
from envs.task import task_of
from envs.vectorized.finite import all_finite, first_not_finite, refuse_observation
from policies.refusal import Refusal
from policies.streams import say

MOST_FRAMES_PER_SECOND = {".mp4": 50.0, ".gif": 20.0}
"""An environment that is rendered faster loses frames, not pace."""

MOST_IN_A_PICTURE = 20
"""Episodes one below the other."""

_ENCODING: dict[str, dict[str, Any]] = {
    # H.264 with two pixels to a colour wants an even width and height.
    ".mp4": {"output_params": ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-movflags", "+faststart"]},
    # One palette for the whole film, dithered by a fixed pattern, which compresses well.
    ".gif": {
        "codec": "gif",
        "pix_fmt_out": "pal8",
        "output_params": ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=bayer:bayer_scale=4"],
    },
}


def record(
    policy: TrainedPolicy, path: str | Path, *, episodes: int, first_seed: int, deterministic: bool = True
) -> None:
    """Record episodes seeded first_seed, first_seed + 1, … as a video, or as a still picture if the task draws one.

    The film plays at the environment's own pace, or is the task's own; see `envs.task.Task`.

    :param path: .mp4 or .gif, .png for a still picture; replaces a file that exists, when all is done
    :param deterministic: see `agents.trained.report.evaluate_policy`
    :raises Refusal: before anything is played, if the path does not fit or cannot be written, the environment
        renders no pictures, or a library that it takes is missing
    """
    path = Path(path)
    check_episodes(policy, episodes, first_seed, deterministic, field="video_episodes")
    task = task_of(policy.env)
    if policy.wrappers:  # what the task draws are its own observations
        task = dataclasses.replace(task, still=None, film=None)
    suffixes = tuple(_ENCODING) if task.still is None else (*_ENCODING, ".png")
    if path.suffix not in suffixes:
        raise Refusal(f"`video` {path} does not fit {policy.env}: {' or '.join(suffixes)} is needed at its end")
    if path.suffix == ".png" and episodes > MOST_IN_A_PICTURE:
        raise Refusal(
            f"`video_episodes` {episodes} does not fit {path}: "
            f"a still picture has room for {MOST_IN_A_PICTURE}, .mp4 or .gif for more"
        )
    if path.suffix in _ENCODING:
        require("video", "`video`")
    whole = written_whole(path)
    with whole as unfinished, explained_failures(), torch_threads("cpu"), torch.random.fork_rng(devices=()):
        torch.manual_seed(first_seed)
        drawing = task.still if path.suffix == ".png" else task.film
        if drawing is not None:
            played = play(policy, episodes=episodes, first_seed=first_seed, deterministic=deterministic)
            for index, episode in enumerate(played):
                if not episode.over:
                    _say_cut(first_seed + index)
            drawn = pkgutil.resolve_name(drawing)(played, policy.parameters)
            if path.suffix == ".png":
                drawn.savefig(unfinished)
            else:
                write_video(unfinished, *drawn)
        else:
            with ExitStack() as cleanup:
                environment = _rendering_environment(policy)
                cleanup.callback(contract.close, environment)
                fps, every = thinned(_pace(environment), path.suffix)
                seeds = range(first_seed, first_seed + episodes)
                write_video(unfinished, _frames(policy, environment, seeds, every, deterministic), fps)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file to write that takes the place of `path` when all is done; nothing is left of it if that fails.

    :raises Refusal: at once, if it cannot be written
    """
    unfinished = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.unfinished{path.suffix}")
    if path.is_dir():
        raise Refusal(f"`video` {path} cannot be written: it is a folder")
    try:
        unfinished.touch()
    except OSError as error:
        raise Refusal(f"`video` {path} cannot be written: {error.strerror}") from None
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write a film as its name's ending says, .mp4 (H.264) or .gif (endless).

    :param frames: at least one; (height, width, 3) uint8, all of one size
    """
    import imageio_ffmpeg

    frames = iter(frames)
    first = next(frames)
    size = first.shape[1], first.shape[0]
    # Of a relative path ffmpeg takes what stands before a colon for a protocol.
    writer = imageio_ffmpeg.write_frames(
        path.absolute(), size, fps=fps, macro_block_size=1, ffmpeg_log_level="error", **_ENCODING[path.suffix]
    )
    with closing(writer):
        writer.send(None)  # starts ffmpeg
        for frame in itertools.chain([first], frames):
            writer.send(np.ascontiguousarray(frame))


def thinned(fps: float, suffix: str) -> tuple[float, int]:
    """Return how many frames per second a film has of an environment rendered at `fps`, and each how many-th it is."""
    every = math.ceil(fps / MOST_FRAMES_PER_SECOND[suffix])
    return fps / every, every


def play(policy: TrainedPolicy, *, episodes: int, first_seed: int, deterministic: bool = True) -> list[PlayedEpisode]:
    """Play the episodes of an evaluation with the same seeds, and keep what was seen and done."""
    environments = evaluation_environments(
        policy.env, policy.env_arguments, episodes, policy.vectorization, policy.wrappers
    )
    with closing(environments):
        return play_episodes(
            policy.policy,
            environments,
            episodes=episodes,
            first_seed=first_seed,
            normalization=policy.normalization,
            deterministic=deterministic,
            keep=episodes,
        )


def _rendering_environment(policy: TrainedPolicy) -> gymnasium.Env:
    """Make the environment so that it renders, and show that it does.

    :raises Refusal: if it does not
    """
    check_render_mode(policy.env, policy.env_arguments, "rgb_array", policy.wrappers)
    environment = make_environment(policy.env, {**policy.env_arguments, "render_mode": "rgb_array"}, policy.wrappers)
    if hasattr(environment.unwrapped, "mujoco_renderer"):
        prepare_off_screen_rendering()
    with failing(0, 0):
        environment.reset(seed=0)
    try:
        contract.render(environment)
    except Exception as error:
        contract.close(environment)
        why = str(error) if isinstance(error, contract.Unfit) else f"{type(error).__name__}: {error}"
        raise Refusal(f"`video`: {policy.env} cannot be rendered here: {why}") from error
    return environment


def _pace(environment: gymnasium.Env) -> float:
    """Return how many frames an environment shows per second; 30 if it does not say."""
    fps = environment.metadata.get("render_fps")
    return float(fps) if isinstance(fps, numbers.Real) and 0 < float(fps) < math.inf else 30.0


def _frames(
    policy: TrainedPolicy, environment: gymnasium.Env, seeds: Iterable[int], every: int, deterministic: bool
) -> Iterator[np.ndarray]:
    """Play an episode per seed; return each `every`-th step's picture, and the last one's."""
    assert isinstance(environment.observation_space, Box)
    space = float32_space(environment.observation_space)
    size: tuple[int, ...] | None = None
    for seed in seeds:
        state, steps, over = None, 0, False
        with failing(seed, steps):
            observation, _ = contract.reset(environment, space, seed=seed)
            picture = contract.render(environment, size)
        size = picture.shape
        yield picture
        while not over:
            if steps == LONGEST_EPISODE:
                _say_cut(seed)
                break
            seen = observation[None]
            if not all_finite(seen):
                refuse_observation(f"environment 0 (seed {seed}, episode 1, step {steps})", first_not_finite(seen)[1])
            seen = policy.normalized(seen)
            action, state = policy.policy.predict(seen, state, np.array([steps == 0]), deterministic=deterministic)
            steps += 1
            with failing(seed, steps):
                returned, _, terminated, truncated, _ = contract.step(environment, action[0])
                observation = contract.as_observation(returned, space)
            over = terminated or truncated
            if over or steps % every == 0:
                with failing(seed, steps):
                    picture = contract.render(environment, size)
                yield picture


def _say_cut(seed: int) -> None:
    say(f"note: the episode of seed {seed} is not over after {LONGEST_EPISODE:,} steps; what is drawn of it ends there")


@contextmanager
def failing(seed: int, step: int) -> Iterator[None]:
    """Name the episode in which the environment raises, or returns what does not fit."""
    try:
        yield
    except Exception as error:
        raise EnvironmentFailure(0, seed, 1, step, error) from None
