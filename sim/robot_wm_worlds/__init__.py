"""Worlds without a robot: what the same agents learn beside robots, over no physics engine of ours."""
