"""Let an exported policy act for one episode, with numpy, onnxruntime and gymnasium alone.

    python examples/run_policy.py policy.onnx
    python examples/run_policy.py policy.onnx gymnasium_robotics:AdroitHandHammer-v1

The second argument is for an environment that a module has to register first.
"""

import ast
import json
import os
import sys
from typing import Any

import gymnasium
import numpy as np
import onnxruntime
from gymnasium import spaces


def argument(value: Any) -> Any:
    """Return an argument of the environment from its form in the file: what JSON lacks stands as a Python literal."""
    if isinstance(value, list):
        return [argument(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if [*value] == ["python literal"]:
        return ast.literal_eval(value["python literal"])
    return {name: argument(entry) for name, entry in value.items()}


def flat(space: gymnasium.Space, observation: Any) -> np.ndarray:
    """Return an observation as the policy takes it: laid out as Gymnasium flattens it, bytes scaled to [0, 1]."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([flat(part, observation[name]) for name, part in space.items()])
    if isinstance(space, spaces.Tuple):
        return np.concatenate([flat(part, value) for part, value in zip(space, observation, strict=True)])
    row = np.asarray(spaces.utils.flatten(space, observation), np.float32)
    pixels = isinstance(space, spaces.Box) and space.dtype == np.uint8 and (space.low == 0).all()
    return row / np.float32(255) if pixels and (space.high == 255).all() else row


sys.path.append(os.getcwd())  # a module of yours may lie here
session = onnxruntime.InferenceSession(sys.argv[1])
metadata = session.get_modelmeta().custom_metadata_map
env_id = sys.argv[2] if len(sys.argv) > 2 else json.loads(metadata["env"])
if env_id not in gymnasium.registry and ":" not in env_id:
    module = json.loads(metadata.get("env_module", '"MODULE"'))
    sys.exit(
        f"{env_id} is not registered with Gymnasium: name its module as well, as in {sys.argv[1]} {module}:{env_id}"
    )
if wrappers := json.loads(metadata.get("wrappers", "[]")):
    sys.exit(f"{sys.argv[1]} sees {env_id} through {', '.join(wrappers)}: make it with these, the first innermost")
arguments = {name: argument(value) for name, value in json.loads(metadata["env_arguments"]).items()}
environment = gymnasium.make(env_id, **arguments)

observation, _ = environment.reset(seed=0)
state = np.zeros((1, session.get_inputs()[1].shape[1]), np.float32)
episode_start = np.ones(1, np.float32)
total, steps, over = 0.0, 0, False
while not over:
    inputs = {
        "observation": flat(environment.observation_space, observation)[None],
        "state": state,
        "episode_start": episode_start,
    }
    action, state = session.run(["action", "next_state"], inputs)
    chosen = action[0].reshape(environment.action_space.shape)
    if isinstance(environment.action_space, spaces.Box):  # its bounds may be finer than float32
        chosen = np.clip(chosen, environment.action_space.low, environment.action_space.high)
    chosen = chosen.astype(environment.action_space.dtype)
    observation, reward, terminated, truncated, _ = environment.step(chosen)
    episode_start[:] = 0
    total, steps, over = total + float(reward), steps + 1, terminated or truncated
print(f"{env_id}: return {total:.2f} after {steps} steps")
