"""The six weight blocks of a network of inputs x, hidden units h and outputs y; named target first, source second."""

BLOCKS = ("hx", "hh", "hy", "yx", "yh", "yy")
OUTER_BLOCKS = ("hx", "hy", "yx", "yh", "yy")

PATTERNS = ("unstructured", "blocks")
"""How positions of weights are drawn: each by itself, or for groups of rows that share their columns."""

LARGEST = 10**12
"""No size or budget is above this, so that products with densities stay exact enough and never overflow."""


def block_sizes(n_inputs: int, n_hidden: int, n_outputs: int) -> dict[str, int]:
    """Return block -> rows times columns."""
    sizes = {"x": n_inputs, "h": n_hidden, "y": n_outputs}
    return {block: sizes[block[0]] * sizes[block[1]] for block in BLOCKS}


def block_floors(n_outputs: int) -> dict[str, int]:
    """Return block -> the fewest weights it may have."""
    return {block: n_outputs if block == "yh" else 1 for block in BLOCKS}
