"""The tasks; each module registers its factories as entry points ``robot_wm.tasks``."""
