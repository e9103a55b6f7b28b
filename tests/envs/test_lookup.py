"""Ids and arguments as users give them: found, or refused with one line that names the option."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from data_files import ROOT
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from envs.arguments import parse_arguments
from envs.lookup import check_environment, environment_spaces, make_environment, with_cut
from policies.refusal import Refusal


class Shaped(gymnasium.Env):
    """An environment of given spaces."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space


FLAT = spaces.Box(-1, 1, (3,))
MISFITS = {
    "Words-v0": (
        spaces.Dict(a=FLAT, mission=spaces.Text(9)),
        FLAT,
        "observations are Text at 'mission', Box, Discrete, ",
    ),
    "Sequence-v0": (spaces.Sequence(FLAT), FLAT, "observations are Sequence"),
    "Graph-v0": (spaces.Tuple((FLAT, spaces.Graph(FLAT, None))), FLAT, "observations are Graph"),
    "OneOf-v0": (spaces.OneOf((FLAT, FLAT)), FLAT, "observations are OneOf"),
    "Nothing-v0": (spaces.Dict(), FLAT, "observations are 0 numbers when flattened, 1 to 10,000,000 is needed"),
    "Empty-v0": (spaces.Box(0, 1, (0,)), FLAT, "observations are 0 numbers when flattened, 1 to 10,000,000 is needed"),
    "Vast-v0": (spaces.Discrete(2**40), FLAT, "observations are 1,099,511,627,776 numbers when flattened"),
    "Integers-v0": (FLAT, spaces.Box(0, 9, (3,), np.int64), "actions are a Box of shape (3,) and type int64"),
    "Table-v0": (FLAT, spaces.Dict(a=FLAT, b=FLAT), "actions are Dict("),
    "Many-v0": (FLAT, spaces.MultiDiscrete([[2, 3]]), "actions are MultiDiscrete([[2 3]])"),
    "Bits-v0": (FLAT, spaces.MultiBinary((2, 2)), "actions are MultiBinary((2, 2))"),
    "Endless-v0": (FLAT, spaces.Box(-np.inf, np.inf, (2,)), "without finite bounds"),
}


@pytest.fixture
def misfits() -> "object":
    for env_id, (observation_space, action_space, _) in MISFITS.items():
        gymnasium.register(
            env_id, Shaped, kwargs={"observation_space": observation_space, "action_space": action_space}
        )
    yield
    for env_id in MISFITS:
        del gymnasium.registry[env_id]


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


def test_registered_ids_are_found() -> None:
    for env_id in ("CartPole-v1", "AdroitHandHammer-v1", "AdroitHandDoor-v1"):
        assert check_environment(env_id) == env_id
        assert check_environment(env_id, allow_module=False) == env_id


@pytest.mark.parametrize(
    ("env_id", "close"),
    [("CartPole", "CartPole-v1"), ("AdroitHandHamer-v1", "AdroitHandHammer-v1"), ("AdroitHandHammer-v2", "Hammer-v1")],
)
def test_unknown_id_suggests_close_ones(env_id: str, close: str) -> None:
    with pytest.raises(ValueError, match="env") as error:
        check_environment(env_id)
    assert close in one_line(error)


@pytest.mark.parametrize("env_id", ["", "no such\nthing", "xyzzy", ":", "CartPole-v1 "])
def test_other_unknown_ids(env_id: str) -> None:
    with pytest.raises(ValueError, match="env") as error:
        check_environment(env_id)
    one_line(error)


