"""Worlds: the environments trained on, what is known of each, how they are found and vectorized.

Importing it registers our own.
"""

from envs.adroit.records import ADROIT
from envs.classic_control import CARTPOLE
from envs.kitchen.record import KITCHEN
from envs.popgym import POPGYM
from envs.position_only.record import POSITION_ONLY
from envs.random_anomaly.record import RANDOM_ANOMALY
from envs.sequence_choice.record import SEQUENCE_CHOICE
from envs.task import register

for _task in (*ADROIT, CARTPOLE, KITCHEN, POPGYM, POSITION_ONLY, RANDOM_ANOMALY, SEQUENCE_CHOICE):
    register(_task)
