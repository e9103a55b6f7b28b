"""Which entries of an observation are no velocities, of environments whose observations are described.

Sources: the documentation of Gymnasium's classic control and MuJoCo environments and of Gymnasium-Robotics' hand. Left
out are velocities, and forces and velocities of the centre of mass that stand behind them.
"""

from collections.abc import Iterable, Mapping

HAND_VELOCITY = range(27, 33)
"""of the hammer and of the pen; the door and the ball come without"""

POSITIONS: Mapping[str, Mapping[int, Iterable[int]]] = {
    "Pendulum": {3: range(2)},
    "CartPole": {4: (0, 2)},
    "Acrobot": {6: range(4)},
    "MountainCar": {2: (0,)},
    "MountainCarContinuous": {2: (0,)},
    "InvertedPendulum": {4: range(2)},
    "InvertedDoublePendulum": {9: range(5), 11: range(5)},
    # after the velocities stand vectors between places
    "Reacher": {10: (*range(6), 8, 9), 11: (*range(6), 8, 9, 10)},
    "Pusher": {23: (*range(7), *range(14, 23))},
    # without the place along the way, unless exclude_current_positions_from_observation=False adds it
    "Swimmer": {8: range(3), 10: range(5)},
    "HalfCheetah": {17: range(8), 18: range(9)},
    "Hopper": {11: range(5), 12: range(6)},
    "Walker2d": {17: range(8), 18: range(9)},
    "Ant": {27: range(13), 29: range(15), 105: range(13), 107: range(15), 111: range(13), 113: range(15)},
    "Humanoid": {348: range(22), 350: range(24), 376: range(22), 378: range(24)},
    "HumanoidStandup": {348: range(22), 350: range(24), 376: range(22), 378: range(24)},
    "AdroitHandHammer": {46: sorted({*range(46)} - {*HAND_VELOCITY})},
    "AdroitHandHammerSparse": {46: sorted({*range(46)} - {*HAND_VELOCITY})},
    "AdroitHandPen": {45: sorted({*range(45)} - {*HAND_VELOCITY})},
    "AdroitHandPenSparse": {45: sorted({*range(45)} - {*HAND_VELOCITY})},
}
"""Name without version -> size of its observation -> entries that are kept."""
