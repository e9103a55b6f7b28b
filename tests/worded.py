"""An environment whose observations no network of ours reads. Importing it registers it."""

import gymnasium
from gymnasium import spaces


class Worded(gymnasium.Env):
    """Its observations hold a sentence, as MiniGrid's do."""

    observation_space = spaces.Dict(mission=spaces.Text(9), place=spaces.Discrete(3))
    action_space = spaces.Discrete(2)


gymnasium.register("Worded-v0", Worded)
