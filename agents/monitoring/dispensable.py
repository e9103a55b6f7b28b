"""What is shown beside a training, and what it costs if it fails: itself, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

from envs.contract import describe
from policies.streams import say


class Dispensable:
    """Something that a training does not need, and gives up where it fails, with one line that says so.

    :param what: in the plural, such as "pictures of episodes"
    :ivar given_up: whether it is not to be tried any more
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.given_up = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Try it."""
        try:
            yield
        except Exception as error:
            self.given_up = True
            text = " ".join(describe(error).split())
            say(f"warning: the training goes on without {self.what}, which failed: {text}")
