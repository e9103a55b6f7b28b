"""Worlds: the environments trained on, how they are found, vectorized and preset. Importing it registers our own."""

import gymnasium

# The entry point is a text, so that nothing heavy is loaded before the environment is made.
gymnasium.register(id="RandomAnomaly-v0", entry_point="envs.random_anomaly.environment:RandomAnomalyEnv")
