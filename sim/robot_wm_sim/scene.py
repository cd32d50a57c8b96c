"""What a physics backend is asked to build: one robot, the things around it, and cameras.

Plain data, so that every backend builds the same world. Lengths in m, angles in rad; frames are right-handed, z up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robot_wm_sim.robot import Robot

Vector = tuple[float, float, float]
Colour = tuple[float, float, float, float]  # red, green, blue, alpha in [0, 1]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A fixed box that the robot collides with, such as a wall."""

    name: str
    half_extents: Vector  # m
    position: Vector  # m, its centre
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A thing that is drawn and nothing else: a goal. Moved with ``PhysicsBackend.move_marker``.

    A sphere, or with ``height`` an upright cylinder.
    """

    name: str
    radius: float  # m
    colour: Colour
    height: float | None = None  # m


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where a pinhole camera stands.

    ``eye`` and ``target`` are in the world frame, or in the frame of link ``mount``. With ``keep_level`` the camera
    follows the mount's position but not its orientation: the chase camera of a video.
    """

    eye: Vector  # m
    target: Vector  # m
    vertical_fov_deg: float = 45.0
    near: float = 0.02  # m
    far: float = 20.0  # m
    mount: str | None = None
    keep_level: bool = False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A world with one robot. Surfaces other than the robot's have friction 1; two bodies' coefficients multiply."""

    robot: Robot
    physics_rate_hz: float
    ground: bool = True
    gravity: float = 9.81  # m/s², downwards
    boxes: tuple[Box, ...] = ()
    markers: tuple[Marker, ...] = ()
    cameras: Mapping[str, Camera] = field(default_factory=dict)
