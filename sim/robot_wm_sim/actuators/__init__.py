"""Actuators: what stands between a drive's set-point and the effort at its joint."""
