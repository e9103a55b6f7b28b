"""Short trainings of which the same seed must give the same run, bit by bit, whatever becomes of the code.

    python -m tests.same_runs --record    # writes tests/data/same_runs.json anew

That is allowed where a change is meant to change runs, or where the pinned versions of packages change: on the commit
before the change the recorded figures must still hold, and the message of the commit that records new ones says why
runs differ. A change that only moves, renames or speeds up code never writes the file.

Bits depend on the processor and on package versions. Where these are the recorded ones, everything must be equal;
elsewhere the norms of the weights and of the normalization statistics and the returns must agree to a part in a
thousand. The trainings are short enough for that: no difference in rounding grows so much in them.
"""

import hashlib
import json
import platform
import runpy
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import llvmlite.binding
import numba
import numpy as np
import pytest
import safetensors.numpy
import torch
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "tests" / "data" / "same_runs.json"
TOLERANCE = 1e-3
PACKAGES = (
    *("torch", "numba", "llvmlite", "numpy", "scipy", "mujoco", "gymnasium", "gymnasium-robotics"),
    *("stable-baselines3", "sb3-contrib", "opencv-python-headless", "scikit-learn", "onnxruntime"),
)

ALWAYS = ("--device", "cpu", "--no-progress")

Figures = dict[str, Any]

_POLE = (
    "--env CartPole-v1 --budget 500 --n-envs 4 --n-steps 32 --batch-size 64 --n-epochs 3 --total-timesteps 384 "
    "--eval-every 128 --eval-episodes 4"
)
_HAMMER = (
    "--env AdroitHandHammer-v1 --env-arg max_episode_steps=20 --budget 5000 --n-envs 4 --n-steps 25 --batch-size 50 "
    "--n-epochs 2 --total-timesteps 300 --eval-every 100 --eval-episodes 3"
)
_STEADY = "--learning-rate-schedule constant --self-imitation 0 --grad-clipping joint"
_ANOMALY = (
    "--env RandomAnomaly-v0 --env-arg image_size=16 --env-arg sequence_length=4 --budget 4000 --n-envs 16 --n-steps 5 "
    "--batch-size 40 --total-timesteps 240 --eval-every 80 --eval-episodes 32"
)
RUNS = {
    "cartpole varied": f"{_POLE} --seed 1",
    "cartpole lstm": f"{_POLE} --seed 2 --architecture lstm",
    "hammer varied": f"{_HAMMER} --seed 3 --hidden-proportion 0.5 --reward registered {_STEADY}",
    "hammer dense": f"{_HAMMER} --seed 4 --architecture dense --reward corrected {_STEADY}",
    "hammer demonstrations": (
        f"{_HAMMER} --seed 5 --hidden-proportion 0.3 --demos demonstrations --demo-epochs 3 --critic-rollouts 1 "
        "--target-kl 0.5"
    ),
    "anomaly varied": f"{_ANOMALY} --seed 6 --hidden-proportion 0.5 --density hx=0.05",
    "anomaly uniform": f"{_ANOMALY} --seed 7 --architecture uniform --uniform-density 0.2",
}
"""Name -> options of train.py."""


def machine() -> dict[str, Any]:
    """Return what the bits of a run depend on."""
    return {
        "processor": numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "versions": {name: version(name) for name in PACKAGES},
    }


