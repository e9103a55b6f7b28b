"""POPGym: every id trains, is evaluated and exported, or is refused for its spaces."""

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from agents.configuration import configure
from agents.export.export import export_policy
from agents.trained.policy import load_trained_policy
from agents.trained.report import evaluate_policy
from agents.training import evaluation_environments, train
from envs.lookup import check_environment, make_environment
from envs.popgym import LEVELS, NAMES, POPGYM
from envs.refusal import Refusal
from envs.remarks import remarks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "level", ["Easy", *(pytest.param(level, marks=pytest.mark.slow) for level in LEVELS if level != "Easy")]
)
def test_every_id_trains_and_its_exported_policy_acts_as_its_own(name: str, level: str, tmp_path: Path) -> None:
    env = f"popgym-{name}{level}-v0"
    configuration = configure(
        env,
        budget=2_000,
        total_timesteps=128,
        n_envs=2,
        n_steps=32,
        n_epochs=1,
        eval_every=128,
        eval_episodes=2,
        progress=False,
        log_dir=str(tmp_path),
    )
    result = train(configuration)
    assert result.steps == 128
    run = load_trained_policy(result.path)
    report = evaluate_policy(run, episodes=2, first_seed=0)
    assert np.isfinite(report.evaluation.returns).all()
    assert report.success_interval is None
    export = export_policy(result.path, tmp_path / "policy.onnx")
    exported = load_trained_policy(export.path)
    assert exported.wrappers == run.wrappers == configuration.wrappers == POPGYM.preset["wrappers"]

    environments = evaluation_environments(env, {}, 3, "serial", run.wrappers)
    observations, starts, states = environments.reset(), np.ones(3, bool), (None, None)
    for _ in range(60):
        actions, own = run.policy.predict(run.normalized(observations), states[0], starts, deterministic=True)
        others, other = exported.policy.predict(observations, states[1], starts, deterministic=True)
        np.testing.assert_allclose(others, actions, rtol=1e-4, atol=1e-4)
        states = (own, other)
        observations, _, starts, _ = environments.step(actions)
    environments.close()


def test_the_ids_are_those_that_it_registers() -> None:
    check_environment(POPGYM.ids[0])
    registered = {env_id for env_id in gymnasium.registry if env_id.startswith("popgym-")}
    assert {env_id for env_id in registered if "Labyrinth" not in env_id} == {*POPGYM.ids}
    assert len(POPGYM.ids) == 42


def test_observations_are_those_of_the_paper() -> None:
    """The action before, at first the null action, and whether the episode begins."""
    environment = make_environment(
        "popgym-RepeatFirstEasy-v0", wrappers=configure("popgym-RepeatFirstEasy-v0").wrappers
    )
    first, _ = environment.reset(seed=0)
    assert first[4:].tolist() == [1, 0, 0, 0, 0, 1]  # one of four actions, and one of two flags
    second, *_ = environment.step(3)
    assert second[4:].tolist() == [0, 0, 0, 1, 1, 0]


def test_nothing_is_remarked_of_their_time_limits() -> None:
    assert remarks("popgym-PositionOnlyCartPoleEasy-v0") == []


def test_what_is_missing_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "popgym", None)
    needed = r'needs the extra popgym: pip install --editable "\.\[popgym\]"$'
    with pytest.raises(Refusal, match=f"^env popgym-RepeatFirstEasy-v0 {needed}"):
        check_environment("popgym-RepeatFirstEasy-v0")
    with pytest.raises(Refusal, match=f"^wrappers popgym.wrappers:Antialias {needed}"):
        make_environment("CartPole-v1", wrappers=["popgym.wrappers:Antialias"])


def test_a_name_of_none_is_refused() -> None:
    with pytest.raises(Refusal, match="did you mean popgym-RepeatFirst"):
        check_environment("popgym-RepeatFirstEasier-v0")
    with pytest.raises(Refusal, match="wrappers popgym.wrappers:Antialias cannot be made around this environment"):
        make_environment("CartPole-v1", wrappers=["popgym.wrappers:Antialias"])
