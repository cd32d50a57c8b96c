"""A cart on a rail with a rod on a free hinge; one linear motor."""

from __future__ import annotations

from robot_wm.spec import JointLimits
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.description import own_description

RAIL_M = 1.8  # how far from the middle the cart may go; the end stops stand at 2 m

CARTPOLE = Robot(
    name="cartpole",
    description=own_description("cartpole.urdf"),
    joints=(
        Joint(
            name="slider",
            damping=5e-4,
            limits=JointLimits(position=(-RAIL_M, RAIL_M), velocity=10.0, effort=10.0),
        ),
        Joint(name="hinge", damping=2e-6),
    ),
    firmware="cartpole_effort",
    fixed_base=True,
    colours={"rail": (0.6, 0.6, 0.6, 1.0), "cart": (0.15, 0.3, 0.6, 1.0), "pole": (0.85, 0.35, 0.1, 1.0)},
)
