"""Franka Emika Panda: seven revolute joints under velocity control and a gripper that stays open."""

from __future__ import annotations

from robot_wm.spec import JointLimits
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.description import pybullet_description

TOOL = "panda_grasptarget"  # the link between the finger tips
ARM = tuple(f"panda_joint{number}" for number in range(1, 8))

# Limits of the maker's data sheet: position rad, velocity rad/s, effort N·m. The ready pose is Franka's.
_LIMITS = (
    ((-2.8973, 2.8973), 2.175, 87.0),
    ((-1.7628, 1.7628), 2.175, 87.0),
    ((-2.8973, 2.8973), 2.175, 87.0),
    ((-3.0718, -0.0698), 2.175, 87.0),
    ((-2.8973, 2.8973), 2.61, 12.0),
    ((-0.0175, 3.7525), 2.61, 12.0),
    ((-2.8973, 2.8973), 2.61, 12.0),
)
_HOME = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
# Of the joint impedance that Franka's own examples command, N·m/rad and N·m·s/rad.
_KP = (600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0)
_KD = (50.0, 50.0, 50.0, 50.0, 30.0, 25.0, 15.0)

PANDA = Robot(
    name="franka_panda",
    description=pybullet_description("franka_panda/panda.urdf"),
    joints=(
        *(
            Joint(
                name=name,
                home=home,
                kp=kp,
                kd=kd,
                limits=JointLimits(position=position, velocity=velocity, effort=effort),
            )
            for name, home, kp, kd, (position, velocity, effort) in zip(ARM, _HOME, _KP, _KD, _LIMITS, strict=True)
        ),
        *(
            Joint(
                name=f"panda_finger_joint{number}",
                home=0.02,
                kp=500.0,
                kd=10.0,
                limits=JointLimits(position=(0.0, 0.04), velocity=0.2, effort=20.0),
            )
            for number in (1, 2)
        ),
    ),
    firmware="franka_joint_velocity",
    fixed_base=True,
    colours={f"panda_link{number}": (0.9, 0.9, 0.92, 1.0) for number in range(8)}
    | {"panda_hand": (0.2, 0.2, 0.25, 1.0)}
    | {f"panda_{side}finger": (0.9, 0.5, 0.1, 1.0) for side in ("left", "right")},
    gravity_compensation=True,
)
