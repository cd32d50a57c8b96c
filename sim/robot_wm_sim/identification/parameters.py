"""What is identified, as a vector in [0, 1]: four numbers a joint, and a delay and a torque scale of them all.

PACE's set (Bjelonic et al. 2025, "Towards bridging the gap: systematic sim-to-real transfer for diverse legged
robots"): armature, viscous and dry friction and the encoder's zero of each joint, and one delay; here the strength of
the motors beside. Bounds go by the effort limit of each motor, as the ranges of `robot_wm_sim.randomisation` do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.robot import Robot
from robot_wm_sim.urdf_parts import ends
from robot_wm_sim.urdf_tree import loadable, tree_of

Float64 = NDArray[np.float64]


class Kind(NamedTuple):
    """One kind of parameter."""

    name: str
    rotating: str  # unit, of a joint that turns
    sliding: str  # of one that slides
    low: float
    high: float
    of_effort: bool  # bounds are times the motor's effort limit


JOINT_KINDS = (
    Kind("armature", "kg·m²", "kg", 0.0, 0.005, True),
    Kind("damping", "N·m·s/rad", "N·s/m", 0.0, 0.02, True),
    Kind("friction", "N·m", "N", 0.0, 0.1, True),
    Kind("bias", "rad", "m", -0.1, 0.1, False),
)
SHARED_KINDS = (
    Kind("delay", "s", "s", 0.0, 0.1, False),
    Kind("strength", "1", "1", 0.5, 1.5, False),
)
# Of an encoder's zero, rad or m, before anything is known of it: a robot is calibrated. In the air only gravity tells
# of it, and weakly: whatever else an engine does not do as the robot would be taken for it.
ZERO_ERROR = 0.02
# Bullet's joints know of no motor's inertia.
UNKNOWN_TO = {"pybullet": frozenset({"armature"})}


@dataclass(frozen=True)
class World:
    """What a vector of parameters stands for."""

    dynamics: Dynamics
    bias: Float64  # [N] rad or m: encoders say so much more than is so
    delay_s: Float64  # [N] from when a command went out until each joint's drive heeds it
    strength: Float64  # [N] of motors: efforts, gains and limit times this


@dataclass(frozen=True)
class Parameter:
    """One number that is sought."""

    kind: str
    joint: str  # "" of a shared one
    unit: str
    low: float
    high: float
    start: float  # where nothing is known
    known: float = math.inf  # standard deviation about the middle of the bounds that it has before any log

    @property
    def name(self) -> str:
        """As a report calls it."""
        return f"{self.kind} of {self.joint}" if self.joint else self.kind

    def share(self, value: float) -> float:
        """Where a value is between the bounds."""
        return (value - self.low) / (self.high - self.low)


class Parameters:
    """P parameters of N joints: for each kind all joints, then the shared ones."""

    def __init__(self, robot: Robot, joints: Sequence[str], backend: str) -> None:
        """Raises UserError for a joint that is no motor of the robot's own: a coupling's are not told apart."""
        self.joints = tuple(joints)
        self.robot = robot
        motors = {motor.name: motor for motor in robot.motors}
        for name in self.joints:
            if name not in motors:
                raise UserError(
                    f"robot {robot.name}: {name} is no single motor of it ({', '.join(motors)}): what several joints do"
                    " together does not tell what each is like"
                )
        types = {name: joint.get("type") for name, joint in _joints_of(robot).items()}
        left_out = UNKNOWN_TO.get(backend, frozenset())
        self.kinds = tuple(kind for kind in JOINT_KINDS if kind.name not in left_out)
        found = []
        for kind in self.kinds:
            for name in self.joints:
                scale = (motors[name].limits.effort or 1.0) if kind.of_effort else 1.0
                unit = kind.sliding if types[name] == "prismatic" else kind.rotating
                low, high = kind.low * scale, kind.high * scale
                built = {"damping": motors[name].damping, "friction": motors[name].friction}.get(kind.name, 0.0)
                high = max(high, 2.0 * built)
                start = 0.0 if kind.name == "bias" else max(built, 0.1 * high)
                known = ZERO_ERROR if kind.name == "bias" else math.inf
                found.append(Parameter(kind.name, name, unit, low, high, start, known))
        for kind in SHARED_KINDS:
            start = 1.0 if kind.name == "strength" else 0.01
            found.append(Parameter(kind.name, "", kind.rotating, kind.low, kind.high, start))
        self.all = tuple(found)
        self.low = np.array([one.low for one in found])  # [P]
        self.high = np.array([one.high for one in found])  # [P]
        self.start = self.scaled(np.array([one.start for one in found]))  # [P] in [0, 1]
        self.known = np.array([one.known for one in found]) / (self.high - self.low)  # [P] of shares
        self.limbs = limbs(robot, self.joints)

    def as_built(self) -> Float64:
        """Shares [P] of the robot as its scene has it, at once and with all its strength."""
        motors = {motor.name: motor for motor in self.robot.motors}
        built = []
        for one in self.all:
            of_joint = {"damping": "damping", "friction": "friction"}.get(one.kind)
            built.append(getattr(motors[one.joint], of_joint) if of_joint else float(one.kind == "strength"))
        return self.scaled(np.array(built))

    def __len__(self) -> int:
        return len(self.all)

    def scaled(self, values: Float64) -> Float64:
        """Values [P], SI, in [0, 1]."""
        share: Float64 = (values - self.low) / (self.high - self.low)
        return share

    def values(self, share: Float64) -> Float64:
        """SI values [P] of shares [P] in [0, 1]."""
        values: Float64 = self.low + share * (self.high - self.low)
        return values

    def place(self, kind: str, joint: int = 0) -> int:
        """Where along P the parameter of that kind is, of joint number ``joint`` where it is a joint's."""
        names = [one.name for one in self.kinds]
        if kind in names:
            return names.index(kind) * len(self.joints) + joint
        return len(names) * len(self.joints) + [one.name for one in SHARED_KINDS].index(kind)

    def of_kind(self, values: Float64, kind: str) -> Float64:
        """The joints' values [N] of one kind; zeros where the engine does not have it."""
        if kind not in (one.name for one in self.kinds):
            return np.zeros(len(self.joints))
        at = self.place(kind)
        return values[at : at + len(self.joints)]

    def world(self, share: Float64) -> World:
        """The world of shares [P]."""
        values, n = self.values(np.clip(share, 0.0, 1.0)), len(self.joints)

        def by_joint(kind: str) -> dict[str, float]:
            if kind not in (one.name for one in self.kinds):
                return {}
            return dict(zip(self.joints, self.of_kind(values, kind).tolist(), strict=True))

        return World(
            dynamics=Dynamics(
                joint_damping=by_joint("damping"), joint_friction=by_joint("friction"), armature=by_joint("armature")
            ),
            bias=self.of_kind(values, "bias").copy(),
            delay_s=np.full(n, values[self.place("delay")]),
            strength=np.full(n, values[self.place("strength")]),
        )


def limbs(robot: Robot, joints: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Joints [N] by what hangs on the base by one moving joint: with the base held, limbs do not feel each other."""
    described = _joints_of(robot)
    holder = {ends(joint)[1]: name for name, joint in described.items()}  # link -> the joint that it hangs on
    found: dict[str, list[int]] = {}
    for index, name in enumerate(joints):
        root, at = name, name
        while (above := holder.get(ends(described[at])[0])) is not None:
            at = above
            if described[at].get("type") != "fixed":
                root = at
        found.setdefault(root, []).append(index)
    return tuple(tuple(members) for members in found.values())


def _joints_of(robot: Robot):
    return tree_of(loadable(robot), str(robot.urdf))[1]
