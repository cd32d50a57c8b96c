"""Observation fields of joints as an imported robot's first task has them: scaled by the joints' own limits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robot_wm.spec import JointRole, ObservationField
from robot_wm_sim.robot import Robot

_CLIP = 5.0  # of a scaled value


def position_field(
    robot: Robot, names: Sequence[str], *, unit: str, max_age_s: float, name: str = "joint_position"
) -> ObservationField:
    """Where joints or couplings [A] are, rad or m: 0 at home, 1 half a range (half a turn without stops) from there."""
    limits = [robot.joint(joint).limits.position or (-math.pi, math.pi) for joint in names]
    return ObservationField(
        name=name,
        shape=(len(names),),
        unit=unit,
        labels=tuple(names),
        offset=tuple(robot.joint(joint).home for joint in names),
        scale=tuple(2.0 / (high - low) for low, high in limits),
        clip=_CLIP,
        role=JointRole.POSITION,
        topic="joint_states",
        max_age_s=max_age_s,
    )


def velocity_field(
    robot: Robot, names: Sequence[str], *, unit: str, max_age_s: float, name: str = "joint_velocity"
) -> ObservationField:
    """How fast joints or couplings [A] move, rad/s or m/s: 1 at the limit (at 1 where there is none)."""
    return ObservationField(
        name=name,
        shape=(len(names),),
        unit=unit,
        labels=tuple(names),
        scale=tuple(1.0 / (robot.joint(joint).limits.velocity or 1.0) for joint in names),
        clip=_CLIP,
        role=JointRole.VELOCITY,
        topic="joint_states",
        max_age_s=max_age_s,
    )
