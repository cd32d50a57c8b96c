"""Renderers from a robot's joints (SI units, at the joint) to the configuration formats of the drives on the market."""
