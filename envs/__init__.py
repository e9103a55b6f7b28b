"""Worlds: the environments trained on, how they are found, vectorized and preset. Importing it registers our own."""

from envs.adroit.records import ADROIT
from envs.random_anomaly.record import RANDOM_ANOMALY
from envs.task import register

for _task in (*ADROIT, RANDOM_ANOMALY):
    register(_task)
