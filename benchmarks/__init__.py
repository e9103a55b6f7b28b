"""Runnable comparisons, each with its committed result: python -m benchmarks.<name>."""
