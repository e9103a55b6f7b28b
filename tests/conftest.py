"""Property tests have no deadline: how long an example takes says more of the machine than of the code."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
