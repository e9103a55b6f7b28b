"""Runs compared: which configurations there are among them, how they differ, and what each came to."""
