"""Reading a state entry by entry."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from envs.refusal import Refusal
from envs.vectorized.state_tree import StateTree, generator_state, set_generator_state

STATE = {
    "table": {"inner": {"x": 1}},
    "row": [1, 2.5, "a"],
    "array": np.zeros((2, 3), np.float32),
    "whole": 3,
    "number": float("nan"),
    "flag": True,
    "text": "words",
    "none": None,
}


def test_what_fits_is_returned() -> None:
    tree = StateTree(STATE, "no:")
    assert tree == STATE
    assert tree.table("table").table("inner").whole("x") == 1
    row = tree.row("row", 3)
    assert [row.whole("0"), row.number("0"), row.number("1"), row.text("2")] == [1, 1.0, 2.5, "a"]
    assert tree.array("array", (None, 3), np.float32) is tree.array("array") is STATE["array"]
    assert np.isnan(tree.number("number"))
    assert tree.flag("flag")
    assert tree.value("none") is None
    assert tree.plain("text", int, str) == "words"
    filled = np.ones((2, 3), np.float32)
    tree.fill("array", filled)
    assert not filled.any()


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda tree: tree.value("other"), "other is missing"),
        (lambda tree: tree.table("row"), "row is a list of 3, a table is needed"),
        (lambda tree: tree.table("table").table("inner").flag("x"), "table.inner.x is 1, true or false is needed"),
        (lambda tree: tree.table("table").whole("inner"), "table.inner is a table, a whole number of at least 0"),
        (lambda tree: tree.row("row", 2), "row is a list of 3, a list of 2 is needed"),
        (lambda tree: tree.row("row").whole("1"), "row.1 is 2.5, a whole number of at least 0 is needed"),
        (lambda tree: tree.whole("flag"), "flag is True, a whole number of at least 0 is needed"),
        (lambda tree: tree.whole("whole", 0, 2), "whole is 3, a whole number from 0 to 2 is needed"),
        (lambda tree: tree.whole("whole", 2, 2), "whole is 3, 2 is needed"),
        (lambda tree: tree.number("flag"), "flag is True, a number is needed"),
        (lambda tree: tree.text("none"), "none is None, a text is needed"),
        (lambda tree: tree.plain("text", int, bool), "text is 'words', int or bool is needed"),
        (
            lambda tree: tree.array("array", (3, None), np.float32),
            "array is an array of shape (2, 3) of float32, an array of shape (3, …) of float32 is needed",
        ),
        (lambda tree: tree.array("array", None, np.int64), "an array of int64 is needed"),
        (lambda tree: tree.array("text"), "text is 'words', an array is needed"),
    ],
)
def test_what_does_not_fit_is_refused(read: Callable[[StateTree], Any], said: str) -> None:
    with pytest.raises(Refusal, match=f"^no: {re.escape(said)}|{re.escape(said)}$") as caught:
        read(StateTree(STATE, "no:"))
    assert str(caught.value).startswith("no: ")


def test_its_place_is_kept_where_it_is_read_again() -> None:
    inner = StateTree({"a": {"b": 1}}, "no:").table("a")
    with pytest.raises(Refusal, match=r"^no: a\.c is missing"):
        StateTree(inner, "elsewhere:").value("c")
    with pytest.raises(Refusal, match="^no: is 3, a table is needed"):
        StateTree(3, "no:")


def test_generators() -> None:
    generator, other = np.random.default_rng(1), np.random.default_rng(2)
    generator.integers(0, 3, 5, dtype=np.int32)  # half of an output is left over
    state = json.loads(json.dumps(generator_state(generator)))
    set_generator_state(other, state)
    assert other.random(5).tolist() == generator.random(5).tolist()
    for path, value in (("bit_generator", "MT19937"), ("has_uint32", 2), ("uinteger", 2**32), ("state", {"state": 1})):
        with pytest.raises(Refusal, match="is needed|is missing"):
            set_generator_state(other, state | {path: value})
    damaged = copy.deepcopy(state)
    damaged["state"]["inc"] = 2**128
    with pytest.raises(Refusal, match=r"state\.inc is .*, a whole number from 0 to"):
        set_generator_state(other, damaged)
