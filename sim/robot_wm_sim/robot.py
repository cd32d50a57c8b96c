"""Robot: a description file and, by joint name, what the file does not say (home pose, drives, damping)."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from robot_wm.errors import UserError
from robot_wm.spec import FirmwareProfile, JointLimits
from robot_wm_sim.actuators.actuator import IDEAL, Actuator
from robot_wm_sim.robots.description import PackageFile

_UNITS = {
    "home": "rad or m",
    "damping": "N·m·s/rad or N·s/m",
    "friction": "N·m or N",
    "kp": "N·m/rad or N/m",
    "kd": "N·m·s/rad or N·s/m",
}


@dataclass(frozen=True, kw_only=True)
class Mimic:
    """What a joint follows: ``multiplier * position of joint + offset``, as URDF's <mimic> has it."""

    joint: str
    multiplier: float = 1.0
    offset: float = 0.0  # rad or m

    def at(self, position: float) -> float:
        """Where it has to be, rad or m, while the joint that it follows is at ``position``."""
        return self.multiplier * position + self.offset


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One moving joint. It has a motor when ``limits.effort`` is set."""

    name: str
    home: float = 0.0  # rad or m
    damping: float = 0.0  # viscous friction, its motor's too, N·m·s/rad or N·s/m
    friction: float = 0.0  # dry (Coulomb) friction, its motor's too, N·m or N
    kp: float = 0.0  # position gain of its drive, N·m/rad or N/m
    kd: float = 0.0  # velocity gain of its drive, N·m·s/rad or N·s/m
    limits: JointLimits = field(default_factory=JointLimits)
    actuator: Actuator = IDEAL  # of its motor
    # Engines have no mimic: a motor of the simulation's own drives it to where the other joint is measured to be.
    mimics: Mimic | None = None

    def __post_init__(self) -> None:
        """Make the numbers floats, whole ones too; raises UserError for one that is none."""
        for key, unit in _UNITS.items():
            value = getattr(self, key)
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or (key != "home" and value < 0):
                finite = "finite" if key == "home" else "finite and not negative"
                raise UserError(f"joint {self.name}: {key} is {value!r}, {unit}, but must be {finite}")
            object.__setattr__(self, key, float(value))
        if not (self.has_motor or self.actuator.is_ideal):
            raise UserError(f"joint {self.name}: has an actuator, but no motor: limits.effort is not set, N·m or N")

    @property
    def has_motor(self) -> bool:
        """Whether something drives this joint."""
        return self.limits.effort is not None


@dataclass(frozen=True, kw_only=True)
class Robot:
    """A robot as every physics backend loads it. Joints are matched with the description by name.

    ``joints`` names the joints in the order of every array with axis J; ``motors`` are those with a motor, in the
    same order (axis M). Other moving joints of the description are left free and undamped.
    """

    name: str
    description: Path | PackageFile  # URDF
    joints: tuple[Joint, ...]
    firmware: str  # name of the firmware profile whose gains and limits ``joints`` carry
    fixed_base: bool = False
    base_position: tuple[float, float, float] = (0.0, 0.0, 0.0)  # m, frame of the base link in the world
    friction: float = 1.0  # Coulomb coefficient of every link
    gravity_compensation: bool = False  # the drives add the torque that gravity asks for, as the arm's firmware does
    self_collision: bool = False
    # Colour of links by name: red, green, blue, alpha in [0, 1].
    colours: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    # Action names that stand for several motors, such as "drive" for four wheels.
    couplings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UserError for what no firmware can do."""
        if self.gravity_compensation and not self.fixed_base:
            raise UserError(f"robot {self.name}: gravity_compensation needs a fixed base")

    @property
    def urdf(self) -> Path:
        """Where the description is. Raises UserError if the package that brings it is not installed."""
        return self.description.path() if isinstance(self.description, PackageFile) else self.description

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names along axis J."""
        return tuple(joint.name for joint in self.joints)

    @property
    def motors(self) -> tuple[Joint, ...]:
        """Joints with a motor, along axis M."""
        return tuple(joint for joint in self.joints if joint.has_motor)

    def driven_by(self, actuator: Actuator) -> Robot:
        """The same robot with that actuator as each of its motors."""
        joints = (replace(joint, actuator=actuator) if joint.has_motor else joint for joint in self.joints)
        return replace(self, joints=tuple(joints))

    def joint(self, name: str) -> Joint:
        """The joint of that name, or the first motor of that coupling."""
        wanted = self.couplings.get(name, (name,))[0]
        return next(joint for joint in self.joints if joint.name == wanted)

    def require_joints(self, described: Collection[str]) -> None:
        """Raise UserError for a joint that is not among the moving ones of the description."""
        for joint in self.joints:
            if joint.mimics is not None and joint.mimics.joint not in self.joint_names:
                raise UserError(
                    f"robot {self.name}: {joint.name} mimics {joint.mimics.joint!r}, which is not its joint"
                )
            if joint.name not in described:
                raise UserError(
                    f"robot {self.name}: {self.urdf.name} has no moving joint {joint.name!r}; "
                    f"it has {sorted(described)}"
                )

    def require_free_base(self) -> None:
        """Raise ValueError where the base is fixed: it cannot be placed."""
        if self.fixed_base:
            raise ValueError(f"robot {self.name} has a fixed base, which cannot be placed")

    def index(self, names: Sequence[str]) -> list[int]:
        """Places of the named joints along axis J."""
        return [self.joint_names.index(name) for name in names]

    def limits(self, names: Sequence[str]) -> tuple[JointLimits, ...]:
        """Limits of the named joints or couplings, for ``ActionSpec.limits``."""
        return tuple(self.joint(name).limits for name in names)

    def profile(self, names: Sequence[str]) -> FirmwareProfile:
        """The drive settings of the named joints or couplings, for ``AgentSpec.firmware``."""
        joints = [self.joint(name) for name in names]
        return FirmwareProfile(
            name=self.firmware, kp=tuple(joint.kp for joint in joints), kd=tuple(joint.kd for joint in joints)
        )
