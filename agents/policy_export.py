"""From a run folder to one ONNX file."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agents.agent_building import load_agent, specification_of
from agents.onnx_policy import PolicyMetadata
from agents.policy_graph import policy_model
from agents.run_folder import Which

EXPORT_PACKAGES = ("onnx", "onnxruntime", "torch", "stable-baselines3", "sb3-contrib", "gymnasium")


def export_policy(run: str | Path, output: str | Path, which: Which = "best") -> None:
    """Write a run's policy as one self-contained ONNX file.

    :param which: best/ or final/ of the run folder
    :raises ValueError: if the folder is no run or a file in it is damaged
    """
    policy, normalization, configuration = load_agent(run, which)
    metadata = PolicyMetadata(
        env=configuration.env,
        env_arguments=configuration.env_arguments,
        specification=specification_of(configuration, policy.observation_space, policy.action_space),
        versions={name: version(name) for name in EXPORT_PACKAGES},
        evaluation=_evaluation(Path(run), which),
    )
    Path(output).write_bytes(policy_model(policy, normalization, metadata).SerializeToString())


def _evaluation(run: Path, which: Which) -> dict[str, Any]:
    """Return the run's own figures of a policy; none if the training did not end."""
    file = run / "result.json"
    return json.loads(file.read_text())[which] if file.is_file() else {}