def call(script: str, *words: str, patch: pytest.MonkeyPatch) -> int:
    """Run one of the commands in this process as `python SCRIPT WORDS` would, and return its exit code."""
    patch.setattr(sys, "argv", [script, *words])
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def train(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Train one of the runs in a folder and return its run folder."""
    patch.chdir(folder)
    options = RUNS[name].split()
    if "--demos" in options:
        record_demonstrations(folder / "demonstrations", patch)
    code = call("train.py", *options, "--log-dir", "runs", "--run-name", "run", *ALWAYS, patch=patch)
    assert code == 0
    return folder / "runs" / options[options.index("--env") + 1] / "run"


def record_demonstrations(
    folder: Path,
    patch: pytest.MonkeyPatch,
    env_id: str = "gymnasium_robotics:AdroitHandHammer-v1",
    episodes: int = 3,
    steps: int = 20,
) -> None:
    """Record episodes of small random actions as a Minari data set, `folder/data`."""
    with gym.make(env_id, max_episode_steps=steps) as env:
        buffers = []
        for seed in range(episodes):
            generator = np.random.default_rng(seed)
            observation, _ = env.reset(seed=seed)
            buffer = EpisodeBuffer(
                id=seed, observations=[observation], actions=[], rewards=[], terminations=[], truncations=[]
            )
            for _ in range(steps):
                action = _random_action(env.action_space, generator)
                observation, reward, terminated, truncated, _ = env.step(action)
                buffer.observations.append(observation)
                buffer.actions.append(action)
                buffer.rewards.append(float(reward))
                buffer.terminations.append(terminated)
                buffer.truncations.append(truncated)
                if terminated or truncated:
                    break
            buffers.append(buffer)
        patch.setenv("MINARI_DATASETS_PATH", str(folder.resolve().parent))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it minds that there is no description
            create_dataset_from_buffers(
                f"{folder.name}/random-v0",
                buffers,
                observation_space=env.observation_space,
                action_space=env.action_space,
                algorithm_name="random actions",
                author="tests",
                author_email="tests@example.org",
                code_permalink="https://example.org",
            )
    (folder / "random-v0" / "data").rename(folder / "data")


def _random_action(space: gym.Space, generator: np.random.Generator) -> Any:
    if isinstance(space, gym.spaces.Discrete):
        return int(generator.integers(space.n))
    return generator.uniform(-0.3, 0.3, space.shape).astype(space.dtype)


def figures_of(run: Path) -> Figures:
    """Return what a run came to: digests of its final policy, and the numbers that sum it up."""
    tensors = safetensors.numpy.load((run / "final" / "policy.safetensors").read_bytes())
    statistics = run / "final" / "normalization.json"
    normalization = (
        {name: np.asarray(value, np.float64) for name, value in json.loads(statistics.read_text()).items()}
        if statistics.is_file()
        else {}
    )
    result = json.loads((run / "result.json").read_text())
    return {
        "policy": digest(tensors),
        "normalization": digest(normalization),
        "norms": {name: norm(array) for name, array in sorted((tensors | normalization).items())},
        "returns": [point["mean_return"] for point in (*result["curve"], result["final"])],
    }


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays by their names, types, shapes and bytes."""
    result = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        result.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return result.hexdigest()


def norm(array: np.ndarray) -> float:
    """Return the root of the sum of squares."""
    return float(np.linalg.norm(array.astype(np.float64)))


def check(found: Figures, recorded: Figures, recorded_on: dict[str, Any], returns: float = TOLERANCE) -> None:
    """Demand equality where the machine is the recorded one, else agreement of everything that is no digest.

    :param returns: relative tolerance of the returns
    """
    if machine() == recorded_on:
        assert found == recorded
        return
    assert found.keys() == recorded.keys()
    # Other versions of MuJoCo step a little otherwise, by more than roundings.
    other_physics = machine()["versions"]["mujoco"] != recorded_on["versions"]["mujoco"]
    weights_tolerance = 20 * TOLERANCE if other_physics else TOLERANCE
    for name, value in recorded.items():
        if name in ("returns", "norms", "mean_return", "mean_length"):
            tolerance = weights_tolerance if name == "norms" else returns
            assert found[name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
        elif name not in ("policy", "normalization"):
            assert found[name] == value, name


def _record() -> None:
    runs = {}
    for name in RUNS:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            runs[name] = figures_of(train(name, Path(folder), patch))
    RECORDS.parent.mkdir(exist_ok=True)
    RECORDS.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit("python -m tests.same_runs --record writes tests/data/same_runs.json anew; see its docstring first")
    _record()
