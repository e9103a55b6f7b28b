"""Demonstrations: read from a data set, and fitted before the reinforcement learning begins."""
