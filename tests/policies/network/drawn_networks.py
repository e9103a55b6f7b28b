"""Networks of any sizes and densities, for the tests of what draws patterns in them."""

from hypothesis import strategies as st

from policies.network.specification import BLOCKS, NetworkSpecification


def network(sizes: tuple[int, int, int], fractions: tuple[float, ...]) -> NetworkSpecification:
    """Return a network of n_x, n_h and n_y units whose blocks are filled to these fractions, in the order of BLOCKS."""
    size = dict(zip("xhy", sizes, strict=True))
    weights = {}
    for block, fraction in zip(BLOCKS, fractions, strict=True):
        floor = size["y"] if block == "yh" else 1
        weights[block] = max(floor, round(fraction * size[block[0]] * size[block[1]]))
    return NetworkSpecification(*sizes, sum(weights.values()), weights)


NETWORKS = st.builds(
    network,
    st.tuples(st.integers(1, 30), st.integers(1, 40), st.integers(1, 12)),
    st.tuples(*[st.floats(0, 1)] * 6),
)
