"""Any space is trained in, evaluated, exported and resumed: properties of policies, and whole runs."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import picky
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from nested_spaces import ACTION_SPACES, OBSERVATION_SPACES
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from torch import Tensor

from agents.configuration import configure
from agents.export.export import export_policy
from agents.export.graph import policy_model
from agents.export.onnx_policy import PolicyMetadata, read_policy
from agents.ppo.imitation import Demonstrations, ImitationLoss
from agents.runs.folder import RunFolder
from agents.runs.normalization import ObservationNormalization, PartialStatistics
from agents.trained.policy import load_trained_policy
from agents.trained.report import evaluate_policy
from agents.training import train, training_environments
from envs.flattening import FlatBox, FlatObservations
from policies.refusal import Refusal
from policies.sequence_policy import PolicyShapes, choices_of
from policies.varied_sparsity_policy import VariedSparsityPolicy

B, STEPS = 4, 3


def options(folder: Path, env: str, **given: Any) -> dict[str, Any]:
    """Return a configuration of a training of two rollouts."""
    return {
        "env": env,
        "budget": 600,
        "total_timesteps": 128,
        "n_envs": 2,
        "n_steps": 32,
        "batch_size": 64,
        "n_epochs": 1,
        "eval_every": 128,
        "eval_episodes": 2,
        "vectorization": "serial",
        "progress": False,
        "log_dir": str(folder),
        "run_name": "run",
    } | given


def policy(observation_space: spaces.Box, action_space: spaces.Space, seed: int) -> VariedSparsityPolicy:
    """Make a policy whose outputs differ."""
    budget = 200 + 40 * observation_space.shape[0]
    built = VariedSparsityPolicy(observation_space, action_space, lambda _: 1e-3, budget=budget, network_seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return built


def zero_states(built: VariedSparsityPolicy) -> RNNStates:
    zeros = torch.zeros(1, B, built.state_width)
    return RNNStates((zeros, zeros), (zeros, zeros))


def log_probability(action: np.ndarray, outputs: np.ndarray, space: spaces.Space, std: np.ndarray) -> float:
    """Return the sum over the parts of an action, in float64, computed from its definition."""
    x, flat = outputs.astype(np.float64), np.ravel(action)
    if isinstance(space, spaces.Box):
        return float((-0.5 * ((flat - x) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum())
    if isinstance(space, spaces.MultiBinary):
        return float(-np.logaddexp(0, np.where(flat == 1, -x, x)).sum())
    total, first = 0.0, 0
    for chosen, n in zip((flat - np.ravel(space.start)).tolist(), choices_of(space), strict=True):
        logits = x[first : first + n]
        total += logits[chosen] - np.logaddexp.reduce(logits)
        first += n
    assert first == len(x)
    return total


@given(OBSERVATION_SPACES, ACTION_SPACES, st.integers(0, 2**31 - 1))
@settings(max_examples=40)
def test_any_space(observation_space: spaces.Space, action_space: spaces.Space, seed: int) -> None:
    """Actions lie in the space, their log probabilities are sums over parts, and exported actions are the policy's."""
    flat = FlatBox(observation_space)
    observation_space.seed(seed)
    built = policy(flat, action_space, seed)
    torch.manual_seed(seed)
    # Around 1, whatever the bounds are, as normalized observations are.
    rows = [flat.row(observation_space.sample()) for _ in range(STEPS * B)]
    observations = torch.tensor(np.tanh(rows)).view(STEPS, B, -1)
    starts = torch.zeros(STEPS, B)
    starts[0] = 1
    states, actions, log_probs = zero_states(built), [], []
    for seen, start in zip(observations, starts, strict=True):
        with torch.no_grad():
            outputs, _ = built.step_actor(seen, states.pi, start)
            drawn, _, log_prob, states = built(seen, states, start)
        std = torch.exp(built.log_std).detach().numpy() if isinstance(action_space, spaces.Box) else np.ones(0)
        expected = [
            log_probability(action, output, action_space, std)
            for action, output in zip(drawn.numpy(), outputs.numpy(), strict=True)
        ]
        np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-4)
        actions.append(drawn.reshape(B, -1) if not isinstance(action_space, spaces.Discrete) else drawn)
        log_probs.append(log_prob)
    kept = torch.stack(actions)
    _, again, entropy = built.evaluate_sequences(
        observations, kept if isinstance(action_space, spaces.Box) else kept.long(), zero_states(built), starts
    )
    torch.testing.assert_close(again, torch.stack(log_probs), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(entropy).all()

    choices = choices_of(action_space) if isinstance(action_space, spaces.MultiDiscrete | spaces.MultiBinary) else None
    metadata = PolicyMetadata("Any-v0", {}, built.specification, {}, {}, choices=choices)
    exported = read_policy(policy_model(built, None, metadata).SerializeToString())
    assert exported.shapes == PolicyShapes.of(flat, action_space)
    exported.action_space = action_space
    state = exported_state = None
    for seen in observations.numpy():
        drawn, _ = built.predict(seen, state, np.zeros(B, bool))
        assert all(action_space.contains(action) for action in drawn)
        expected, state = built.predict(seen, state, np.zeros(B, bool), deterministic=True)
        found, exported_state = exported.predict(seen, exported_state)
        assert all(action_space.contains(action) for action in found)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        if isinstance(action_space, spaces.Box):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(found, expected)


def test_one_hot_entries_keep_their_values() -> None:
    statistics = PartialStatistics(np.array([True, False]))
    rng = np.random.default_rng(0)
    for _ in range(50):
        statistics.update(np.stack([rng.integers(0, 2, 7), rng.normal(5, 2, 7)], axis=1))
    assert (statistics.mean[0], statistics.var[0]) == (0, 1)
    assert statistics.mean[1] == pytest.approx(5, abs=0.5)
    normalization = ObservationNormalization(statistics.mean, statistics.var, 10.0, 1e-8)
    np.testing.assert_array_equal(normalization(np.float32([[1, 5], [0, 5]]))[:, 0], [1, 0])


@pytest.mark.parametrize("sees", ["nested", "pair", "choices", "bytes"])
def test_normalization_of_a_training(sees: str, tmp_path: Path) -> None:
    given = options(tmp_path, "Picky-v0", env_arguments={"space": "several", "sees": sees}, normalize_observation=True)
    environments = training_environments(configure(**given))
    space = environments.observation_space
    assert isinstance(space, FlatBox)
    environments.reset()
    for _ in range(30):
        seen, *_ = environments.step(np.zeros((2, 3), np.int64))
    raw = environments.get_original_obs()
    np.testing.assert_array_equal(seen[:, space.discrete], raw[:, space.discrete])
    assert (seen[:, ~space.discrete] != raw[:, ~space.discrete]).all()
    environments.close()


@pytest.mark.parametrize("sees", picky.OBSERVATIONS)
def test_a_run_in_any_space(sees: str, tmp_path: Path) -> None:
    """Trained, resumed, loaded, evaluated, exported; the file acts as the run does."""
    given = options(
        tmp_path, "Picky-v0", env_arguments={"space": "several from", "sees": sees}, normalize_observation=True
    )
    run = train(configure(**given)).path
    longer = configure(**given | {"total_timesteps": 192})
    assert train(longer, resume=RunFolder.open(run)).steps == 192
    statistics = json.loads((run / "final" / "normalization.json").read_text())
    space = FlatBox(picky.OBSERVATIONS[sees]) if sees != "numbers" else None
    kept = space.discrete if space is not None else np.zeros(3, bool)
    np.testing.assert_array_equal(np.array(statistics["mean"])[kept], 0)
    np.testing.assert_array_equal(np.array(statistics["variance"])[kept], 1)
    export = export_policy(run, which="final")
    assert export.differences.running < 1e-4
    reports = [
        evaluate_policy(load_trained_policy(path, which=which), episodes=3, first_seed=5)
        for path, which in ((export.path, None), (run, "final"))
    ]
    assert reports[0].evaluation.mean_return == reports[1].evaluation.mean_return


def test_a_policy_is_for_its_choices_alone(tmp_path: Path) -> None:
    """Three outputs alone do not say what they choose between."""
    run = train(configure(**options(tmp_path, "Picky-v0", env_arguments={"space": "yes or no"}))).path
    for path in (run, export_policy(run).path):
        with pytest.raises(Refusal, match="is for .* and 3 times yes or no, the environment has .* and 3 choices"):
            load_trained_policy(path, env_arguments={"space": "from 5"})
        assert load_trained_policy(path).env_arguments["space"] == "yes or no"


GOALS = [
    "FetchReach-v4",
    "FetchPickAndPlaceDense-v4",
    "HandReach-v3",
    "HandManipulateBlock_BooleanTouchSensors-v1",
    "PointMaze_UMaze-v3",
    "AntMaze_UMaze-v5",
    "FrankaKitchen-v1",
]


@pytest.mark.parametrize("env", GOALS)
def test_goal_environments_train_as_they_are(env: str, tmp_path: Path) -> None:
    budget = {"HandReach-v3": 4_000, "AntMaze_UMaze-v5": 4_000}.get(env, 8_000 if "Hand" in env else 2_000)
    arguments = {"max_episode_steps": 20}
    result = train(configure(**options(tmp_path, env, budget=budget, env_arguments=arguments, log_std_init=-1.0)))
    assert result.steps == 128
    assert np.isfinite(result.final.mean_return)
    assert result.final.success_rate is not None
    assert (result.final.lengths <= 20).all()


@pytest.mark.parametrize("space", ["from 5", "several", "several from", "yes or no", "matrix"])
def test_imitation_of_any_action(space: str) -> None:
    """The loss of demonstrations is the mean over parts, and following its gradient lets them be imitated."""
    action_space = picky.SPACES[space]
    seen = spaces.Box(-1, 1, (3,), np.float32)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(5, 6, 3)).astype(np.float32)
    action_space.seed(0)
    actions = np.array([[action_space.sample() for _ in range(6)] for _ in range(5)])
    kept = actions.reshape(5, 6, -1).astype(np.float32) if isinstance(action_space, spaces.Box) else actions.astype(int)
    demonstrations = Demonstrations(observations, kept, np.full(6, 5), np.zeros(6))
    built = policy(seen, action_space, 0)
    loss = ImitationLoss(demonstrations, None, action_space, "cpu")

    def value() -> Tensor:
        return loss(built, np.arange(6))

    if not isinstance(action_space, spaces.Box):
        outputs = built.run_actor(torch.tensor(observations), torch.zeros(5, 6)).detach().numpy()
        sums = [
            log_probability(actions[t, e], outputs[t, e], action_space, np.ones(0)) for t in range(5) for e in range(6)
        ]
        assert value().item() == pytest.approx(-np.mean(sums) / max(1, len(np.ravel(actions[0, 0]))), rel=1e-4)
    before = value().item()
    optimizer = torch.optim.Adam([*built.parameters(), loss.log_std], lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        value().backward()
        optimizer.step()
    assert value().item() < before


def test_stock_spaces_of_a_policy_are_flat() -> None:
    with pytest.raises(Refusal, match=r"one-dimensional Box is needed, which gymnasium\.wrappers\.Flatten"):
        VariedSparsityPolicy(picky.OBSERVATIONS["nested"], spaces.Discrete(2), lambda _: 1e-3, budget=200)


def test_case_of_bytes_and_of_a_choice(tmp_path: Path) -> None:
    """Flat uint8 (Atari RAM, MiniGrid flattened) and Discrete (POPGym) observations, which were refused once."""
    for sees in ("bytes", "choice"):
        result = train(
            configure(**options(tmp_path / sees, "Picky-v0", env_arguments={"space": "from 5", "sees": sees}))
        )
        assert result.steps == 128
    assert gymnasium.make("Picky-v0", sees="bytes").observation_space.dtype == np.uint8


@pytest.mark.parametrize("wrapper", [gymnasium.wrappers.FlattenObservation, FlatObservations])
def test_stock_recurrent_ppo_takes_flattened_observations(wrapper: type[gymnasium.Wrapper]) -> None:
    environment = gymnasium.make("Picky-v0", space="several from", sees="nested", disable_env_checker=True)
    model = RecurrentPPO(
        VariedSparsityPolicy,
        wrapper(environment),
        n_steps=64,
        batch_size=64,
        n_epochs=1,
        policy_kwargs={"budget": 600},
        seed=0,
    )
    model.learn(64)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0, abs=1e-5)
