"""From a run folder to one self-contained file that acts as the run's policy, checked against it and timed."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from agents.building import load_agent, networks_of, specification_of
from agents.configuration import TrainingConfiguration
from agents.export.graph import policy_model
from agents.export.onnx_policy import PolicyMetadata, load_onnx
from agents.runs.folder import PolicyName, RunFolder
from agents.runs.normalization import ObservationNormalization
from envs.lookup import check_recorded_environment
from envs.task import with_split
from envs.vectorized.make import make_vec_env
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy, choices_of

SUFFIX = ".onnx"

Step = Callable[[np.ndarray, np.ndarray | None, np.ndarray | None], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""observations, state, episode starts -> actions, means or logits, next state; see `OnnxPolicy.step`."""

OBSERVATIONS, ENVIRONMENTS = 500, 2
"""How many observations of the real environment a file is checked with, and of how many environments they are."""
TOLERANCE = 1e-4
"""Largest difference that rounding may make in one step."""
TIMED_STEPS = 500

PACKAGES = ("torch", "stable-baselines3", "sb3-contrib", "onnx", "onnxruntime", "numpy", "gymnasium")
"""Packages whose versions the file records."""


class UnfaithfulExport(RuntimeError):
    """The written file does not act as the policy does."""


@dataclass(frozen=True)
class Differences:
    """Largest differences of a file from its policy, over the same observations of the environment.

    Differences of actions, or of logits where actions are discrete; of numbers above 1, relative ones.
    """

    one_step: float
    """each step from the state in which the policy makes it; those of the next state count, too"""
    running: float
    """the file carries its own state, so that a policy may amplify rounding from step to step"""


@dataclass(frozen=True)
class Export:
    """A file that was written, and what was measured on it."""

    path: Path
    metadata: PolicyMetadata
    n_bytes: int
    differences: Differences
    microseconds: float
    """of a step of one environment, median"""


def export_policy(
    run: str | Path,
    output: str | Path | None = None,
    which: PolicyName = "best",
    env: str | None = None,
    wrappers: Sequence[str] | None = None,
) -> Export:
    """Write a run's policy as one self-contained file, check it against the policy, and time it.

    :param env: registered id of the run's environment, if it is given anew
    :param wrappers: the run's, if they are given anew
    :param output: the file; by default `policy.onnx` in the run folder
    :param which: best/ or final/ of the run folder
    :raises Refusal: if the folder is no run, a file in it is damaged, its environment is not registered or not the
        one given, nor are the wrappers, or the output cannot be written
    :raises UnfaithfulExport: if the file does not act as the policy does; it is not kept then
    """
    folder = RunFolder.open(run)
    trained, module = folder.read_configuration(), folder.read_module()
    recorded = trained.env
    if env not in (None, recorded):
        raise Refusal(f"`env` {env} does not fit {folder.path}, which was trained in {recorded}: that is needed")
    if wrappers is not None and tuple(wrappers) != trained.wrappers:
        given, needed = (" ".join(texts) or "none" for texts in (wrappers, trained.wrappers))
        raise Refusal(f"`wrappers` {given} does not fit {folder.path}, which was trained with {needed}: that is needed")
    check_recorded_environment(recorded, module)
    policy, normalization, configuration = load_agent(run, which)
    output = _check_output(Path(run) / f"policy{SUFFIX}" if output is None else Path(output))
    metadata = PolicyMetadata(
        env=configuration.env,
        env_arguments=configuration.env_arguments,
        specification=networks_of(
            policy, specification_of(configuration, policy.observation_space, policy.action_space)
        ),
        versions={name: version(name) for name in PACKAGES},
        evaluation=folder.read_figures(which),
        env_module=module,
        choices=None
        if isinstance(policy.action_space, spaces.Box | spaces.Discrete)
        else choices_of(policy.action_space),
        wrappers=configuration.wrappers,
    )
    environments = _environments(configuration)
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        temporary.write_bytes(policy_model(policy, normalization, metadata).SerializeToString())
        step = load_onnx(temporary).step
        differences = compare(step, policy, normalization, environments)
        if not differences.one_step <= TOLERANCE:
            raise UnfaithfulExport(
                f"{output} was not written: it differs by {differences.one_step:.2g} from the policy, "
                f"{TOLERANCE:g} is allowed"
            )
        microseconds = statistics.median(step_microseconds(step, metadata.specification.actor.n_inputs))
        temporary.replace(output)
    except OSError as error:
        raise Refusal(f"`output` {output} cannot be written: {error.strerror}") from None
    finally:
        environments.close()
        with suppress(OSError):  # the one above tells more
            temporary.unlink(missing_ok=True)
    return Export(output, metadata, output.stat().st_size, differences, microseconds)


