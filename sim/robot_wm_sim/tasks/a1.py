"""A1: follow a velocity command, or stand. See `robot_wm_sim.legged` for what every legged robot's task has in common.

A 50 Hz policy sets joint positions; the drives turn them into torque at 500 Hz.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.environment import environment
from robot_wm_sim.fields import camera_field, choose
from robot_wm_sim.legged.body import Legged
from robot_wm_sim.legged.fields import command_field, proprio_fields
from robot_wm_sim.legged.velocity import COMMAND_PERIOD_S, LeggedVelocity
from robot_wm_sim.robots.a1 import A1, FEET, FOOT_RADIUS_M, LEG_M, LIMBS, MASS_KG, SIDES, STAND_HEIGHT_M, TRUNK
from robot_wm_sim.task import Task
from robot_wm_sim.tasks.a1_scene import POSTS, ActuatorName, a1_scene, stand_posts

CONTROL_RATE_HZ = 50.0
MAX_AGE_S = 0.06  # three control periods
POLICY_UNIT_RAD = {"hip": 0.125, "upper": 0.25, "lower": 0.25}
ACTION_CLIP = 2.0  # policy units; at legged_gym's 3 the random policy of a beginner falls, and a trot needs 1.5

LEGGED = Legged(
    robot=A1,
    actions=A1.joint_names,
    scale=tuple(POLICY_UNIT_RAD[name.split("_")[1]] for name in A1.joint_names),
    clip=ACTION_CLIP,
    trunk=TRUNK,
    sides=SIDES,
    feet=FEET,
    limbs=LIMBS,
    sole_m=FOOT_RADIUS_M,
    mass_kg=MASS_KG,
    leg_m=LEG_M,
    start_height_m=STAND_HEIGHT_M,
)


class A1Velocity(LeggedVelocity):
    """Walk as commanded, forward, sideways and turning; over when trunk, hip or shoulder touches something.

    With a camera it sees posts that stand around it.
    """

    task: ClassVar[str] = "a1_velocity"

    def __init__(
        self,
        observation: str,
        command: str = "",
        actuator: ActuatorName = "ideal",
        command_period_s: float = COMMAND_PERIOD_S,
        episode_s: float | None = None,
    ) -> None:
        fields = choose(
            observation,
            task=self.task,
            proprio=proprio_fields(LEGGED, max_age_s=MAX_AGE_S),
            images=(camera_field(frame="trunk_camera", max_age_s=MAX_AGE_S),),
        )
        if observation == "image":
            fields = (command_field(), *fields)  # no picture shows what the operator wants
        self._posts = POSTS if observation != "proprio" else ()
        super().__init__(
            LEGGED,
            task=self.task,
            scene=a1_scene(actuator, self._posts),
            control_rate_hz=CONTROL_RATE_HZ,
            observations=fields,
            command=command,
            command_period_s=command_period_s,
            episode_s=episode_s,
        )

    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """Posts stand where they always do."""
        super().reset(sim, rng)
        stand_posts(sim, self._posts)


class A1Stand(A1Velocity):
    """Come to rest on four feet after a start in motion, and stay: the velocity task with a command of zero."""

    task: ClassVar[str] = "a1_stand"

    def draw_commands(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Zero."""
        return np.zeros((1, 3))


@environment
def a1_velocity(
    *,
    observation: str = "proprio",
    command: str = "",
    command_period_s: float = COMMAND_PERIOD_S,
    episode_s: float | None = None,
    actuator: ActuatorName = "ideal",
) -> Task:
    """Walk an A1 quadruped at commanded speeds of ±1 m/s and ±1 rad/s (1000 steps at 50 Hz).

    ``command`` fixes the operator's wish for whole episodes: ``0.5,0,0`` is 0.5 m/s ahead, not sideways, not turning;
    else the operator wants something else every ``command_period_s``. ``episode_s`` truncates
    episodes after another time than 20 s. ``actuator`` is one of `robots.a1.ACTUATORS`.
    """
    return A1Velocity(observation, command, actuator, command_period_s, episode_s)


@environment
def a1_stand(*, observation: str = "proprio", command: str = "", actuator: ActuatorName = "ideal") -> Task:
    """Stand an A1 quadruped still on four feet after a start in motion (1000 steps at 50 Hz)."""
    return A1Stand(observation, command, actuator)
