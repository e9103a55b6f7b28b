"""Small Minari data sets for tests, recorded in real environments."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer


def record(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    env_id: str = "Pendulum-v1",
    episodes: int = 6,
    steps: int = 30,
    dataset: str = "test/made-v0",
) -> Path:
    """Record episodes of a simple controller, write them as a Minari data set and return its folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    env = gym.make(env_id, max_episode_steps=steps)
    buffers = []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        buffer = EpisodeBuffer(
            id=seed, observations=[observation], actions=[], rewards=[], terminations=[], truncations=[]
        )
        done = False
        while not done:
            action = controller(env_id, observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            buffer.observations.append(observation)
            buffer.actions.append(action)
            buffer.rewards.append(float(reward))
            buffer.terminations.append(terminated)
            buffer.truncations.append(truncated)
            done = terminated or truncated
        buffers.append(buffer)
    write(dataset, buffers, env.observation_space, env.action_space)
    return folder / dataset


def write(dataset: str, buffers: list[EpisodeBuffer], observation_space: gym.Space, action_space: gym.Space) -> None:
    """Write episodes as a Minari data set without an environment's name."""
    create_dataset_from_buffers(
        dataset,
        buffers,
        observation_space=observation_space,
        action_space=action_space,
        algorithm_name="a controller",
        author="tests",
        author_email="tests@example.org",
        code_permalink="https://example.org",
    )


def controller(env_id: str, observation: np.ndarray) -> np.ndarray | int:
    """Return a fixed controller's action: half of Pendulum's are clipped at a bound; CartPole's balances."""
    if env_id == "Pendulum-v1":
        cos, sin, velocity = observation
        return np.clip([-8.0 * sin - 1.0 * velocity], -2.0, 2.0).astype(np.float32)
    _, velocity, angle, angular = observation
    return int(angle + 0.5 * angular + 0.05 * velocity > 0)
