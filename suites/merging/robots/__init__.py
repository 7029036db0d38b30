"""Environments, the experts that act in them, and the trajectories that they leave."""
