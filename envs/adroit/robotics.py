"""Gymnasium-Robotics, imported without the notice it prints about environments that nobody asked for.

On import, gymnasium_robotics 1.2.1 to 1.4.2 write to stderr what farama_notifications holds under its name: that three
reward functions changed (Gymnasium-Robotics pull request 220). Only that entry is withheld; warnings stay.
"""

import importlib

_notifications = importlib.import_module("farama_notifications").notifications
_withheld = _notifications.pop("gymnasium_robotics", {})
try:
    from gymnasium_robotics.envs.adroit_hand.adroit_door import AdroitHandDoorEnv
    from gymnasium_robotics.envs.adroit_hand.adroit_hammer import AdroitHandHammerEnv
    from gymnasium_robotics.envs.adroit_hand.adroit_relocate import AdroitHandRelocateEnv
finally:
    _notifications["gymnasium_robotics"] = _withheld

__all__ = ["AdroitHandDoorEnv", "AdroitHandHammerEnv", "AdroitHandRelocateEnv"]
