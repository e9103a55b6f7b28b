"""Actions lie inside their space, in its precision and its shape, wherever they come from."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import picky
import pytest
import torch
from conftest import MakeRun
from data_files import ROOT
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib import RecurrentPPO

from agents.configuration import configure
from agents.evaluation import evaluate
from agents.export.export import export_policy
from agents.export.graph import float32_bounds, policy_model
from agents.export.onnx_policy import PolicyMetadata, read_policy
from agents.ppo.imitation import Demonstrations, ImitationLoss
from agents.trained.policy import load_trained_policy
from agents.training import train
from envs.vectorized.make import make_vec_env
from policies.gru_policy import GruPolicy
from policies.lstm_policy import LstmPolicy
from policies.refusal import Refusal
from policies.sequence_policy import SequencePolicy
from policies.varied_sparsity_policy import VariedSparsityPolicy

OBSERVATIONS = spaces.Box(-np.inf, np.inf, (3,), np.float32)


def policy(space: spaces.Space, spread: float = 1.0) -> VariedSparsityPolicy:
    """Make a policy whose outputs spread around 0, on both sides of most bounds, and its sampled actions more so."""
    built = VariedSparsityPolicy(OBSERVATIONS, space, lambda _: 1e-3, budget=200, log_std_init=1.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name != "log_std":
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=spread)
    return built


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    """Draw a Box of one to four numbers of any floating type, each with bounds of any size that may be one number."""
    bits = draw(st.sampled_from((16, 32, 64)))
    limit = float(np.finfo(f"float{bits}").max)
    number = st.one_of(*(st.floats(-size, size, width=bits) for size in (2.0, 64.0, limit)))
    pair = st.one_of(st.tuples(number, number), number.map(lambda one: (one, one)))
    pairs = draw(st.lists(pair, min_size=1, max_size=4))
    low, high = np.sort(np.array(pairs, f"float{bits}"), axis=1).T
    return spaces.Box(low, high, dtype=low.dtype.type)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium's, of bounds that it rounds for printing
@given(boxes())
@settings(max_examples=60)
def test_actions_lie_in_any_box(space: spaces.Box) -> None:
    built = policy(space)
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for deterministic in (True, False):
        actions, _ = built.predict(observations, deterministic=deterministic)
        assert all(space.contains(action) for action in actions)

    metadata = PolicyMetadata("Any-v0", {}, built.specification, {}, {})
    exported = read_policy(policy_model(built, None, metadata).SerializeToString())
    single = exported.step(observations)[0].astype(np.float64)
    with np.errstate(over="ignore"):
        nearest = space.low.astype(np.float32)
        candidates = np.stack([nearest, np.nextafter(nearest, np.float32(np.inf))]).astype(np.float64)
    possible = ((candidates >= space.low) & (candidates <= space.high)).any(axis=0)
    assert ((single >= space.low) & (single <= space.high))[:, possible].all()
    exported.action_space = space
    actions, _ = exported.predict(observations)
    assert all(space.contains(action) for action in actions)
    expected, _ = built.predict(observations, deterministic=True)
    np.testing.assert_allclose(actions, expected, rtol=2e-3 if space.dtype == np.float16 else 1e-4, atol=1e-4)


def test_bounds_are_rounded_inwards() -> None:
    low, high = float32_bounds(spaces.Box(np.array([-0.1, 0.1]), np.array([0.7, 0.1]), dtype=np.float64))
    assert low.dtype == high.dtype == np.float32
    assert low[0] == np.nextafter(np.float32(-0.1), np.float32(1))
    assert -0.1 < float(low[0]) < float(high[0]) <= 0.7
    assert low[1] == high[1] == np.float32(0.1)  # no float32 is 0.1
    space = spaces.Box(-0.1, 0.7, (2,), np.float32)
    for found, bound in zip(float32_bounds(space), (space.low, space.high), strict=True):
        np.testing.assert_array_equal(found, bound)


@pytest.mark.parametrize("kind", [VariedSparsityPolicy, LstmPolicy, GruPolicy])
@pytest.mark.parametrize("space", [name for name in picky.SPACES if name != "float16"])
def test_stock_recurrent_ppo_takes_any_space(space: str, kind: type[SequencePolicy]) -> None:
    options: dict = {"budget": 300} if kind is VariedSparsityPolicy else {}
    model = RecurrentPPO(
        kind,
        gymnasium.make("Picky-v0", space=space),
        n_steps=64,
        batch_size=64,
        n_epochs=1,
        policy_kwargs={"noise_correlation": 0.5, "log_std_init": 1.0, **options},
        seed=0,
    )
    model.learn(64)
    # Before its first update a policy finds its own actions as likely as when it drew them.
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0, abs=1e-5)
    observations = OBSERVATIONS.sample()
    assert picky.SPACES[space].contains(np.asarray(model.predict(observations)[0]))


@pytest.mark.parametrize("space", picky.SPACES)
def test_a_run_acts_inside_its_space(space: str, tmp_path: Path) -> None:
    configuration = configure(
        "Picky-v0",
        env_arguments={"space": space},
        budget=300,
        total_timesteps=128,
        n_envs=2,
        n_steps=64,
        batch_size=128,
        n_epochs=1,
        eval_every=128,
        eval_episodes=2,
        progress=False,
        log_dir=str(tmp_path),
        run_name="run",
    )
    assert train(configuration).steps == 128


@pytest.mark.parametrize("space", picky.SPACES)
def test_an_exported_policy_acts_inside_its_space(space: str, tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path, "Picky-v0", env_arguments={"space": space})
    file = export_policy(run, tmp_path / "policy.onnx").path
    returns = []
    for source in (file, run):
        trained = load_trained_policy(source)
        environments = make_vec_env("Picky-v0", arguments=trained.env_arguments, n_envs=2, seed=0, training=False)
        played = evaluate(trained.policy, environments, episodes=4, first_seed=0, normalization=trained.normalization)
        environments.close()
        returns.append(played.mean_return)
    assert returns[0] == pytest.approx(returns[1], abs=0.5)
    example = subprocess.run(
        [sys.executable, str(ROOT / "examples/run_policy.py"), str(file), "picky:Picky-v0"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert example.returncode == 0, example.stderr
    assert example.stdout.endswith("after 20 steps\n")


def test_a_box_of_whole_numbers_is_refused() -> None:
    with pytest.raises(
        Refusal, match="a Box of floats, Discrete, or MultiDiscrete or MultiBinary of one axis is needed"
    ):
        policy(spaces.Box(0, 7, (2,), np.int64))


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([[2, 3]]), spaces.MultiBinary((2, 3)), spaces.Text(3)])
def test_choices_of_several_axes_are_refused(space: spaces.Space) -> None:
    with pytest.raises(Refusal, match="is not supported: a Box of floats, "):
        policy(space)


def test_exported_choices_count_from_the_start() -> None:
    space = spaces.Discrete(3, start=5)
    built = policy(space)
    metadata = PolicyMetadata("Any-v0", {}, built.specification, {}, {})
    exported = read_policy(policy_model(built, None, metadata).SerializeToString())
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    actions, _ = exported.predict(observations)
    np.testing.assert_array_equal(actions, built.predict(observations, deterministic=True)[0])
    assert len(set(actions.tolist())) > 1
    assert all(space.contains(action) for action in actions)


def test_imitation_of_an_action_that_is_always_the_same() -> None:
    space = picky.SPACES["one number"]
    rng = np.random.default_rng(0)
    actions = np.clip(rng.normal(size=(9, 2, 2)), space.low, space.high).astype(np.float32)
    demonstrations = Demonstrations(
        rng.normal(size=(9, 2, 3)).astype(np.float32), actions, np.array([9, 7]), np.zeros(2)
    )
    built = policy(space)
    loss = ImitationLoss(demonstrations, None, space, "cpu")
    value = loss(built, np.arange(2))
    value.backward()
    assert torch.isfinite(value)
    assert loss.log_std.grad[1] == 0
    assert all(torch.isfinite(p.grad).all() for p in built.parameters() if p.grad is not None)
