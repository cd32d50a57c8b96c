"""Simulated robots: descriptions, tasks and the physics backends under them."""
