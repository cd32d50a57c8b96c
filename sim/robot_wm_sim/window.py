"""PyBullet's window, to watch any backend in: a second world that takes the poses of the one that counts.

Physics never runs in the window's world, so that a run with a window is bit for bit the run without one, and a slow
screen costs a late picture instead of a late physics step.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import numpy as np
import pybullet
from pybullet_utils.bullet_client import BulletClient

from robot_wm.errors import UserError
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.frames import Floats, Vector
from robot_wm_sim.native_output import native_output_discarded
from robot_wm_sim.pybullet_backend import PyBulletBackend
from robot_wm_sim.pybullet_picture import DrawnSurface
from robot_wm_sim.scene import Camera, Scene

WIDTH, HEIGHT = 1280, 720  # pixels
FIELD_OF_VIEW_DEG = 90.0  # of Bullet's window, which has no other
TEXT_PLACE: Vector = (-0.5, 0.0, 0.3)  # m, its left end in the frame of the robot's base
TEXT_COLOUR = (0.1, 0.1, 0.1)
TEXT_PERIOD_S = 1.0  # a new text waits for a whole picture of the window
FIRST_PICTURE_S = 10.0


class Window:
    """Shows a robot and its surroundings. The mouse turns the view; one that follows the robot stays on it."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        """Open the window, looking as ``camera`` does. Raises UserError where there is no display for one."""
        self._camera = camera
        with display(), native_output_discarded():  # Bullet tells all about its start there
            self._client = BulletClient(pybullet.GUI, options=f"--width={WIDTH} --height={HEIGHT}")
            with self._told_when_closed():
                for part in (pybullet.COV_ENABLE_GUI, pybullet.COV_ENABLE_SHADOWS):
                    self._client.configureDebugVisualizer(part, 0)
                self._world = PyBulletBackend(scene, client=self._client)
                self._surface = DrawnSurface(self._client, scene.checker) if scene.ground else None
                eye, target, _ = camera.viewpoint(scene.robot.base_position, (0.0, 0.0, 0.0, 1.0))
                self._look(*orbit(eye, target, camera.vertical_fov_deg), target)
                self._await_first_picture(target)
        self._text, self._text_at_s = -1, -math.inf

    def show(self, sim: PhysicsBackend, text: str) -> None:
        """Take over the pose of the robot of ``sim``, and write a line of text above it.

        Raises UserError once somebody has closed the window.
        """
        with self._told_when_closed():
            self._world.vary(Dynamics(terrain=sim.dynamics.terrain))
            self._world.place(
                joint_position=sim.state.joint_position,
                base_position=None if sim.scene.robot.fixed_base else sim.state.base_position,
                base_quaternion=sim.state.base_quaternion,
            )
            if self._camera.mount is not None:
                _, target, _ = self._camera.viewpoint(*sim.link_pose(self._camera.mount))
                yaw_deg, pitch_deg, distance_m = self._client.getDebugVisualizerCamera()[8:11]  # as the mouse left it
                self._look(yaw_deg, pitch_deg, distance_m, target)
            self._write(text)

    def watch(self, sim: PhysicsBackend) -> PhysicsBackend:
        """``sim`` itself in every respect, but its markers move in this window, too."""
        return cast(PhysicsBackend, _Watched(sim, self._world))

    def close(self) -> None:
        """Close the window; a second call does nothing."""
        with native_output_discarded(), suppress(pybullet.error):  # who pressed Escape has closed it already
            self._world.close()

    @contextmanager
    def _told_when_closed(self) -> Iterator[None]:
        """Whatever Bullet cannot do once somebody has pressed Escape becomes one line."""
        try:
            yield
        except pybullet.error:
            if self._client.isConnected():
                raise
            raise UserError("the window was closed") from None

    def _look(self, yaw_deg: float, pitch_deg: float, distance_m: float, target: Vector) -> None:
        self._client.resetDebugVisualizerCamera(distance_m, yaw_deg, pitch_deg, target)
        if self._surface is not None:
            self._surface.show(self._world.ground, target, for_people=True)

    def _await_first_picture(self, target: Vector) -> None:
        """Until then Bullet goes on talking, and tells of another view than it was asked for."""
        deadline_s = time.monotonic() + FIRST_PICTURE_S
        while time.monotonic() < deadline_s:
            if np.allclose(self._client.getDebugVisualizerCamera()[11], target, atol=1e-3):
                return
            time.sleep(0.01)

    def _write(self, text: str) -> None:
        now_s = time.monotonic()
        if not text or now_s - self._text_at_s < TEXT_PERIOD_S:
            return
        self._text_at_s = now_s
        replaced = {} if self._text < 0 else {"replaceItemUniqueId": self._text}
        self._text = self._client.addUserDebugText(
            text, TEXT_PLACE, TEXT_COLOUR, parentObjectUniqueId=self._world.bullet_ids[1], **replaced
        )


class _Watched:
    """A backend, and a second world that hears where its markers go; a backend can move them, but not tell of them."""

    def __init__(self, sim: PhysicsBackend, audience: PhysicsBackend) -> None:
        self._sim, self._audience = sim, audience

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)

    def move_marker(self, name: str, position: Floats) -> None:
        self._sim.move_marker(name, position)
        self._audience.move_marker(name, position)


def orbit(eye: Vector, target: Vector, vertical_fov_deg: float) -> tuple[float, float, float]:
    """Bullet's yaw and pitch, degrees, and distance, m, that show ``target`` from the side that ``eye`` sees.

    At yaw 0 Bullet looks along the world's y axis, and turns left with it. Its wide angle asks for less distance, but
    as close as the same size needs, it would distort the robot: half of that, as factors go.
    """
    x, y, z = (b - a for a, b in zip(eye, target, strict=True))
    zoom = math.tan(math.radians(vertical_fov_deg / 2)) / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))
    yaw_deg, pitch_deg = math.degrees(math.atan2(-x, y)), math.degrees(math.atan2(z, math.hypot(x, y)))
    return yaw_deg, pitch_deg, math.sqrt(zoom) * math.hypot(x, y, z)


@contextmanager
def display() -> Iterator[None]:
    """Hold a connection to an X display with OpenGL, or raise UserError: PyBullet ends the whole process without one.

    Held, because a server without clients may start anew, and refuse PyBullet while it does.
    """
    if not sys.platform.startswith("linux"):
        yield  # other systems have their screen
        return
    name = os.environ.get("DISPLAY")
    if not name:
        raise UserError(
            "no display for a window: DISPLAY is not set; make a video instead, or use a desktop's terminal"
        )
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        raise UserError("no display for a window: libX11.so.6 is not installed") from None
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XQueryExtension.argtypes = [ctypes.c_void_p, ctypes.c_char_p, *[ctypes.POINTER(ctypes.c_int)] * 3]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    connection = x11.XOpenDisplay(None)
    if connection is None:
        raise UserError(f"no display for a window: nothing answers at DISPLAY={name}")
    try:
        codes = [ctypes.byref(ctypes.c_int()) for _ in range(3)]
        if not x11.XQueryExtension(connection, b"GLX", *codes):
            raise UserError(f"no display for a window: DISPLAY={name} has no OpenGL (GLX)")
        yield
    finally:
        x11.XCloseDisplay(connection)