def compare(
    step: Step, policy: SequencePolicy, normalization: ObservationNormalization | None, environments: VecEnv
) -> Differences:
    """Let the policy act in environments, and the file on the same observations."""
    observations = environments.reset()
    starts = np.ones(environments.num_envs, bool)
    zeros = torch.zeros(1, environments.num_envs, policy.lstm_hidden_state_shape[-1])
    pair = (zeros, zeros)
    running_state: np.ndarray | None = None
    one_step = running = 0.0
    for _ in range(OBSERVATIONS // environments.num_envs):
        assert isinstance(observations, np.ndarray)
        seen = observations if normalization is None else normalization(observations)
        actions, _ = policy.predict(seen, (pair[0].numpy(), pair[1].numpy()), starts, deterministic=True)
        from_policy_state = step(observations, policy.exported_state(pair).numpy(), starts)
        from_own_state = step(observations, running_state, starts)
        with torch.no_grad():
            outputs, pair = policy.step_actor(torch.from_numpy(seen), pair, torch.from_numpy(starts))
        running_state = from_own_state[2]
        compared, expected = 1, outputs.numpy()
        if isinstance(policy.action_space, spaces.Box):  # `actions` may be in a coarser type than the file's
            compared, expected = 0, np.clip(expected, policy.action_space.low.ravel(), policy.action_space.high.ravel())
        one_step = _worst(
            one_step,
            _difference(from_policy_state[compared], expected),
            _difference(from_policy_state[2], policy.exported_state(pair).numpy()),
        )
        running = _worst(running, _difference(from_own_state[compared], expected))
        observations, _, starts, _ = environments.step(actions)
    return Differences(one_step, running)


def _worst(*differences: float) -> float:
    return float(np.max(differences))  # unlike max() it keeps a NaN


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


def step_microseconds(step: Step, n_inputs: int, steps: int = TIMED_STEPS) -> list[float]:
    """Return what each of some steps of one environment takes, arrays in and arrays out, after a few to warm up."""
    observation = np.random.default_rng(0).standard_normal((1, n_inputs)).astype(np.float32)
    start = np.zeros(1, np.float32)
    state, microseconds = None, []
    for _ in range(steps + 20):
        started = time.perf_counter()
        _, _, state = step(observation, state, start)
        microseconds.append(1e6 * (time.perf_counter() - started))
    return microseconds[20:]


def _environments(configuration: TrainingConfiguration) -> VecEnv:
    return make_vec_env(
        configuration.env,
        arguments=with_split(configuration.env, configuration.env_arguments, "test"),
        n_envs=ENVIRONMENTS,
        seed=configuration.seed,
        vectorization="serial",
        training=False,
        wrappers=configuration.wrappers,
    )


def _check_output(output: Path) -> Path:
    """Refuse a file that cannot be written, before anything is computed.

    :raises Refusal: one line that names the output
    """
    if output.suffix != SUFFIX:
        raise Refusal(f"`output` {output} does not fit: a name that ends in {SUFFIX} is needed")
    if not output.parent.is_dir():
        raise Refusal(f"`output` {output} does not fit: {output.parent} is no folder")
    if output.is_dir():
        raise Refusal(f"`output` {output} does not fit: it is a folder")
    if not os.access(output.parent, os.W_OK):
        raise Refusal(f"`output` {output} cannot be written")
    return output
