"""MIT racecar: four driven wheels of 5 cm radius and two steered front hinges that turn together."""

from __future__ import annotations

from robot_wm.spec import JointLimits
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.description import own_description

WHEEL_RADIUS_M = 0.05
WHEELS = ("left_rear_wheel_joint", "right_rear_wheel_joint", "left_front_wheel_joint", "right_front_wheel_joint")
HINGES = ("left_steering_hinge_joint", "right_steering_hinge_joint")

RACECAR = Robot(
    name="racecar",
    description=own_description("racecar.urdf"),
    joints=(
        # 40 rad/s is 2 m/s at the wheel's rim.
        *(Joint(name=name, kd=0.1, limits=JointLimits(velocity=40.0, effort=0.5)) for name in WHEELS),
        *(
            Joint(name=name, kp=5.0, kd=0.05, limits=JointLimits(position=(-0.4, 0.4), velocity=4.0, effort=1.0))
            for name in HINGES
        ),
    ),
    firmware="racecar_velocity",
    friction=0.8,
    colours={
        "base_link": (0.95, 0.6, 0.1, 1.0),
        "camera_link": (0.2, 0.2, 0.2, 1.0),
        **{name.removesuffix("_joint"): (0.1, 0.1, 0.1, 1.0) for name in WHEELS},
    },
    couplings={"drive": WHEELS, "steering": HINGES},
)
