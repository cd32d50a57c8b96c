"""Robots and boards as YAML: read through importlib.resources, rendered by `robot-wm firmware`."""
