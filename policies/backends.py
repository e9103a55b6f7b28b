"""The rule behind `backend="auto"`."""


def choose_backend(density: float, batch_size: int) -> str:
    """Return "dense" or "csr" for a matrix of the given density that multiplies `batch_size` columns at once."""
    return "csr" if density < min(0.6, 0.09 * batch_size**0.75) else "dense"
