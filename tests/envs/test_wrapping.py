"""Wrappers: found by their texts, refused in one line, put around every environment, inside of what counts success."""

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FilterObservation, RescaleAction, TimeAwareObservation

from envs import modules
from envs.lookup import check_render_mode, environment_spaces, make_environment
from envs.refusal import Refusal
from envs.remarks import remarks
from envs.vectorized.make import VECTORIZATIONS, make_vec_env
from envs.vectorized.state import set_vec_env_state, vec_env_state
from envs.wrapping import WRAPPERS
from tests.envs.vectorized.test_environment_state import assert_equal, play

RESCALE = "gymnasium.wrappers:RescaleAction:min_action=-1.0,max_action=1.0"


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line has named the module of the wrappers."""
    monkeypatch.setattr(modules, "_NAMED", {"own_wrappers"})


def test_the_first_is_the_innermost_and_values_are_literals(named: None) -> None:
    texts = ["own_wrappers:Wider:by=(1.0, 2.0)", "own_wrappers:Wider:by=(3.0,)", RESCALE]
    environment = make_environment("Pendulum-v1", wrappers=texts)
    observation, _ = environment.reset(seed=0)
    np.testing.assert_array_equal(observation[3:], [1, 2, 3])
    observation_space, action_space = environment_spaces("Pendulum-v1", wrappers=texts)
    assert observation_space.shape == (6,)
    assert action_space == spaces.Box(-1, 1, (1,), np.float32)
    assert isinstance(environment.env, RescaleAction)  # type: ignore[attr-defined]


def test_arguments_may_hold_commas_and_equal_signs() -> None:
    (wrapping,) = WRAPPERS.find_all(["gymnasium.wrappers:FilterObservation:filter_keys=['a', 'b,c']"])
    assert (wrapping.kind, wrapping.arguments) == (FilterObservation, {"filter_keys": ["a", "b,c"]})
    (wrapping,) = WRAPPERS.find_all(["gymnasium.wrappers:TimeAwareObservation:flatten=True,dict_time_key=a=b:c"])
    assert (wrapping.kind, wrapping.arguments) == (TimeAwareObservation, {"flatten": True, "dict_time_key": "a=b:c"})


UNFIT = {
    "own_wrappers": "module:Class",
    "own_wrappers:": "module:Class",
    ":Paid": "module:Class",
    "own wrappers:Paid": "module:Class",
    "own_wrappers:Paid:": "module:Class",
    "no_such_module:Paid": "module 'no_such_module' cannot be imported",
    "own_wrappers:Paidd": "own_wrappers has no Paidd: did you mean Paid",
    "gymnasium.wrappers:Nothing": "gymnasium.wrappers has no Nothing",
    "own_wrappers:function": "function is no gymnasium.Wrapper",
    "gymnasium:Env": "Env is no gymnasium.Wrapper",
    "os:path": "path is no gymnasium.Wrapper",
    "own_wrappers:Paid:amount": "NAME=VALUE such as sequence_length=10 is needed, in own_wrappers:Paid:amount",
    "own_wrappers:Paid:amount=1,amount=2": "a second time",
    "own_wrappers:Paid:wages=1": "unexpected keyword argument 'wages'; it takes amount, raise_by",
    "own_wrappers:Paid:env=1": "multiple values for argument 'env'",
    "gymnasium.wrappers:RescaleAction": "missing a required argument: 'min_action'",
}


@pytest.mark.parametrize("text", UNFIT)
def test_what_does_not_fit_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(Refusal, match="^wrappers ") as caught:
        WRAPPERS.import_all([text])
    assert UNFIT[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("vectorization", VECTORIZATIONS)
@pytest.mark.parametrize(
    ("text", "reason"),
    [("own_wrappers:Raising", "RuntimeError: no luck"), (RESCALE, "requires a Box action space")],
)
def test_one_that_raises_is_refused_in_one_line(text: str, reason: str, vectorization: str, named: None) -> None:
    with pytest.raises(Refusal, match=f"^wrappers {text} cannot be made .*{reason}") as caught:
        make_vec_env("CartPole-v1", n_envs=2, seed=0, vectorization=vectorization, training=True, wrappers=[text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["own_wrappers:Paid", "gymnasium.wrappers:RecordVideo:video_folder=x", "tests.own_wrappers:Paid", "os:path"]
)
def test_a_file_runs_no_code_of_a_module_that_the_command_line_has_not_named(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "_NAMED", set())
    monkeypatch.delitem(sys.modules, "own_wrappers", raising=False)
    with pytest.raises(Refusal, match=f"wrappers {RESCALE} wrappers {text} is needed"):
        make_environment("Pendulum-v1", wrappers=[RESCALE, text])
    assert "own_wrappers" not in sys.modules


def test_none_stands_for_no_wrappers() -> None:
    assert WRAPPERS.import_all(["none"]) == ()
    with pytest.raises(Refusal, match="wrappers 'none' does not fit"):
        WRAPPERS.import_all(["none", RESCALE])


def test_success_is_counted_outside(named: None) -> None:
    for env in ("AdroitHandDoor-v1", "CartPole-v1"):
        environment = make_environment(env, wrappers=["own_wrappers:Short"])
        environment.reset(seed=0)
        environment.step(environment.action_space.sample())
        *_, terminated, _, info = environment.step(environment.action_space.sample())
        assert terminated
        assert info["is_success"] == (env == "CartPole-v1")  # the door has to be open for more than 25 steps
        environment.close()


@pytest.mark.parametrize("vectorization", ["threads", "processes", "batched"])
def test_every_vectorization_wraps(vectorization: str, named: None) -> None:
    env = "RandomAnomaly-v0" if vectorization == "batched" else "CartPole-v1"
    environments = make_vec_env(
        env,
        n_envs=2,
        seed=0,
        vectorization=vectorization,
        training=True,
        wrappers=["own_wrappers:Paid:amount=7.0"],
    )
    environments.reset()
    actions = np.zeros(2, np.int64)
    np.testing.assert_array_equal(environments.step(actions)[1], [7, 7])
    environments.close()


@pytest.mark.parametrize("vectorization", ["serial", "processes", "batched"])
def test_no_sequence_counts_twice(vectorization: str, named: None) -> None:
    environments = make_vec_env(
        "SequenceChoice-v0",
        n_envs=2,
        seed=0,
        vectorization=vectorization,
        training=False,
        wrappers=["own_wrappers:Paid:amount=7.0"],
    )
    batch = make_vec_env("SequenceChoice-v0", n_envs=2, seed=0, vectorization="batched", training=False)
    assert environments.distinct_episodes == batch.distinct_episodes > 1  # type: ignore[attr-defined]
    environments.close()
    batch.close()


def test_a_batch_that_is_stepped_one_by_one_is_mentioned(named: None) -> None:
    wrappers = ["own_wrappers:Paid"]
    (line,) = remarks("RandomAnomaly-v0", {}, wrappers, "batched")
    assert "stepped one by one" in line
    assert remarks("RandomAnomaly-v0", {}, wrappers) == remarks("RandomAnomaly-v0", {}, (), "batched") == []


def test_rendering_goes_through() -> None:
    check_render_mode("Pendulum-v1", {}, "rgb_array", [RESCALE])


def made(wrappers: list[str], seed: int = 5) -> Any:
    return make_vec_env(
        "Reacher-v5", arguments={"max_episode_steps": 30}, n_envs=2, seed=seed, training=True, wrappers=wrappers
    )


def test_exact_state_where_every_wrapper_has_one(named: None) -> None:
    wrappers = [RESCALE, "own_wrappers:Paid:raise_by=0.5", "gymnasium.wrappers:TimeAwareObservation"]
    whole = made(wrappers)
    whole.reset()
    play(whole, np.random.default_rng(0), 47)
    state = vec_env_state(whole)
    assert state is not None
    expected = play(whole, np.random.default_rng(1), 40)
    resumed = made(wrappers, seed=77)
    set_vec_env_state(resumed, state)
    assert_equal(play(resumed, np.random.default_rng(1), 40), expected)
    other = made([*wrappers, RESCALE])
    with pytest.raises(Refusal, match="the state does not fit"):
        set_vec_env_state(other, state)


def test_no_exact_state_where_one_keeps_what_nobody_knows(named: None) -> None:
    environments = made(["own_wrappers:Secret"])
    environments.reset()
    assert vec_env_state(environments) is None
    assert isinstance(make_environment("CartPole-v1", wrappers=["own_wrappers:Secret"]), gymnasium.Env)
