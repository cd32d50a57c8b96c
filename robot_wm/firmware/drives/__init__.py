"""Renderers from a robot's joints (SI units, at the joint) to the configuration formats of the drives on the market."""

from robot_wm.firmware.drives.registry import HOW_TO_APPLY, RENDERERS

__all__ = ["HOW_TO_APPLY", "RENDERERS"]
