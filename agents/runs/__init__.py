"""The folder of a run: its files, written whole or not at all, its lock, and the statistics beside a policy."""
