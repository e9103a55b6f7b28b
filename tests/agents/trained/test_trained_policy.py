"""Loading a policy to evaluate: from runs and ONNX files, into this or that environment, never trusting a file."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx
import pytest

from agents.building import load_agent
from agents.export.onnx_policy import OnnxPolicy
from agents.trained.policy import load_trained_policy
from envs.lookup import check_environment
from envs.vectorized.make import make_vec_env

MakeRun = Callable[..., Path]
ANOMALY = {"image_size": 12, "sequence_length": 3}


class FourNumbers(gymnasium.Env):
    """Observations and number of outputs as of CartPole, but the actions are numbers."""

    observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


@pytest.fixture(scope="module")
def cartpole(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("cartpole"), "CartPole-v1")


@pytest.fixture(scope="module")
def anomaly(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = ANOMALY | {"split": "train", "render_mode": "rgb_array"}
    return make_run(tmp_path_factory.mktemp("anomaly"), "RandomAnomaly-v0", env_arguments=arguments)


@pytest.fixture(params=["run", "onnx"])
def suffix(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "run" else ".onnx"


@pytest.mark.parametrize("architecture", ["varied", "lstm", "gru"])
@pytest.mark.parametrize("env", ["CartPole-v1", "InvertedPendulum-v5"])
def test_parameters_are_those_that_act(env: str, architecture: str, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, env, architecture=architecture)
    environments = make_vec_env(env, n_envs=3, seed=5, training=False)
    for path in (run, run.with_suffix(".onnx")):
        trained = load_trained_policy(path)
        environments.seed(5)
        observations, state, starts, seen, done = environments.reset(), None, np.ones(3, bool), [], []
        for _ in range(5):
            seen.append(observations)
            normalized = observations if trained.normalization is None else trained.normalization(observations)
            actions, state = trained.policy.predict(normalized, state, starts, deterministic=True)
            done.append(actions)
            observations, _, starts, _ = environments.step(actions)
            assert not starts.any()
        parameters = trained.parameters(np.stack(seen))
        if env == "CartPole-v1":
            np.testing.assert_array_equal(parameters.argmax(axis=-1), done)
        else:
            limits = environments.action_space.low, environments.action_space.high
            np.testing.assert_allclose(np.clip(parameters, *limits), done, atol=1e-5)
    environments.close()


def test_run_and_onnx_are_the_same_policy(cartpole: Path) -> None:
    run, exported = load_trained_policy(cartpole), load_trained_policy(cartpole.with_suffix(".onnx"))
    assert isinstance(exported.policy, OnnxPolicy)
    assert (run.env, run.env_arguments, run.vectorization) == (exported.env, exported.env_arguments, "serial")
    observations = np.random.default_rng(0).normal(size=(9, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(run.parameters(observations), exported.parameters(observations), atol=1e-5)


def test_the_test_split_whatever_was_trained_on(anomaly: Path, suffix: str) -> None:
    trained = load_trained_policy(anomaly.with_suffix(suffix))
    assert trained.env_arguments == ANOMALY | {"split": "test"}
    assert trained.vectorization == "batched"


@pytest.mark.parametrize("name", ["split", "render_mode"])
def test_arguments_that_evaluation_sets(name: str, anomaly: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match=f"env_arguments {name}=train"):
        load_trained_policy(anomaly.with_suffix(suffix), env_arguments={name: "train"})


def test_arguments_are_for_their_environment(cartpole: Path, anomaly: Path, suffix: str) -> None:
    trained = load_trained_policy(anomaly.with_suffix(suffix), env_arguments={"kinds": "none,blur"})
    assert trained.env_arguments == ANOMALY | {"split": "test", "kinds": "none,blur"}
    trained = load_trained_policy(
        cartpole.with_suffix(suffix), env="CartPole-v0", env_arguments={"max_episode_steps": 9}
    )
    assert (trained.env, trained.env_arguments) == ("CartPole-v0", {"max_episode_steps": 9})
    with pytest.raises(ValueError, match="observations of size 2,500"):
        load_trained_policy(anomaly.with_suffix(suffix), env="RandomAnomaly-v0", env_arguments={"image_size": 50})


def test_digits_that_are_gone_can_be_replaced(make_run: MakeRun, tmp_path: Path, suffix: str) -> None:
    digits = tmp_path / "digits.npz"
    np.savez(digits, x=np.zeros((200, 8, 8), np.uint8), y=np.arange(200) % 2)
    path = make_run(tmp_path, "RandomAnomaly-v0", env_arguments=ANOMALY | {"source": str(digits)}).with_suffix(suffix)
    digits.unlink()
    with pytest.raises(ValueError, match="does not exist"):
        load_trained_policy(path)
    assert load_trained_policy(path, env_arguments={"source": "digits"}).env_arguments["source"] == "digits"


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ("AdroitHandHammer-v1", "observations of size 46 and 26 continuous actions"),
        ("LunarNothing-v0", "observations of size 4 and 2 continuous actions"),
        ("Acrobot-v1", "observations of size 6 and 3 choices"),
    ],
)
def test_other_shapes_are_refused(env: str, found: str, cartpole: Path, suffix: str) -> None:
    gymnasium.register("LunarNothing-v0", FourNumbers)
    try:
        with pytest.raises(ValueError, match=f"does not fit {env}.*size 4 and 2 choices.*{found}"):
            load_trained_policy(cartpole.with_suffix(suffix), env=env)
    finally:
        del gymnasium.registry["LunarNothing-v0"]


def test_environment_of_a_module_of_ones_own(
    cartpole: Path, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (tmp_path / "run").with_suffix(suffix)
    if suffix:
        model = onnx.load(cartpole.with_suffix(suffix))
        next(entry for entry in model.metadata_props if entry.key == "env").value = '"OwnCartPole-v0"'
        onnx.save(model, path)
    else:
        shutil.copytree(cartpole, path)
        text = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(text.replace("env: CartPole-v1", "env: OwnCartPole-v0"))
    with pytest.raises(ValueError, match="env MODULE:OwnCartPole-v0"):
        load_trained_policy(path)
    (tmp_path / "own_cartpole.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('OwnCartPole-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert load_trained_policy(path, env=check_environment("own_cartpole:OwnCartPole-v0")).env == "OwnCartPole-v0"
    finally:
        gymnasium.registry.pop("OwnCartPole-v0", None)
        sys.modules.pop("own_cartpole", None)


def test_what_is_neither_run_nor_onnx(cartpole: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a run folder nor an .onnx file"):
        load_trained_policy(cartpole / "config.yaml")
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ValueError, match="is no run folder"):
            load_trained_policy(path)
    with pytest.raises(ValueError, match="which final"):
        load_trained_policy(cartpole.with_suffix(".onnx"), which="final")


def test_which(cartpole: Path, tmp_path: Path) -> None:
    shutil.copytree(cartpole, tmp_path / "run")
    assert load_trained_policy(tmp_path / "run", which="final").source == tmp_path / "run" / "final"
    shutil.rmtree(tmp_path / "run" / "final")
    assert load_trained_policy(tmp_path / "run").source == tmp_path / "run" / "best"
    with pytest.raises(ValueError, match=r"holds no final/policy.safetensors"):
        load_trained_policy(tmp_path / "run", which="final")


class Planted:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (str(self.marker),)


@pytest.fixture
def victim(cartpole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A run to be damaged, with its ONNX file beside it, and a folder that appears if anything planted has run."""
    shutil.copytree(cartpole, tmp_path / "run")
    shutil.copy(cartpole.with_suffix(".onnx"), tmp_path / "run.onnx")
    marker = tmp_path / "marker"
    (tmp_path / "planted_module.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "run", marker
    assert "planted_module" not in sys.modules


FILES = ["config.yaml", "network.json", "best/policy.safetensors", "best/normalization.json", "../run.onnx"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "content", ["pickle", "empty", "zeros", "brackets", "deep", "torn", "swapped", "gone", "folder"]
)
def test_damaged_and_foreign_files(file: str, content: str, victim: tuple[Path, Path]) -> None:
    run, marker = victim
    target = run / file
    whole = target.read_bytes()
    third = len(whole) * 2 // 3
    # Cut at the end of a line YAML stays valid; what is left of the next key is none.
    torn = whole.index(b"\n", third) + 4 if file == "config.yaml" else third
    target.unlink()
    if content == "folder":
        target.mkdir()
    elif content != "gone":
        target.write_bytes(
            {
                "pickle": pickle.dumps(Planted(marker)),
                "empty": b"",
                "zeros": bytes(4096),
                "brackets": b"[]",
                "deep": b"[" * 100_000,
                "torn": whole[:torn],
                "swapped": (run / FILES[FILES.index(file) - 1]).read_bytes(),
            }[content]
        )
    with pytest.raises((ValueError, OSError), match=r"\w") as caught:
        load_trained_policy(run.with_suffix(".onnx") if file.endswith(".onnx") else run)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "line",
    [
        "env: !!python/object/apply:os.mkdir [MARKER]",
        "env: CartPole-v1\nenv_arguments: !!python/object/new:os.mkdir [MARKER]",
        "env: CartPole-v1\nenv_arguments: {max_episode_steps: !!python/object/apply:os.mkdir [MARKER]}",
        "env: CartPole-v1\n!!python/object/apply:os.mkdir [MARKER]: 1",
        "env: CartPole-v1\nrun_name: !!python/module:planted_module ''",
        "env: planted_module:CartPole-v1",
        "env: CartPole-v1\nenv_arguments: {entry_point: 'planted_module:Env'}",
        "env: CartPole-v1\nenv_arguments: {id: 'planted_module:Env-v0'}",
    ],
)
def test_nothing_planted_in_a_configuration_runs(line: str, victim: tuple[Path, Path]) -> None:
    run, marker = victim
    rest = [entry for entry in (run / "config.yaml").read_text().splitlines() if not entry.startswith("env")]
    (run / "config.yaml").write_text("\n".join([line.replace("MARKER", str(marker)), *rest]))
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_trained_policy(run)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "entries",
    [
        {"env": "planted_module:CartPole-v1"},
        {"env": "NoSuchEnvironment-v0"},
        {"env_arguments": {"entry_point": "planted_module:Env"}},
    ],
)
def test_nothing_planted_in_metadata_runs(entries: dict[str, Any], victim: tuple[Path, Path]) -> None:
    run, marker = victim
    model = onnx.load(run.with_suffix(".onnx"))
    for entry in model.metadata_props:
        if entry.key in entries:
            entry.value = json.dumps(entries[entry.key])
    onnx.save(model, run.with_suffix(".onnx"))
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_trained_policy(run.with_suffix(".onnx"))
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_statistics_that_the_policy_needs(victim: tuple[Path, Path]) -> None:
    run, _ = victim
    (run / "best" / "normalization.json").unlink()
    with pytest.raises(ValueError, match=r"holds no best/normalization.json"):
        load_agent(run)


def test_configuration_of_another_network(victim: tuple[Path, Path]) -> None:
    run, _ = victim
    text = (run / "config.yaml").read_text()
    # Of such a network not even the positions of the weights would fit into memory.
    (run / "config.yaml").write_text(text.replace("budget: 600", "budget: 600000000000"))
    with pytest.raises(ValueError, match=r"config.yaml and network.json describe different networks"):
        load_agent(run)
