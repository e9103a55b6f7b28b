"""An exported file acts as the policy does: on recorded observations, and in environments of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import ROOT
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from agents.building import load_agent, policy_recipe, specification_of
from agents.configuration import TrainingConfiguration, configure
from agents.export import export as policy_export
from agents.export.export import UnfaithfulExport, compare, export_policy, step_microseconds
from agents.export.graph import policy_model
from agents.export.onnx_policy import OnnxPolicy, PolicyMetadata, load_onnx, read_policy
from agents.monitoring.callbacks import current_normalization
from agents.runs.folder import RunFolder
from agents.runs.normalization import ObservationNormalization
from agents.training import training_environments
from envs.lookup import environment_spaces
from envs.vectorized.make import make_vec_env
from policies.network.architectures import ARCHITECTURES
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy
from policies.varied_sparsity_policy import VariedSparsityPolicy

BUDGETS = {"AdroitHandHammer-v1": 50_000, "RandomAnomaly-v0": 100_000, "CartPole-v1": 1_500}
LOW_DENSITIES = {"hx": 1.0, "hh": 0.01, "hy": 0.01, "yx": 1.0, "yh": 0.01, "yy": 0.01}


def make_run(folder: Path, env: str, architecture: str = "varied", **options: object) -> Path:
    """Write the folder of a run whose policy is not trained, but far enough from its first weights to act."""
    configuration = configure(
        env, architecture=architecture, log_dir=str(folder), **({"budget": BUDGETS[env], "n_envs": 4} | options)
    )
    run = RunFolder.create(configuration, architecture)
    run.write_configuration(configuration)
    policy = stirred(untrained(configuration), 0.1 if architecture in ("lstm", "gru") else 0.03)
    network = specification_of(configuration, policy.observation_space, policy.action_space)
    run.write_json("network.json", network.to_dict())
    for which in ("best", "final"):
        run.save_policy(which, policy, gathered_statistics(env))
    return run.path


def untrained(configuration: TrainingConfiguration) -> SequencePolicy:
    found = environment_spaces(configuration.env, configuration.env_arguments)
    policy_class, options = policy_recipe(configuration, specification_of(configuration, *found))
    return policy_class(*found, lambda _: 1e-3, **options)


def stirred(policy: SequencePolicy, deviation: float) -> SequencePolicy:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += deviation * torch.randn(parameter.shape, generator=generator)
    policy.set_training_mode(False)
    return policy


@cache
def gathered_statistics(env: str) -> ObservationNormalization | None:
    environments = training_environments(configure(env, n_envs=4))
    environments.reset()
    environments.action_space.seed(0)
    for _ in range(50):
        environments.step(np.array([environments.action_space.sample() for _ in range(4)]))
    environments.close()
    return current_normalization(environments)


@cache
def recorded(env: str) -> tuple[np.ndarray, np.ndarray]:
    """Observations (T, 4, n_x) of random actions in the real environment, and where episodes start (T, 4)."""
    environments = make_vec_env(env, n_envs=4, seed=3, training=False)
    environments.action_space.seed(3)
    observations, starts = [environments.reset()], [np.ones(4, bool)]
    for _ in range(124):
        seen, _, dones, _ = environments.step(np.array([environments.action_space.sample() for _ in range(4)]))
        observations.append(seen)
        starts.append(dones)
    environments.close()
    return np.array(observations), np.array(starts)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("env", BUDGETS)
def test_equal_actions_on_recorded_observations(env: str, architecture: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, env, architecture)
    export = export_policy(run, tmp_path / "policy.onnx")
    assert export.differences.running <= 1e-4
    assert export.n_bytes == (tmp_path / "policy.onnx").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == [env, "policy.onnx"]  # one file, with nothing beside it

    exported = load_onnx(tmp_path / "policy.onnx")
    policy, normalization, _ = load_agent(run)
    state = exported_state = None
    behaviour = set()
    for observations, starts in zip(*recorded(env), strict=True):
        seen = observations if normalization is None else normalization(observations)
        expected, state = policy.predict(seen, state, starts, deterministic=True)
        actions, parameters, next_state = exported.step(observations, exported_state, starts)
        (repeated, (exported_state,)) = exported.predict(
            observations, None if exported_state is None else (exported_state,), starts
        )
        np.testing.assert_array_equal(actions, repeated)
        np.testing.assert_array_equal(next_state, exported_state)
        assert actions.dtype == expected.dtype
        assert actions.shape == expected.shape
        if exported.discrete:
            ranked = np.sort(parameters, axis=1)
            certain = ranked[:, -1] - ranked[:, -2] > 1e-4
            np.testing.assert_array_equal(actions[certain], expected[certain])
        else:
            np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-4)
        behaviour |= {tuple(row) for row in parameters.round(2)}
    assert len(behaviour) > 50


def small_policy(discrete: bool = False, **options: object) -> tuple[SequencePolicy, PolicyMetadata]:
    actions = spaces.Discrete(3) if discrete else spaces.Box(np.float32([-1, -2]), np.float32([1, 0.5]))
    policy = VariedSparsityPolicy(
        spaces.Box(-np.inf, np.inf, (5,)), actions, lambda _: 1e-3, **({"budget": 400, "network_seed": 0} | options)
    )
    return stirred(policy, 0.2), PolicyMetadata("Somewhere-v0", {"n": 3}, policy.specification, {"onnx": "1"}, {})


def read(
    policy: SequencePolicy,
    metadata: PolicyMetadata,
    normalization: ObservationNormalization | None = None,
    *,
    gather: bool = True,
) -> OnnxPolicy:
    return read_policy(policy_model(policy, normalization, metadata, gather=gather).SerializeToString())


def test_rows_of_a_batch_are_independent() -> None:
    exported = read(*small_policy())
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((7, 5)).astype(np.float32)
    state = rng.standard_normal((7, exported.state_size)).astype(np.float32)
    together = exported.step(observations, state)
    for row in range(7):
        alone = exported.step(observations[row : row + 1], state[row : row + 1])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a[0], b[row], atol=1e-6)


@pytest.mark.parametrize("architecture", ["varied", "lstm", "gru"])
def test_an_episode_starts_from_zeros_whatever_the_state_held(architecture: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, "CartPole-v1", architecture)
    exported = load_onnx(export_policy(run).path)
    observations = recorded("CartPole-v1")[0][0]
    wrong = np.full((4, exported.state_size), np.nan, np.float32)
    for a, b in zip(exported.step(observations, wrong, np.ones(4)), exported.step(observations), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isnan(exported.step(observations, wrong, np.zeros(4))[1]).all()


def test_actions_keep_to_uneven_bounds() -> None:
    policy, metadata = small_policy()
    exported = read(policy, metadata)
    observations = 20 * np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)
    actions, means, _ = exported.step(observations)
    np.testing.assert_array_equal(actions, means.clip([-1, -2], [1, 0.5]))
    assert (actions != means).any(axis=0).all()


def test_normalization_far_from_zero_keeps_its_digits() -> None:
    policy, metadata = small_policy()
    rng = np.random.default_rng(0)
    mean = np.array([1e4, -3e3, 17.123456, 0.0, 1e-3])
    normalization = ObservationNormalization(mean, np.array([1e-2, 1.0, 1e-6, 4.0, 0.0]), 10.0, 1e-8)
    exported = read(policy, metadata, normalization)
    observations = (mean + rng.standard_normal((50, 5)) * np.array([0.1, 1, 1e-3, 2, 1e-4])).astype(np.float32)
    expected, _ = policy.predict(normalization(observations), None, np.ones(50), deterministic=True)
    np.testing.assert_allclose(exported.step(observations)[0], expected, atol=1e-5)


def hammer_sized(**options: object) -> tuple[VariedSparsityPolicy, PolicyMetadata]:
    policy = VariedSparsityPolicy(
        spaces.Box(-np.inf, np.inf, (46,)), spaces.Box(-1, 1, (26,)), lambda _: 1e-3, network_seed=0, **options
    )
    return policy, PolicyMetadata("Somewhere-v0", {}, policy.specification, {}, {})


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 400_000, "densities": LOW_DENSITIES},
        {"budget": 100_000, "densities": LOW_DENSITIES, "activation": "tanh"},
        {"budget": 400_000},  # hh alone is gathered
        {"budget": 100_000, "architecture": "uniform", "uniform_density": 0.01},  # every block is
    ],
    ids=["low", "low tanh", "varied", "uniform"],
)
def test_low_density_costs_what_its_weights_cost(options: dict[str, object]) -> None:
    policy, metadata = hammer_sized(**options)
    stirred(policy, 0.01)
    model = policy_model(policy, None, metadata).SerializeToString()
    assert len(model) <= 4e6
    exported, full = read_policy(model), read(policy, metadata, gather=False)
    n_h = policy.actor.n_hidden
    observations = np.random.default_rng(0).standard_normal((20, 3, 46)).astype(np.float32)
    state = exported_state = full_state = None
    for step, observation in enumerate(observations):
        starts = np.array([step == 0, step == 4, False])
        expected, state = policy.predict(observation, state, starts, deterministic=True)
        actions, _, exported_state = exported.step(observation, exported_state, starts)
        full_actions, _, full_state = full.step(observation, full_state, starts)
        np.testing.assert_allclose(actions, expected, atol=1e-4)
        np.testing.assert_allclose(full_actions, expected, atol=1e-4)
        np.testing.assert_allclose(exported_state, state[0][0, :, : n_h + 26], atol=1e-3)
    if "densities" in options:
        assert min(step_microseconds(exported.step, 46, 30)) < 0.5 * min(step_microseconds(full.step, 46, 30))


def test_the_default_network_is_one_matrix_and_fast() -> None:
    policy, metadata = hammer_sized(budget=50_000)
    normalization = ObservationNormalization(np.zeros(46), np.ones(46), 10.0, 1e-8)
    exported = read(policy, metadata, normalization)

    def steps_of(predict: Callable[..., Any]) -> Callable[..., tuple[np.ndarray, None, tuple[np.ndarray, ...] | None]]:
        def step(
            observation: np.ndarray, state: tuple[np.ndarray, ...] | None, starts: np.ndarray
        ) -> tuple[np.ndarray, None, tuple[np.ndarray, ...] | None]:
            action, after = predict(policy, observation, state, starts, deterministic=True)
            return action, None, after

        return step

    fastest = min(step_microseconds(exported.step, 46, 2000))
    assert fastest < min(step_microseconds(steps_of(type(policy).predict), 46, 500))
    assert fastest < 0.25 * min(step_microseconds(steps_of(RecurrentActorCriticPolicy.predict), 46, 500))


def test_metadata_say_what_the_run_said(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, "RandomAnomaly-v0", env_arguments={"sequence_length": 4, "image_size": 12, "kinds": "none,blur"}
    )
    figures = {"episodes": 3, "mean_return": 0.1, "success_rate": None}
    (run / "result.json").write_text(json.dumps({"best": figures | {"steps": 7}, "final": figures}))
    exported = load_onnx(export_policy(run, which="final").path)
    assert exported.env == "RandomAnomaly-v0"
    assert exported.env_arguments == {"sequence_length": 4, "image_size": 12, "kinds": "none,blur"}
    assert (exported.n_inputs, exported.n_outputs, exported.discrete) == (144, 4, True)
    assert exported.metadata.evaluation == figures
    assert exported.metadata.versions["torch"] == torch.__version__
    policy, _, _ = load_agent(run)
    assert isinstance(policy, VariedSparsityPolicy)
    assert exported.metadata.specification == policy.specification
    assert load_onnx(export_policy(run).path).metadata.evaluation == figures | {"steps": 7}


def test_a_file_that_acts_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, "CartPole-v1")
    other = load_onnx(export_policy(make_run(tmp_path / "other", "CartPole-v1", seed=1)).path)
    environments = make_vec_env("CartPole-v1", n_envs=2, seed=0, training=False)
    policy, normalization, _ = load_agent(run)
    assert compare(other.step, policy, normalization, environments).one_step > 1e-2
    monkeypatch.setattr(policy_export, "TOLERANCE", -1.0)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnfaithfulExport, match="differs by"):
        export_policy(run, tmp_path / "policy.onnx")
    assert sorted(tmp_path.rglob("*")) == before


BAD_OUTPUTS = {
    "another suffix": "policy.txt",
    "no such folder": "nowhere/policy.onnx",
    "a folder": "folder.onnx",
    "too long": f"{250 * 'a'}.onnx",
}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
def test_bad_outputs_are_named(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, "CartPole-v1")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(Refusal, match="output"):
        export_policy(run, tmp_path / BAD_OUTPUTS[name])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"best": 3}', "\0", "[" * 100_000])
def test_damaged_figures_are_refused(content: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, "CartPole-v1")
    (run / "result.json").write_text(content)
    with pytest.raises(Refusal, match=r"result\.json is damaged") as caught:
        export_policy(run)
    assert "\n" not in str(caught.value)
    assert not list(run.glob("*policy.onnx*"))


def call(script: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / script), *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_reports_what_it_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path, "CartPole-v1")
    result = call("export.py", str(run), "--output", str(tmp_path / "policy.onnx"))
    assert result.returncode == 0, result.stderr
    assert "µs" in result.stdout
    assert "MB" in result.stdout
    assert "500 observations" in result.stdout


def test_there_is_one_format(tmp_path: Path) -> None:
    result = call("export.py", str(tmp_path), "--format", "torchscript")
    assert result.returncode == 2
    assert result.stderr == "error: unrecognized arguments: --format torchscript\n"


def test_no_run_is_one_line(tmp_path: Path) -> None:
    result = call("export.py", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path} is no run folder: it holds no config.yaml\n"


def blocking(folder: Path, *packages: str) -> str:
    """Write what lets a Python process fail to import packages, and return the folder for its PYTHONPATH."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {packages}:\n"
        "            raise ImportError(f'{name} is not for this environment')\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    return str(folder)


