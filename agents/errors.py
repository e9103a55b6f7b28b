"""The error that ends a training before its time. What does not fit is refused by `envs.refusal.Refusal`."""

from policies.refusal import OneLine


class TrainingStopped(OneLine, RuntimeError):
    """A training ended before its time through nothing the user typed; the line says what, where, how to go on.

    Its cause, if any, is what an environment of the user's raised.
    """
