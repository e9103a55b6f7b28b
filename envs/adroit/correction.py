"""The argument `reward` of an Adroit task, `registered` or `corrected`.

Three of the rewards that gymnasium-robotics 1.4.2 registers, of hammer, door and relocation, add 0.1 times the hand's
distance from the object, in metres, where the original tasks subtract it (Gymnasium-Robotics pull request 220).
"""

from typing import Any

from envs.refusal import Refusal

REWARDS = ("registered", "corrected")

CORRECTION = -0.2
"""What is added for each metre between hand and object: -0.1 in place of +0.1."""


class Correctable:
    """Comes before the class of the registered task, and notes whether its reward is to be corrected.

    :param reward: `registered` or `corrected`
    :param reward_type: `dense` or `sparse`, as of the registered environment
    :param kwargs: further arguments of it, such as `render_mode`, `width`, `height`
    :raises Refusal: for an unknown reward, or the corrected one of the sparse variant, which has no distances
    """

    sparse_reward: bool
    """of the registered environment"""

    def __init__(self, reward: str = "registered", reward_type: str = "dense", **kwargs: Any) -> None:
        if reward not in REWARDS:
            raise Refusal(f"reward {reward!r} is unknown: one of {', '.join(REWARDS)} is needed")
        super().__init__(**kwargs | {"reward_type": reward_type})
        self.corrected = reward == "corrected"
        if self.corrected and self.sparse_reward:
            raise Refusal("reward corrected does not fit the sparse reward, which has no distances: use registered")
