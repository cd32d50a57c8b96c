"""Collectors and robots on other machines, over a Ray cluster."""
