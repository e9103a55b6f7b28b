"""The parent: which network, before any training; a model of what the trainings of many tasks came to."""
