"""Unitree A1: a quadruped of 12.46 kg with twelve motors, as pybullet_data describes it."""

from __future__ import annotations

from pathlib import Path

import pybullet_data

from robot_wm.spec import JointLimits
from robot_wm_sim.robot import Joint, Robot

LEGS = ("FR", "FL", "RR", "RL")  # front right, front left, rear right, rear left
FEET = tuple(f"{leg}_toe" for leg in LEGS)
# Links that should touch nothing, as legged_gym penalises it: thighs and calves.
LIMBS = tuple(f"{leg}_{link}" for leg in LEGS for link in ("upper", "lower"))
TRUNK = "trunk"
STAND_HEIGHT_M = 0.42  # of the trunk where an episode starts: legs clear of the ground

# Position limits in rad, velocity in rad/s, effort in N·m, of the description's joints.
_LIMITS = {
    "hip": JointLimits(position=(-0.802851455917, 0.802851455917), velocity=52.4, effort=20.0),
    "upper": JointLimits(position=(-1.0471975512, 4.18879020479), velocity=28.6, effort=55.0),
    "lower": JointLimits(position=(-2.69653369433, -0.916297857297), velocity=28.6, effort=55.0),
}


def _home(leg: str, link: str) -> float:
    """legged_gym's default pose, rad: hips slightly out, rear thighs a little further back."""
    if link == "hip":
        return -0.1 if leg.endswith("R") else 0.1
    if link == "upper":
        return 0.8 if leg.startswith("F") else 1.0
    return -1.5


A1 = Robot(
    name="a1",
    description=Path(pybullet_data.getDataPath()) / "a1" / "a1.urdf",
    joints=tuple(
        Joint(name=f"{leg}_{link}_joint", home=_home(leg, link), kp=20.0, kd=0.5, limits=limits)
        for leg in LEGS
        for link, limits in _LIMITS.items()
    ),
    firmware="a1_kp20_kd05",
    base_position=(0.0, 0.0, STAND_HEIGHT_M),
)
