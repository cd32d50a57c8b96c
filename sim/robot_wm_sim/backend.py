"""PhysicsBackend: what a physics engine must offer, and how one is found by name.

The same protocol fits engines that are stepped body by body (PyBullet) and engines that compile a whole model
(MuJoCo): a backend is built once from a Scene, and an episode starts by restoring a snapshot, never by loading again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.plugins import entries, load
from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.frames import Floats, Vector
from robot_wm_sim.scene import Camera, Scene
from robot_wm_sim.terrain import Ground

GROUP = "robot_wm.backends"


@dataclass(frozen=True)
class RobotState:
    """The robot as it is now. Arrays are float64 and are overwritten in place: copy what must last.

    The base pose is that of the base link's frame (not of its centre of mass) in the world.
    """

    joint_position: NDArray[np.float64]  # [J] rad or m
    joint_velocity: NDArray[np.float64]  # [J] rad/s or m/s
    joint_effort: NDArray[np.float64]  # [J] N·m or N, of the motors in the last physics step; 0 without a motor
    base_position: NDArray[np.float64]  # [3] m
    base_quaternion: NDArray[np.float64]  # [4] x, y, z, w
    base_linear_velocity: NDArray[np.float64]  # [3] m/s, world axes
    base_angular_velocity: NDArray[np.float64]  # [3] rad/s, world axes
    base: NDArray[np.float64]  # [13] memory of the base's four, in the order above
    # [3J + 13] memory of them all: joint position and velocity, base position, quaternion, linear and angular velocity,
    # joint effort. One write to it is cheaper than seven.
    block: NDArray[np.float64]

    @classmethod
    def zeros(cls, joints: int) -> RobotState:
        """A state at the origin for a robot with that many joints."""
        block = np.zeros(3 * joints + 13)
        sizes = (joints, joints, 3, 4, 3, 3)
        q, v, position, quaternion, linear, angular, effort = np.split(block, np.cumsum(sizes))  # views
        quaternion[3] = 1.0
        return cls(
            joint_position=q,
            joint_velocity=v,
            joint_effort=effort,
            base_position=position,
            base_quaternion=quaternion,
            base_linear_velocity=linear,
            base_angular_velocity=angular,
            base=block[2 * joints : 2 * joints + 13],
            block=block,
        )


class PhysicsBackend(Protocol):
    """A physics engine that holds one Scene. Joints, motors and links go by the names of the robot's description."""

    name: ClassVar[str]
    scene: Scene
    state: RobotState  # refreshed by run (unless told not to), place and restore
    dynamics: Dynamics  # in what the world differs from the scene as built; set by vary and restore
    ground: Ground  # how high it is where; changed by vary and restore

    def __init__(self, scene: Scene) -> None:
        """Build the scene. UserError for a joint that the description lacks, and for what the engine cannot do."""

    def run(self, drive: Drive, steps: int, *, refresh: bool = True, is_same: bool = False) -> None:
        """Advance ``steps`` ≥ 1 physics steps under ``drive``, then refresh ``state`` once.

        Who runs on at once and looks at nothing between goes without ``refresh``: to read a state takes as long as to
        tell the drives. ``is_same`` spares telling them what they go by already: the drive is that of the last run, all
        numbers in it too, its set-points stand still, and nothing was restored since.

        The one place where set-points become efforts: by `Drive`'s equation, and where a motor's `Actuator` is not
        ideal by `robot_wm_sim.actuators.law`.
        """

    def place(
        self,
        *,
        joint_position: NDArray[np.float64],
        joint_velocity: NDArray[np.float64] | None = None,
        base_position: Floats | None = None,
        base_quaternion: Floats | None = None,
        base_linear_velocity: Floats = (0.0, 0.0, 0.0),
        base_angular_velocity: Floats = (0.0, 0.0, 0.0),
    ) -> None:
        """Put the robot there: joints [J] (velocity 0 by default) and, unless ``base_position`` is None, its base.

        What motors were told and have not done yet stays under way. ValueError for a ``base_position`` where the base
        is fixed.
        """

    def vary(self, dynamics: Dynamics) -> None:
        """Make physics what ``dynamics`` says, whatever it was before; the robot stays where it is, as it moves.

        Where another terrain rises through it, contacts push it out: place it anew.

        Gravity compensation (`Robot.gravity_compensation`) goes on believing in the masses as built, and knows of
        today's gravity. Raises UserError for a link or joint that is not there and for what this engine cannot change;
        then nothing is.
        """

    def save(self) -> Any:
        """Take a snapshot of all that physics depends on, ``dynamics`` and motors' memory too; valid until close."""

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot and its ``dynamics``; what follows is bit-equal to what followed it."""

    def link_pose(self, link: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position [3] m and quaternion [4] (x, y, z, w) of a link's frame in the world."""

    def link_positions(self, links: Sequence[str]) -> list[Vector]:
        """Where each named link's frame is in the world, [K] of (x, y, z) m; cheaper than as many ``link_pose``.

        As of the last physics step's beginning or end, whichever the engine has at hand: good for measuring, and never
        more than one physics step old.
        """

    def contact_forces(self, links: Sequence[str]) -> list[float]:
        """Sum of normal contact forces on each named link, [K] N, in the last physics step."""

    def move_marker(self, name: str, position: Floats) -> None:
        """Put the centre of a marker there, m."""

    def render(self, camera: Camera, *, height: int, width: int) -> NDArray[np.uint8]:
        """What a camera sees: uint8 [height, width, 3]."""

    def close(self) -> None:
        """Free the engine; a second call does nothing."""


def load_backend(name: str) -> type[PhysicsBackend]:
    """The backend class registered as entry point ``robot_wm.backends: name``. Raises UserError if there is none."""
    found = entries(GROUP)
    if name not in found:
        raise UserError(f"backend {name!r} is not installed; known backends: {', '.join(found) or 'none'}")
    backend: type[PhysicsBackend] = load(found[name])
    return backend
