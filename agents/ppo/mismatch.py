"""What makes a training stop before it learns from probability ratios that are noise."""

from torch import Tensor

from policies.refusal import OneLine

LARGEST = 0.1
"""Largest difference of log probabilities that is learned from: half of what PPO's usual clipping lets through."""


class Mismatch(OneLine, RuntimeError):
    """The update's log probabilities of a rollout's actions are not those the actions were drawn with."""


def check_mismatch(mismatch: Tensor) -> float:
    """Return the largest difference of a minibatch's log probabilities to the rollout's, before any update.

    Both are of the same policy; they differ by roundings, whose sums are taken in another order. A recurrence that
    expands amplifies these from step to step. Later minibatches are evaluated by a policy that has learned already.

    :param mismatch: scalar
    :raises Mismatch: if probability ratios would be noise
    """
    largest = mismatch.item()
    if largest > LARGEST:
        raise Mismatch(
            f"the log probabilities of the rollout and those of its update differ by {largest:.2g} before anything was "
            f"learned (up to {LARGEST} is rounding): the recurrent network amplifies roundings from step to step; "
            "a smaller `learning_rate` or `max_grad_norm`, or, in a network of six blocks, `activation` tanh may help"
        )
    return largest