def test_module_is_imported_from_the_command_line_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "imported"
    (tmp_path / "own_worlds.py").write_text(
        f"import gymnasium, pathlib\npathlib.Path({str(marker)!r}).touch()\n"
        "gymnasium.register('Own-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="command line") as error:
        check_environment("own_worlds:Own-v0", allow_module=False)
    one_line(error)
    with pytest.raises(ValueError, match="command line"):
        make_environment("own_worlds:Own-v0")
    with pytest.raises(ValueError, match="command line"):
        environment_spaces("own_worlds:Own-v0")
    assert not marker.exists()
    assert check_environment("own_worlds:Own-v0") == "Own-v0"
    assert marker.exists()
    del gymnasium.registry["Own-v0"]


def test_environment_that_exits_when_it_is_made() -> None:
    gymnasium.register("Leaves-v0", lambda: sys.exit("the licence has expired"))
    try:
        with pytest.raises(Refusal, match="env Leaves-v0 cannot be made: SystemExit: the licence has expired") as error:
            make_environment("Leaves-v0")
    finally:
        del gymnasium.registry["Leaves-v0"]
    one_line(error)


@pytest.mark.parametrize("env_id", ["no_such_module:CartPole-v1", ":CartPole-v1", "a b:CartPole-v1"])
def test_module_that_does_not_import(env_id: str) -> None:
    with pytest.raises(ValueError, match="env .* cannot be imported") as error:
        check_environment(env_id)
    one_line(error)


@pytest.mark.parametrize("line", ["raise KeyError('two\\nlines')", "raise SystemExit('no licence')"])
def test_module_that_raises(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_worlds.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="env .* cannot be imported: ") as error:
        check_environment("broken_worlds:CartPole-v1")
    one_line(error)


def test_arguments() -> None:
    texts = ["a=1", "b=0.5", "c=None", "d=[1, 'x']", "e=text", "f=a=b", "g=", "h='1'", "i=path/to.npz", "j=True"]
    assert parse_arguments(texts) == {
        "a": 1,
        "b": 0.5,
        "c": None,
        "d": [1, "x"],
        "e": "text",
        "f": "a=b",
        "g": "",
        "h": "1",
        "i": "path/to.npz",
        "j": True,
    }
    assert parse_arguments([]) == {}


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a b=1"], [""], ["1=2"], ["a=1", "a=2"], ["a\nb"]])
def test_malformed_arguments(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="env_arguments") as error:
        parse_arguments(texts)
    one_line(error)


@given(st.text())
def test_any_argument_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        arguments = parse_arguments([text])
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert list(arguments) == [text.partition("=")[0]]


def test_values_are_never_run(tmp_path: Path) -> None:
    text = f"__import__('pathlib').Path({str(tmp_path / 'x')!r}).touch()"
    assert parse_arguments([f"a={text}"]) == {"a": text}
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("env_id", ["AdroitHandHammer-v1", "CartPole-v1"])
def test_argument_the_environment_does_not_take(env_id: str) -> None:
    with pytest.raises(ValueError, match=f"env {env_id} with env_arguments no_such=1 .*'no_such'") as error:
        make_environment(env_id, {"no_such": 1})
    assert {"AdroitHandHammer-v1": "it takes reward_type", "CartPole-v1": "it takes sutton_barto"}[env_id] in one_line(
        error
    )


def test_value_the_environment_refuses() -> None:
    with pytest.raises(ValueError, match="reward_type='medium' .*medium") as error:
        make_environment("AdroitHandHammer-v1", {"reward_type": "medium"})
    one_line(error)
    with pytest.raises(ValueError, match="env_arguments id='x' cannot be made: TypeError"):
        make_environment("CartPole-v1", {"id": "x"})


def test_arguments_reach_the_environment() -> None:
    environment = make_environment("CartPole-v1", {"max_episode_steps": 3, "sutton_barto_reward": True})
    assert environment.spec is not None
    assert environment.spec.max_episode_steps == 3
    assert environment.unwrapped._sutton_barto_reward  # type: ignore[attr-defined]


def test_spaces() -> None:
    observation_space, action_space = environment_spaces("AdroitHandHammer-v1")
    assert observation_space.shape == (46,)
    assert observation_space.dtype == np.float32
    assert action_space.shape == (26,)
    assert environment_spaces("CartPole-v1")[1] == spaces.Discrete(2)


@pytest.mark.parametrize("env_id", MISFITS)
def test_spaces_that_do_not_fit(misfits: object, env_id: str) -> None:
    with pytest.raises(ValueError, match=f"env {env_id} does not fit") as error:
        environment_spaces(env_id)
    text = one_line(error)
    assert MISFITS[env_id][2] in text
    assert "is needed" in text


def test_nothing_is_printed_about_other_environments() -> None:
    program = (
        "import envs\nfrom envs.lookup import make_environment\nmake_environment('AdroitHandHammer-v1').reset(seed=0)\n"
        "make_environment('AdroitHandDoor-v1')\n"
        "from envs.vectorized.make import make_vec_env\n"
        "v = make_vec_env('AdroitHandHammer-v1', n_envs=2, seed=0, vectorization='threads', training=True)\n"
        "v.reset(); v.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""


def test_only_the_notice_is_withheld() -> None:
    from farama_notifications import notifications

    check_environment("CartPole-v1")
    assert notifications["gymnasium_robotics"]


@pytest.mark.parametrize("error", [ValueError("shapes do not fit"), KeyError("x"), TypeError("y")])
def test_a_fault_in_an_environment_of_ours_keeps_its_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("envs.random_anomaly.environment.RandomAnomalyTask", faulty)
    with pytest.raises(type(error)) as caught:
        make_environment("RandomAnomaly-v0")
    assert not isinstance(caught.value, Refusal)


class Demanding(gymnasium.Env[Any, Any]):
    def __init__(self, goal: int = 0) -> None:
        assert goal


def test_an_assertion_of_another_environment_says_where_it_stands() -> None:
    gymnasium.register("Demanding-v0", Demanding)
    try:
        with pytest.raises(Refusal, match=r"AssertionError: .*\(.*test_lookup\.py, line \d+\)"):
            make_environment("Demanding-v0")
    finally:
        del gymnasium.registry["Demanding-v0"]


class Silent(gymnasium.Env[Any, Any]):
    def __init__(self) -> None:
        raise AssertionError


def test_what_is_raised_without_a_text_shows_its_line() -> None:
    gymnasium.register("Silent-v0", Silent)
    try:
        with pytest.raises(Refusal, match=r"AssertionError: raise AssertionError \(.*test_lookup\.py, line \d+\)"):
            make_environment("Silent-v0")
    finally:
        del gymnasium.registry["Silent-v0"]


@pytest.mark.parametrize(
    ("arguments", "steps", "limit"),
    [
        ({}, 50, 50),
        ({}, 500, None),  # its own 200 are fewer
        ({}, 200, 200),
        ({}, None, None),
        ({"max_episode_steps": 20}, 50, 20),
        ({"max_episode_steps": 300}, 250, 250),
        ({"max_episode_steps": -1}, 50, 50),  # none of its own
    ],
)
def test_episodes_are_cut_unless_they_are_shorter_anyway(
    arguments: dict[str, int], steps: int | None, limit: int | None
) -> None:
    before = dict(arguments)
    assert with_cut("AdroitHandHammer-v1", arguments, steps).get("max_episode_steps") == limit
    assert arguments == before


def test_cut_of_an_unknown_environment_is_refused() -> None:
    with pytest.raises(Refusal, match="did you mean AdroitHandHammer-v1"):
        with_cut("AdroitHandHamer-v1", {}, 50)
