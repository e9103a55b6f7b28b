"""What an environment is given comes back equal and of its type from every form that files have."""

import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.configuration import configure, from_yaml, to_yaml
from agents.export.onnx_policy import PolicyMetadata
from agents.literals import TAG, literal, read, surviving, written
from agents.options_file import read_options
from agents.studies.command import options_of
from agents.studies.ledger import configuration_of, recorded
from envs.arguments import parse_arguments
from policies.network.architectures import specify_architecture
from policies.refusal import Refusal

KEYS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=3)
)
LITERALS = st.recursive(
    KEYS | st.just(2 + 3j),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(KEYS | st.tuples(KEYS), max_size=3)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)

VALUES = {
    "number as key": {1: 5.0},
    "keys of several types": {None: 0, 2.5: {}, (1, 2): [], b"k": "", False: set()},
    "tuple": (3, 4),
    "tuple of one": ((),),
    "tuple in a list in a table": {"deep": [{"x": (1, [2, (3,)])}]},
    "set": {1, "a", (2, 3)},
    "empty set": set(),
    "bytes": b"\x00\xff",
    "complex": 1 + 2j,
    "infinity": float("inf"),
    "infinity in a tuple": (float("-inf"), 1.0),
    "negative zero": -0.0,
    "whole float": 1.0,
    "truth value as key": {True: 1},
    "a table of the written form": {TAG: "(3, 4)"},
    "such a table in another": {"a": {TAG: "no literal"}, "b": [{TAG: {TAG: 1}}]},
    "text that is a literal": "(3, 4)",
    "text that is a number": "1e5",
    "key that is a number's text": {"1": "a", "1e5": "b", "<<": "c", "null": "d"},
    "halves of a character": "\ud83d\ude00",
    "such a key": {"\ud83d": 1},
    "large": 10**300,
    "lines": "a\n\tb\r\x85\u2028c ",
    "nothing": None,
}


def forms(value: Any, folder: Path) -> dict[str, Any]:
    """Return the argument x as it comes back from everything that keeps it."""
    configuration = configure("CartPole-v1", env_arguments={"x": value})
    (folder / "config.yaml").write_text(to_yaml(configuration, versions={"torch": "2"}))
    actor_critic = specify_architecture("dense", 4, 2, 300)
    properties = PolicyMetadata("CartPole-v1", {"x": value}, actor_critic, {}, {}).to_properties()
    shown = options_of(recorded(configuration))
    return {
        "configuration": configuration.env_arguments["x"],
        "config.yaml": from_yaml(to_yaml(configuration)).env_arguments["x"],
        "--config": read_options(folder / "config.yaml", {})["env_arguments"]["x"],
        "study": configuration_of(json.loads(json.dumps(recorded(configuration)))).env_arguments["x"],
        "ONNX": PolicyMetadata.from_properties(properties).env_arguments["x"],
        "sweep.py show": parse_arguments([shown[shown.index("--env-arg") + 1]])["x"],
    }


@pytest.mark.parametrize("name", VALUES)
def test_argument_comes_back_from_everything_that_keeps_it(name: str, tmp_path: Path) -> None:
    for place, found in forms(VALUES[name], tmp_path).items():
        assert literal(found) == literal(VALUES[name]), place


@given(LITERALS)
def test_any_literal_comes_back(value: Any) -> None:
    try:
        expected = literal(value)
    except Refusal:
        return  # such as a complex number whose zeros have signs
    assert literal(read(json.loads(json.dumps(written(value))))) == expected
    configuration = configure("CartPole-v1", env_arguments={"x": value})
    assert literal(from_yaml(to_yaml(configuration)).env_arguments["x"]) == expected
    assert literal(parse_arguments([f"x={expected}"])["x"]) == expected


@given(LITERALS, LITERALS)
def test_same_text_means_equal_and_of_the_same_types(one: Any, other: Any) -> None:
    try:
        same = literal(one) == literal(other)
    except Refusal:
        return
    assert not same or (one == other and type(one) is type(other))


@pytest.mark.parametrize("value", ["text", 3, 0.5, True, None, [1, ["a"]], {"a": {"b": [None]}}])
def test_what_files_hold_stays_as_it_is(value: Any) -> None:
    assert written(value) == value
    assert read(value) == value


class Colour(enum.IntEnum):
    RED = 1


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Text(str):
    pass


REFUSED = {
    "numpy's float": (np.float64(0.5), "numpy.float64"),
    "numpy's float of 32 bits": ({"deep": [np.float32(0.1)]}, "numpy.float32"),
    "numpy's integer as key": ({np.int64(1): 2}, "numpy.int64"),
    "an array": (np.zeros(3), "numpy.ndarray"),
    "a path": (Path("x"), "Path"),
    "a function": (len, "builtin_function"),
    "an enumeration": (Colour.RED, "Colour"),
    "a text of another class": (Text("a"), "Text"),
    "not a number": ((1.0, float("nan")), "nan"),
    "in itself": (endless(), "levels deep"),
    "too many digits": (10**5000, "digits"),
    "frozen set": (frozenset({1}), "frozenset"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused_by_name(name: str) -> None:
    value, named = REFUSED[name]
    with pytest.raises(Refusal, match=r"^env_arguments x ") as caught:
        configure("CartPole-v1", env_arguments={"x": value})
    assert named in str(caught.value)
    assert "needed" in str(caught.value)


def test_configuration_keeps_its_own_copy() -> None:
    table = {1: [2]}
    configuration = configure("CartPole-v1", env_arguments={"table": table})
    table[1].append(3)
    assert configuration.env_arguments["table"] == {1: [2]}
    assert surviving(table) is not table


@pytest.mark.parametrize("text", ["open('x')", "(3, 4", 3, None, "(" * 500])
def test_text_that_is_no_literal_is_refused(text: object) -> None:
    stored = {"env": "CartPole-v1", "env_arguments": {"x": {TAG: text}}}
    with pytest.raises(Refusal, match=f"^env_arguments {TAG}") as caught:
        from_yaml(json.dumps(stored))
    assert "\n" not in str(caught.value)


def test_tables_in_files_of_options(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "env: CartPole-v1\nbudget: 1e5\n"
        "env_arguments: {1: 1, table: {1: 5.0, 1e1: a, '1': b, true: c}, goal: {python literal: '(3, 4)'}, far: .inf}\n"
        "presets: {CartPole-v1: {env_arguments: {sizes: {2: 3}}, n_steps: 1e2}}\n"
    )
    options = read_options(tmp_path / "own.yaml", {"env_arguments": {"goal": (5,)}})
    assert options["budget"] == 100_000
    assert literal(options["env_arguments"]) == literal(
        {
            "sizes": {2: 3},
            "1": 1,
            "table": {1: 5.0, 10.0: "a", "1": "b", "true": "c"},
            "goal": (5,),
            "far": float("inf"),
        }
    )
    configuration = configure(**options)
    assert (type(configuration.budget), configuration.n_steps) == (int, 100)
    (tmp_path / "own.yaml").write_text("env: CartPole-v1\nenv_arguments: {table: {1: 5.0, 1.0: 6.0}}\n")
    with pytest.raises(Refusal, match=r"line 2, key 'env_arguments.table.1.0': is given a second time"):
        read_options(tmp_path / "own.yaml", {})
