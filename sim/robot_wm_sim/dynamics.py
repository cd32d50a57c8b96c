"""Dynamics: in what a world's physics differs from the scene as it was built. What `PhysicsBackend.vary` takes.

Everything in it is absolute: an SI value in place of the scene's, or a factor or an offset to what the description
says. So it does not matter what was varied before, and ``Dynamics()`` is the scene as built.

What is not here:

* Motor strength, gains and delays are the firmware's: a `Drive` whose effort, kp, kd and limit are all times s is one
  with motors of strength s, in any engine and with any actuator (`robot_wm_sim.actuators`).
* Restitution: neither engine has one to be trusted. MuJoCo's contacts are springs. Bullet takes the gap that is left at
  the step of the impact off the rebound: a ball that lands at 4.4 m/s with coefficient 0.3 leaves at 0.04 of that.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from robot_wm.errors import UserError
from robot_wm_sim.frames import Vector
from robot_wm_sim.scene import Scene
from robot_wm_sim.terrain import Terrain


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """Quantities of the physics engine; what is not named is as the scene was built."""

    friction: float | None = None  # Coulomb coefficient of every link of the robot, in place of Robot.friction
    gravity: Vector | None = None  # m/s², world axes, in place of (0, 0, -Scene.gravity)
    mass_scale: Mapping[str, float] = field(default_factory=dict)  # of links by name: mass and inertia times this
    com_offset: Mapping[str, Vector] = field(default_factory=dict)  # m, of links' centres of mass, in the link's frame
    joint_damping: Mapping[str, float] = field(default_factory=dict)  # N·m·s/rad or N·s/m, in place of Joint.damping
    joint_friction: Mapping[str, float] = field(default_factory=dict)  # dry (Coulomb), N·m or N, for Joint.friction
    armature: Mapping[str, float] = field(default_factory=dict)  # inertia of motors at the joint, kg·m² or kg
    terrain: Terrain | None = None  # of the ground in place of the plane, where `Scene.height_field` has room for one

    def __post_init__(self) -> None:
        """Make all numbers floats and all mappings ours; raises UserError for a value that physics does not have."""
        if self.friction is not None:
            self._set("friction", _number(self.friction, "friction", "1", least=0.0))
        if self.gravity is not None:
            self._set("gravity", _vector(self.gravity, "gravity", "m/s²"))
        for name, unit in _JOINT_UNITS.items():
            values = getattr(self, name)
            self._set(name, {key: _number(value, f"{name} of {key}", unit, least=0.0) for key, value in values.items()})
        scales, offsets = self.mass_scale.items(), self.com_offset.items()
        self._set("mass_scale", {key: _number(v, f"mass_scale of {key}", "1", least=_LEAST_SCALE) for key, v in scales})
        self._set("com_offset", {key: _vector(value, f"com_offset of {key}", "m") for key, value in offsets})

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def require_parts(self, scene: Scene, links: Collection[str]) -> None:
        """Raise UserError for a link that is not among ``links``, or a joint or ground that the scene does not have."""
        robot = scene.robot
        if self.terrain is not None and scene.height_field is None:
            raise UserError(f"dynamics: terrain: the scene of robot {robot.name} has no height field")
        for kind, fields, known in (
            ("link", ("mass_scale", "com_offset"), links),
            ("joint", tuple(_JOINT_UNITS), robot.joint_names),
        ):
            for name in fields:
                for part in getattr(self, name):
                    if part not in known:
                        raise UserError(
                            f"dynamics: {name}: robot {robot.name} has no {kind} {part!r}; it has {sorted(known)}"
                        )

    def refuse(self, backend: str, fields: Iterable[str]) -> None:
        """Raise UserError if one of ``fields``, which that engine cannot change, is asked for."""
        for name in fields:
            if getattr(self, name):
                raise UserError(f"dynamics: {name}: backend {backend} cannot change it in a world that is built")


_LEAST_SCALE = 1e-3  # a thousandth of a link: less is a mistake, and what moves must weigh something
_JOINT_UNITS = {
    "joint_damping": "N·m·s/rad or N·s/m",
    "joint_friction": "N·m or N",
    "armature": "kg·m² or kg",
}


def _number(value: Any, name: str, unit: str, *, least: float = -math.inf) -> float:
    # Nearly always a float, of which an abstract class need not be asked; a reset checks dozens.
    is_number = isinstance(value, float) or (isinstance(value, numbers.Real) and not isinstance(value, bool))
    if not (is_number and math.isfinite(value)) or value < least:
        wanted = "finite" if least == -math.inf else f"finite and at least {least:g}"
        raise UserError(f"dynamics: {name} is {value!r}, {unit}, but must be {wanted}")
    return float(value)


def _vector(value: Any, name: str, unit: str) -> Vector:
    try:
        x, y, z = value
    except (TypeError, ValueError):
        raise UserError(f"dynamics: {name} is {value!r}, but must be three numbers, {unit}") from None
    return _number(x, name, unit), _number(y, name, unit), _number(z, name, unit)
