"""What a physics backend is asked to build: one robot, the things around it, and cameras.

Plain data, so that every backend builds the same world. Lengths in m, angles in rad; frames are right-handed, z up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from robot_wm.errors import UserError
from robot_wm_sim.frames import Floats, Vector, rotate
from robot_wm_sim.robot import Robot
from robot_wm_sim.terrain import HeightField

Colour = tuple[float, float, float, float]  # red, green, blue, alpha in [0, 1]
GROUND_COLOUR: Colour = (0.62, 0.66, 0.62, 1.0)
UP: Vector = (0.0, 0.0, 1.0)
SURFACE_FRICTION = 1.0  # Coulomb coefficient of the ground, rough or not, and of boxes
FrictionCombine = Literal["multiply", "average", "min", "max"]  # as PhysX and USD call them


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
class Checker:
    """Every other square of the ground in another colour, in pictures for people: plain ground shows no motion.

    The corners of squares lie on multiples of ``side`` in the world, and the square at [0, side]² is a coloured one.
    """

    side: float = 0.25  # m
    colour: Colour = (0.44, 0.48, 0.45, 1.0)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where a pinhole camera stands.

    ``eye`` and ``target`` are in the world frame, or in the frame of link ``mount``. With ``keep_level`` the camera
    follows the mount over the ground and nothing else: x and y are added to it, heights stay those of the world. Then
    ``heading_lag_s`` lets `RobotEnv.render` turn it with the mount's heading, smoothed by that time constant, so that a
    view from the side stays one and a gait's wobble does not shake it.
    """

    eye: Vector  # m
    target: Vector  # m
    vertical_fov_deg: float = 45.0
    near: float = 0.02  # m
    far: float = 20.0  # m
    mount: str | None = None
    keep_level: bool = False
    heading_lag_s: float | None = None
    # With the ground's checker, and light from behind the camera. What agents see has neither: a policy's pictures must
    # not change with what pleases people.
    for_people: bool = False

    def viewpoint(self, position: Floats, quaternion: Floats) -> tuple[Vector, Vector, Vector]:
        """Eye, target and the direction that is up in the picture, [3] each in the world, for a pose of the mount.

        The pose is read only where the camera has a mount.
        """
        if self.mount is None:
            return self.eye, self.target, UP
        x, y, z = map(float, position)
        if self.keep_level:
            return _moved(self.eye, (x, y, 0.0)), _moved(self.target, (x, y, 0.0)), UP
        eye, target, up = (rotate(quaternion, vector) for vector in (self.eye, self.target, UP))
        return _moved(eye, (x, y, z)), _moved(target, (x, y, z)), up


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A world with one robot. Surfaces other than the robot's have friction SURFACE_FRICTION.

    ``friction_combine`` says what becomes of the coefficients of two bodies that touch. A backend comes to it, whatever
    its engine does by itself, or raises UserError.
    """

    robot: Robot
    physics_rate_hz: float
    ground: bool = True
    height_field: HeightField | None = None  # of the ground, which is flat until `Dynamics.terrain` says otherwise
    checker: Checker = field(default_factory=Checker)
    gravity: float = 9.81  # m/s², downwards
    friction_combine: FrictionCombine = "multiply"
    boxes: tuple[Box, ...] = ()
    markers: tuple[Marker, ...] = ()
    cameras: Mapping[str, Camera] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UserError for a rule that is none, and a height field of no ground."""
        if self.height_field is not None and not self.ground:
            raise UserError("scene: height_field is that of a ground, and ground is False")
        if self.friction_combine not in get_args(FrictionCombine):
            known = ", ".join(get_args(FrictionCombine))
            raise UserError(f"scene: friction_combine is {self.friction_combine!r}, but must be one of {known}")


def combined_friction(rule: FrictionCombine, first: float, second: float) -> float:
    """The Coulomb coefficient between two bodies with these."""
    if rule == "multiply":
        return first * second
    if rule == "average":
        return (first + second) / 2
    return min(first, second) if rule == "min" else max(first, second)


def light_from_behind(eye: Vector, target: Vector) -> Vector:
    """Direction to a light behind a camera and above it, so that the sides that it sees are not dark."""
    x, y, z = (a - b for a, b in zip(eye, target, strict=True))
    return x, y, z + math.hypot(x, y)


def _moved(point: Vector, way: Vector) -> Vector:
    return point[0] + way[0], point[1] + way[1], point[2] + way[2]
