"""The world of the A1's tasks: the robot on flat or rough ground, its cameras, and posts where an agent sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.fields import CAMERA
from robot_wm_sim.robots.a1 import A1, ACTUATORS, TRUNK
from robot_wm_sim.scene import Camera, Marker, Scene
from robot_wm_sim.task import VIDEO
from robot_wm_sim.terrain import HeightField

PHYSICS_RATE_HZ = 500.0
POSTS = tuple(f"post_{index}" for index in range(8))  # without them flat ground shows no motion
POST_RING_M = 4.0
ActuatorName = Literal["ideal", "torque_speed"]  # of robots.a1.ACTUATORS


def a1_scene(actuator: ActuatorName, posts: Sequence[str]) -> Scene:
    """An A1 with these motors, and that many of POSTS."""
    return Scene(
        robot=A1.driven_by(ACTUATORS[actuator]),
        physics_rate_hz=PHYSICS_RATE_HZ,
        height_field=HeightField(),
        markers=tuple(
            Marker(name=name, radius=0.15, height=1.0, colour=(index & 1, index >> 1 & 1, index >> 2, 1.0))
            for index, name in enumerate(posts)
        ),
        cameras={
            CAMERA: Camera(eye=(0.28, 0.0, 0.03), target=(1.28, 0.0, -0.27), vertical_fov_deg=75.0, mount=TRUNK),
            VIDEO: Camera(
                eye=(0.0, -1.6, 0.45),
                target=(0.0, 0.0, 0.15),
                vertical_fov_deg=35.0,
                mount=TRUNK,
                keep_level=True,
                heading_lag_s=1.0,
            ),
        },
    )


def stand_posts(sim: PhysicsBackend, posts: Sequence[str]) -> None:
    """Put the posts on their ring around the origin."""
    for index, post in enumerate(posts):
        angle = 2 * math.pi * index / len(POSTS)
        sim.move_marker(post, (POST_RING_M * math.cos(angle), POST_RING_M * math.sin(angle), 0.5))
