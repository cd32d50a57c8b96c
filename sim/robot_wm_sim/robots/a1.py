"""Unitree A1: a quadruped of 12.46 kg with twelve motors: pybullet_data's bodies, the maker's limits."""

from __future__ import annotations

from robot_wm.spec import JointLimits
from robot_wm_sim.actuators.actuator import IDEAL, Actuator, TorqueSpeedCurve
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.description import own_description

LEGS = ("FR", "FL", "RR", "RL")  # front right, front left, rear right, rear left
FEET = tuple(f"{leg}_toe" for leg in LEGS)
# Links that should touch nothing, as legged_gym penalises it: thighs and calves.
LIMBS = tuple(f"{leg}_{link}" for leg in LEGS for link in ("upper", "lower"))
TRUNK = "trunk"
# A robot on its side lies on hips and shoulders, and its trunk touches nothing.
SIDES = tuple(f"{leg}_{link}" for leg in LEGS for link in ("hip", "upper_shoulder"))
FOOT_RADIUS_M = 0.02  # of the ball around a toe link's origin
MASS_KG = 12.458  # of all links
LEG_M = 0.4  # thigh and calf, stretched
STAND_HEIGHT_M = 0.42  # of the trunk where an episode starts: legs clear of the ground

# The maker's own (unitree_ros, robots/a1_description/xacro/const.xacro) for all twelve motors. pybullet_data's a1.urdf
# says 20 N·m and 52.4 rad/s for hips, 55 N·m and 28.6 rad/s for legs, which no real A1 does.
_VELOCITY_RAD_S = 21.0
_EFFORT_N_M = 33.5
# What its motors may be. The maker tells the largest effort and the largest speed; the line between them is Isaac Lab's
# reading of these (UNITREE_A1_CFG: a DCMotor with saturation_effort 33.5 N·m and velocity_limit 21 rad/s).
ACTUATORS = {
    "ideal": IDEAL,
    "torque_speed": Actuator(torque_speed=TorqueSpeedCurve(no_load_speed=_VELOCITY_RAD_S)),
}
# rad, of the description's joints; const.xacro has the same.
_POSITIONS_RAD = {
    "hip": (-0.802851455917, 0.802851455917),
    "upper": (-1.0471975512, 4.18879020479),
    "lower": (-2.69653369433, -0.916297857297),
}
# So that a gait can be read: front legs warm, rear legs cold, left ones light, right ones dark; black feet.
_LEG_COLOURS = {
    "FR": (0.85, 0.15, 0.10, 1.0),
    "FL": (1.00, 0.62, 0.15, 1.0),
    "RR": (0.10, 0.25, 0.80, 1.0),
    "RL": (0.25, 0.75, 0.95, 1.0),
}
_FOOT_COLOUR = (0.08, 0.08, 0.08, 1.0)
_TRUNK_COLOUR = (0.25, 0.25, 0.28, 1.0)


def _home(leg: str, link: str) -> float:
    """legged_gym's default pose, rad: hips slightly out, rear thighs a little further back."""
    if link == "hip":
        return -0.1 if leg.endswith("R") else 0.1
    if link == "upper":
        return 0.8 if leg.startswith("F") else 1.0
    return -1.5


A1 = Robot(
    name="a1",
    description=own_description("a1.urdf"),
    joints=tuple(
        Joint(
            name=f"{leg}_{link}_joint",
            home=_home(leg, link),
            kp=20.0,
            kd=0.5,
            limits=JointLimits(position=position, velocity=_VELOCITY_RAD_S, effort=_EFFORT_N_M),
        )
        for leg in LEGS
        for link, position in _POSITIONS_RAD.items()
    ),
    firmware="a1_kp20_kd05",
    base_position=(0.0, 0.0, STAND_HEIGHT_M),
    colours={TRUNK: _TRUNK_COLOUR}
    | {
        f"{leg}_{link}": colour
        for leg, colour in _LEG_COLOURS.items()
        for link in ("hip", "upper_shoulder", "upper", "lower")
    }
    | dict.fromkeys(FEET, _FOOT_COLOUR),
)