def test_the_example_needs_neither_torch_nor_this_project(tmp_path: Path) -> None:
    export = export_policy(make_run(tmp_path, "CartPole-v1"))
    block = blocking(tmp_path / "block", "torch", "stable_baselines3", "agents", "policies", "envs")
    blocked = call("train.py", "--help", PYTHONPATH=block)
    assert "is not for this environment" in blocked.stderr
    result = call("examples/run_policy.py", str(export.path), PYTHONPATH=block)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("CartPole-v1: return ")


@pytest.mark.parametrize(
    ("env", "module"), [("RandomAnomaly-v0", "envs"), ("AdroitHandHammer-v1", "gymnasium_robotics")]
)
def test_the_example_runs_environments_of_modules_without_torch(env: str, module: str, tmp_path: Path) -> None:
    export = export_policy(make_run(tmp_path, env))
    block = blocking(tmp_path / "block", "torch", "stable_baselines3")
    result = call("examples/run_policy.py", str(export.path), f"{module}:{env}", PYTHONPATH=block)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{module}:{env}: return ")
    unnamed = call("examples/run_policy.py", str(export.path), PYTHONPATH=block)
    assert unnamed.returncode == 1
    assert unnamed.stderr == (
        f"{env} is not registered with Gymnasium: name its module as well, as in {export.path} MODULE:{env}\n"
    )
