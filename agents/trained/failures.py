"""What an evaluation says of an environment that raises, or returns what does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager

from agents.errors import EvaluationStopped
from envs.contract import EnvironmentFailure
from envs.vectorized.finite import NotFinite


@contextmanager
def explained_failures() -> Iterator[None]:
    """Say it in one line, which names the seed, the episode and the step.

    :raises EvaluationStopped: for `EnvironmentFailure` and `NotFinite`
    """
    try:
        yield
    except EnvironmentFailure as failure:
        raise EvaluationStopped(str(failure)) from failure
    except NotFinite as error:
        raise EvaluationStopped(error.message) from error
