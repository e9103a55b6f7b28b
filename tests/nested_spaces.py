"""Random spaces of the kinds that are taken, for property tests."""

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)
STARTS = st.integers(-5, 5)


@st.composite
def many_choices(draw: st.DrawFn, axes: int) -> spaces.MultiDiscrete:
    """Draw a MultiDiscrete of one up to so many axes, with starts of any sign."""
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=axes)))
    size = int(np.prod(shape))
    sizes = draw(st.lists(st.integers(1, 4), min_size=size, max_size=size))
    starts = draw(st.lists(STARTS, min_size=size, max_size=size))
    kind = draw(st.sampled_from((np.int64, np.int32)))
    return spaces.MultiDiscrete(np.reshape(sizes, shape), dtype=kind, start=np.reshape(starts, shape))


def discrete() -> st.SearchStrategy[spaces.Discrete]:
    """Draw a Discrete with any start."""
    return st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 6), STARTS)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    """Draw a Box of numbers of any type, bytes of pictures among them."""
    shape, kind = draw(SHAPES), draw(st.sampled_from(("float16", "float32", "float64", "int64", "uint8", "pixels")))
    if kind == "pixels":
        return spaces.Box(0, 255, shape, np.uint8)
    low = draw(st.integers(0 if kind == "uint8" else -3, 3))
    high = np.inf if kind.startswith("float") and draw(st.booleans()) else low + draw(st.integers(1, 9))
    return spaces.Box(low, high, shape, np.dtype(kind).type)


PARTS = st.one_of(discrete(), many_choices(3), st.builds(spaces.MultiBinary, st.integers(1, 4)), boxes())
OBSERVATION_SPACES: st.SearchStrategy[spaces.Space] = st.recursive(
    st.one_of(PARTS, st.builds(spaces.MultiBinary, st.tuples(st.integers(1, 2), st.integers(1, 3)))),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.text("abc_ é", min_size=1, max_size=3), inner, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=6,
)
ACTION_SPACES: st.SearchStrategy[spaces.Space] = st.one_of(
    discrete(),
    many_choices(1),
    st.builds(spaces.MultiBinary, st.integers(1, 4)),
    st.builds(lambda shape: spaces.Box(-0.3, 0.7, shape, np.float32), SHAPES),
    st.builds(lambda shape: spaces.Box(-0.3, 0.7, shape, np.float64), SHAPES),
)
