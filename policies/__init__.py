"""The networks: their specification, sparse patterns, recurrent computation and Stable-Baselines3 policies."""
