"""Demonstrations of an expert: python -m benchmarks.expert_demonstrations door-v0.pickle AdroitHandDoor-v1.

Plays the expert policy that the authors of DAPG released (github.com/aravindr93/hand_dapg, dapg/policies) with its own
noise, and writes the episodes as the Minari data set door/dapg-expert-v0 (of pen-v0.pickle, pen/dapg-expert-v0).
Of the pickled file only arrays and tensors are rebuilt; no other code that it names is run.
"""

import argparse
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import gymnasium_robotics
import numpy as np
import torch
from minari import create_dataset_from_buffers
from minari.data_collector.episode_buffer import EpisodeBuffer
from numpy._core import multiarray

FIRST_SEED = 10_000
"""of the environment; episode i is played from FIRST_SEED + i"""
NOISE_SEED = 1

REBUILDS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy.core.multiarray", "scalar"): multiarray.scalar,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): lambda content: torch.load(io.BytesIO(content), weights_only=True),
    ("_codecs", "encode"): str.encode,
    ("collections", "OrderedDict"): OrderedDict,
}
"""Module and name in a pickle -> what stands for it; what is not here becomes an `Inert`."""


class Inert:
    """Stands for an object of any other class: takes arguments and a state, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...


class ArrayUnpickler(pickle.Unpickler):
    """Rebuilds arrays and tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy._core is what was numpy.core when the policies were written.
        known = REBUILDS.get((module.replace("numpy._core", "numpy.core"), name))
        return known or type(name, (Inert,), {})


@dataclass(frozen=True)
class Expert:
    """A network of tanh layers with Gaussian noise about its output.

    :ivar layers: weights (outputs, inputs) and biases (outputs,) of each
    :ivar shift_in: (observation size,), subtracted from an observation, which is then divided by `scale_in`
    :ivar shift_out: (action size,), added to the network's output after it was multiplied by `scale_out`
    :ivar deviations: (action size,) of the noise
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    shift_in: np.ndarray
    scale_in: np.ndarray
    shift_out: np.ndarray
    scale_out: np.ndarray
    deviations: np.ndarray

    @classmethod
    def read(cls, file: Path) -> "Expert":
        """Read a released policy."""
        with file.open("rb") as stream:
            policy = vars(ArrayUnpickler(stream, encoding="latin1").load())
        *layers, log_deviations = map(_array, policy["trainable_params"])
        network = vars(policy["model"])
        return cls(
            tuple(zip(layers[::2], layers[1::2], strict=True)),
            _array(network["in_shift"]),
            _array(network["in_scale"]),
            _array(network["out_shift"]),
            _array(network["out_scale"]),
            np.exp(log_deviations),
        )

    def act(self, observation: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw an action, (action size,) float32 within -1 and 1."""
        signal = (observation - self.shift_in) / (self.scale_in + 1e-8)
        *hidden, last = self.layers
        for weights, biases in hidden:
            signal = np.tanh(weights @ signal + biases)
        mean = (last[0] @ signal + last[1]) * self.scale_out + self.shift_out
        drawn = mean + self.deviations * random.standard_normal(len(mean))
        return np.clip(drawn, -1, 1).astype(np.float32)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.asarray(tensor.detach(), dtype=np.float64)


def record(expert: Expert, env: gym.Env, episodes: int) -> list[EpisodeBuffer]:
    """Play episodes to their ends."""
    random = np.random.default_rng(NOISE_SEED)
    buffers = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=FIRST_SEED + episode)
        observations, steps, done = [observation], [], False
        while not done:
            action = expert.act(observation, random)
            observation, reward, terminated, truncated, _ = env.step(action)
            observations.append(observation)
            steps.append((action, float(reward), terminated, truncated))
            done = terminated or truncated
        actions, rewards, terminations, truncations = zip(*steps, strict=True)
        buffers.append(
            EpisodeBuffer(
                observations=np.asarray(observations, dtype=np.float32),
                actions=np.asarray(actions),
                rewards=list(rewards),
                terminations=list(terminations),
                truncations=list(truncations),
            )
        )
        print(f"  {episode + 1}/{episodes}: return {sum(rewards):,.0f}", flush=True)
    return buffers


def main() -> None:
    """Record and write a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, metavar="FILE", help="TASK-v0.pickle, a released policy")
    parser.add_argument("env", metavar="ID", help="the environment to play in")
    parser.add_argument("--episodes", type=int, default=60)
    given = parser.parse_args()
    env = gym.make(given.env)
    buffers = record(Expert.read(given.policy), env, given.episodes)
    create_dataset_from_buffers(
        f"{given.policy.stem.removesuffix('-v0')}/dapg-expert-v0",
        buffers,
        env=env,
        eval_env=env,
        observation_space=_float32(env.observation_space),
        action_space=_float32(env.action_space),
        algorithm_name="natural policy gradient, the released policy of DAPG's authors, with its own Gaussian noise",
        description=f"Episodes of {given.env}, played by the expert policy that the authors of DAPG released",
    )


def _float32(space: gym.Space) -> gym.spaces.Box:
    assert isinstance(space, gym.spaces.Box)
    return gym.spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)


if __name__ == "__main__":
    gym.register_envs(gymnasium_robotics)
    main()
