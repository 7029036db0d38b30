"""Merging: rules, alignment, the statistics that rules weigh by, and a command for checkpoints."""
