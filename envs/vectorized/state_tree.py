"""States that come from files, read entry by entry: what does not fit is refused in one line that says where it is.

A state is a tree of tables and lists with arrays and plain values as leaves. Its readers ask for each entry as what it
has to be; no reader goes on from a KeyError or TypeError, so that one that is raised is a bug.
"""

import reprlib
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from envs.refusal import Refusal

LARGEST = 2**63 - 1
"""Whole numbers of a state are no larger, unless a reader says so."""


class StateTree(dict[str, Any]):
    """A table of a state and where it stands; a list is read as a table whose names are "0", "1", ….

    It is a dictionary, so that every `set_state(state)` takes it as well as a plain one, and says more when it does.

    :param table: the table; a StateTree keeps its place
    :param place: the beginning of every refusal: what the state does not fit, with a colon
    """

    def __init__(self, table: Any, place: str = "the state does not fit:") -> None:
        self.place: str = table.place if isinstance(table, StateTree) else place
        if not isinstance(table, Mapping):
            raise Refusal(f"{self.place} is {_described(table)}, a table is needed")
        super().__init__(table)

    def refuse(self, name: str, needed: str) -> NoReturn:
        """Refuse what an entry holds."""
        raise Refusal(f"{self._place_of(name)} is {_described(self[name])}, {needed} is needed")

    def value(self, name: str) -> Any:
        """Return what an entry holds, whatever it is."""
        if name not in self:
            raise Refusal(f"{self._place_of(name)} is missing")
        value = self[name]
        return StateTree(value, self._place_of(name)) if isinstance(value, dict) else value

    def table(self, name: str) -> "StateTree":
        """Return a table."""
        return StateTree(self.value(name), self._place_of(name))

    def row(self, name: str, count: int | None = None) -> "StateTree":
        """Return a list, of `count` entries if that is given."""
        value = self.value(name)
        if not isinstance(value, list | tuple) or count not in (None, len(value)):
            self.refuse(name, "a list" if count is None else f"a list of {count}")
        return StateTree({str(index): one for index, one in enumerate(value)}, self._place_of(name))

    def array(
        self, name: str, shape: tuple[int | None, ...] | None = None, dtype: DTypeLike | None = None
    ) -> np.ndarray:
        """Return an array, which is not to be written to.

        :param shape: None for any; so is a dimension that is None
        :param dtype: None for any
        """
        value = self.value(name)
        if (
            not isinstance(value, np.ndarray)
            or (shape is not None and not _has_shape(value, shape))
            or (dtype is not None and value.dtype != dtype)
        ):
            of_shape = "" if shape is None else f" of shape {shape}".replace("None", "…")
            self.refuse(name, f"an array{of_shape}{'' if dtype is None else f' of {np.dtype(dtype)}'}")
        return value

    def fill(self, name: str, target: np.ndarray) -> None:
        """Copy an array into one of its shape and type."""
        target[...] = self.array(name, target.shape, target.dtype)

    def whole(self, name: str, least: int = 0, most: int = LARGEST) -> int:
        """Return a whole number."""
        value = self.value(name)
        if type(value) is not int or not least <= value <= most:
            limits = f"of at least {least}" if most == LARGEST else f"from {least} to {most}"
            self.refuse(name, str(most) if least == most else f"a whole number {limits}")
        return value

    def number(self, name: str) -> float:
        """Return a number, finite or not."""
        value = self.value(name)
        if type(value) is not float and not (type(value) is int and abs(value) <= LARGEST):
            self.refuse(name, "a number")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.value(name)
        if type(value) is not bool:
            self.refuse(name, "true or false")
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        value = self.value(name)
        if type(value) is not str:
            self.refuse(name, "a text")
        return value

    def plain(self, name: str, *kinds: type) -> Any:
        """Return a value of one of some plain types, as it is."""
        value = self.value(name)
        if type(value) not in kinds:
            self.refuse(name, " or ".join(kind.__name__ for kind in kinds))
        return value

    def _place_of(self, name: str) -> str:
        return f"{self.place}{' ' if self.place.endswith(':') else '.'}{name}"


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the state of a random generator as plain values (PCG64, as Gymnasium's and numpy's default are)."""
    return dict(generator.bit_generator.state)


def set_generator_state(generator: np.random.Generator, state: dict[str, Any]) -> None:
    """Return a generator to a state.

    :raises Refusal: if it is no state of PCG64
    """
    tree = StateTree(state)
    if tree.text("bit_generator") != "PCG64":
        tree.refuse("bit_generator", "PCG64")
    words = tree.table("state")
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {name: words.whole(name, most=2**128 - 1) for name in ("state", "inc")},
        "has_uint32": tree.whole("has_uint32", most=1),
        "uinteger": tree.whole("uinteger", most=2**32 - 1),
    }


def _has_shape(array: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    return len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} of {value.dtype}"
    if isinstance(value, Mapping):
        return "a table"
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else reprlib.repr(value)
