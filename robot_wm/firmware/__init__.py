"""Models, checks and renderers of firmware_configs: what a robot's drives and computer are set to.

What the robot needs (models, loading, check) takes pydantic and PyYAML; the renderers also take jinja2.
"""
