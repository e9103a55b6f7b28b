"""Sequence Choice: labelled sequences of a user's own, read step by step and named."""
