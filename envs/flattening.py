"""Observations of any space as one flat row of float32 numbers, laid out as Gymnasium's `flatten_space` lays it out.

A choice (Discrete, each entry of a MultiDiscrete) becomes a row with a single 1, the parts of a Tuple or a Dict follow
one another, and bytes from 0 to 255 (pixels) are scaled to [0, 1].
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim, flatten_space

from envs.contract import Expected, Unfit, as_observation

CHOICES = (spaces.Discrete, spaces.MultiDiscrete)
PARTS = (*CHOICES, spaces.MultiBinary, spaces.Box)
"""What a space may be made of, nested in Tuple and Dict."""

LARGEST = 10_000_000
"""Numbers in an observation, above which it is refused."""


class FlatBox(spaces.Box):
    """The flat Box that the observations of another space become.

    :param original: see `misfit`
    """

    original: spaces.Space
    discrete: np.ndarray
    """(n_x,) bool: the entries that are 0 or 1 by their nature, of choices and of MultiBinary"""

    def __init__(self, original: spaces.Space) -> None:
        self.original = original
        self._parts: list[_Part] = []
        bounds, first = [], 0
        for place, space in parts_of(original):
            self._parts.append(part := _Part(space, place, first))
            flat: Any = flatten_space(space)
            bounds.append(np.stack([flat.low, flat.high]).astype(np.float64) / part.divisor)
            first += flatdim(space)
        with np.errstate(over="ignore"):
            low, high = np.concatenate(bounds, axis=1).astype(np.float32)
        super().__init__(low, high, dtype=np.float32)
        self.discrete = np.concatenate([np.full(part.size, part.discrete) for part in self._parts])

    def row(self, observation: Any, method: str = "step") -> np.ndarray:
        """Return an observation of the original space as (n_x,) float32.

        :param method: that returned it, for the message
        :raises Unfit: if it is none of the original space
        """
        row = np.zeros(self.shape, np.float32)
        values = _values(self.original, observation, f"the observation of its {method}")
        for part, value in zip(self._parts, values, strict=True):
            part.write(value, row[part.first : part.first + part.size], method)
        return row

    def rows(self, observations: Any, steps: int) -> np.ndarray:
        """Return (steps, n_x) float32 from arrays with one entry for each step, nested as the original space is.

        :raises Unfit: as `row`
        """
        return np.stack([self.row(_at(observations, step)) for step in range(steps)])


class FlatObservations(gymnasium.Wrapper):
    """Gives an environment's observations as flat rows; its observation space is a `FlatBox`."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.observation_space = self._flat = FlatBox(env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(seed=seed, options=options)
        if not isinstance(result, tuple) or len(result) != 2:
            return result  # which is refused elsewhere
        return self._flat.row(result[0], "reset"), result[1]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._flat.row(observation), reward, terminated, truncated, info


def is_flat(space: spaces.Space | None) -> TypeGuard[spaces.Box]:
    """Tell whether observations of a space are flat rows of floats as they are, of one or more."""
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        return False
    return space.shape[0] >= 1 and np.issubdtype(space.dtype, np.floating)


def misfit(space: spaces.Space | None) -> str | None:
    """Return what it is in a space that cannot be flattened, and what is needed; None if it can."""
    size = 0
    for place, part in parts_of(space):
        if not isinstance(part, PARTS):
            hint = ", gymnasium.wrappers.FilterObservation leaves others out" if place else ""
            text = " ".join(str(part).split())
            found = text if len(text) <= 60 else type(part).__name__
            return f"{found}{place}, Box, Discrete, MultiDiscrete, MultiBinary, Tuple or Dict is needed{hint}"
        size += flatdim(part)
    if not 1 <= size <= LARGEST:
        return f"{size:,} numbers when flattened, 1 to {LARGEST:,} is needed"
    return None


def parts_of(space: spaces.Space | None, place: str = "") -> Iterator[tuple[str, Any]]:
    """Walk through the spaces that a Tuple or Dict is made of, in Gymnasium's order, each with where it lies in it."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, part in space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces):
            yield from parts_of(part, f"{place} at {key!r}")
    else:
        yield place, space


class _Part:
    """A part of a space, and where in a row it lies."""

    def __init__(self, space: Any, place: str, first: int) -> None:
        self.space, self.place, self.first, self.size = space, place, first, flatdim(space)
        self.discrete = not isinstance(space, spaces.Box)
        self.choices = isinstance(space, CHOICES)
        self.expected = Expected(space.shape, np.dtype(np.int64 if self.choices else np.float32))
        pixels = not self.discrete and space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all()
        self.divisor = np.float32(255 if pixels else 1)
        if self.choices:
            sizes = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec).astype(np.int64)
            self.sizes, self.start = sizes, np.ravel(space.start).astype(np.int64)
            self.offsets = np.cumsum(sizes) - sizes

    def write(self, value: Any, row: np.ndarray, method: str) -> None:
        """Write a value into its part of a row of zeros."""
        array = as_observation(value, self.expected, f"{method}{self.place}").ravel()
        if not self.choices:
            np.divide(array, self.divisor, out=row)
            return
        chosen = array - self.start
        if not ((chosen >= 0) & (chosen < self.sizes)).all():
            raise Unfit(
                f"the observation of its {method}{self.place} is {value!r}, outside {self.space}, "
                "which its observation_space says"
            )
        row[self.offsets + chosen] = 1


def _values(space: spaces.Space, value: Any, where: str) -> Iterator[Any]:
    """Walk through the values that an observation is made of, in the order of `parts_of`."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            found = f"a table of {sorted(map(str, value))}" if isinstance(value, Mapping) else f"{type(value).__name__}"
            raise Unfit(f"{where} is {found}: a table of {list(space.spaces)} is needed, as its observation_space says")
        for key, part in space.spaces.items():
            yield from _values(part, value[key], f"{where} at {key!r}")
    elif isinstance(space, spaces.Tuple):
        if not isinstance(value, Sequence | np.ndarray) or len(value) != len(space.spaces):
            n = len(space.spaces)
            found = f"{len(value)} entries" if isinstance(value, Sequence | np.ndarray) else type(value).__name__
            raise Unfit(f"{where} is {found}: a tuple of {n} is needed, as its observation_space says")
        for index, part in enumerate(space.spaces):
            yield from _values(part, value[index], f"{where} at {index}")
    else:
        yield value


def _at(values: Any, step: int) -> Any:
    if isinstance(values, Mapping):
        return {key: _at(value, step) for key, value in values.items()}
    return tuple(_at(value, step) for value in values) if isinstance(values, tuple) else values[step]
