"""Never lose a run: checkpoints, what is in them, logs that go on, signals, and how a training stops."""
