"""The heading of a camera that follows a robot from the side: its own, but slowly."""

from __future__ import annotations

import math
from dataclasses import replace

from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.frames import axes, from_yaw, rotate
from robot_wm_sim.scene import Camera


class Chase:
    """Turns a level camera with its mount's heading, with the lag that the camera asks for.

    A first-order lag, so its answer depends on the poses that it was asked about since ``reset``.
    """

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.reset()

    def reset(self) -> None:
        """Start anew: the next pose is taken as it is."""
        self._heading_rad: float | None = None
        self._time_s = 0.0

    def follow(self, sim: PhysicsBackend, time_s: float) -> Camera:
        """The camera for the robot as it stands now, at a time of the episode that never runs backwards."""
        lag_s, mount = self._camera.heading_lag_s, self._camera.mount
        if lag_s is None or mount is None:
            return self._camera
        ahead, _, _ = axes(sim.link_pose(mount)[1])
        heading = math.atan2(ahead[1], ahead[0])
        if self._heading_rad is None:
            self._heading_rad = heading
        else:
            behind = math.remainder(heading - self._heading_rad, 2 * math.pi)  # the shorter way round
            self._heading_rad += behind * (1 - math.exp(-(time_s - self._time_s) / lag_s))
        self._time_s = time_s
        turn = from_yaw(self._heading_rad)
        return replace(self._camera, eye=rotate(turn, self._camera.eye), target=rotate(turn, self._camera.target))
