"""Downstream benchmarks: items, task files, how they are scored, where code is run."""
