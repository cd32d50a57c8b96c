"""racecar_goal: find a red post in a walled arena with a forward camera and drive to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ActionSpec, AgentSpec, JointRole, ObservationField
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.environment import environment
from robot_wm_sim.fields import CAMERA, camera_field, choose
from robot_wm_sim.frames import from_yaw, rotate, rotate_inverse
from robot_wm_sim.recorded import Fields, StepRewards, step_rewards
from robot_wm_sim.rewards import Number
from robot_wm_sim.robots.racecar import HINGES, RACECAR, WHEELS
from robot_wm_sim.scene import Box, Camera, Marker, Scene
from robot_wm_sim.task import VIDEO, Outcome, Task

CONTROL_RATE_HZ = 20.0
PHYSICS_RATE_HZ = 500.0
MAX_AGE_S = 0.15  # three control periods
ARENA_M = 3.0  # half the inner side
SUCCESS_M = 0.35  # horizontal distance from the car's base to the post
SUCCESS_REWARD = 5.0
GOAL = "goal"
GOAL_HEIGHT_M = 0.6
TOUCHING_M = 0.02  # how near to a wall counts as touching it
# The car's outline on the ground in the base's frame, m: from behind the rear wheels to the nose, over both wheels.
OUTLINE = tuple((x, y, 0.0) for x in (-0.05, 0.38) for y in (-0.145, 0.145))
ACTIONS = ("drive", "steering")
WHEEL_ROWS, HINGE_ROWS = RACECAR.index(WHEELS), RACECAR.index(HINGES)


class RacecarGoal(Task):
    """Reward is the progress towards the post in m, and 5 on arrival, which ends the episode.

    Nothing but arriving ends it early. Progress is the change of a potential (Ng, Harada & Russell 1999): circling
    earns nothing, and every metre towards the post pays at once, also for a beginner.
    """

    step_limit = 200
    figure_names = ("distance_m", "collisions")

    def __init__(self, observation: str) -> None:
        fields = choose(
            observation,
            task="racecar_goal",
            proprio=(
                _field("wheel_speed", "rad/s", ("drive",), 1 / 20.0, "joint_states", JointRole.VELOCITY),
                _field("steering_angle", "rad", ("steering",), 1 / 0.4, "joint_states", JointRole.POSITION),
                _field("linear_velocity", "m/s", ("forward", "left"), 1.0, "odom"),
                _field("yaw_rate", "rad/s", ("yaw",), 1 / 2.0, "imu/data"),
                _field("goal_position", "m", ("forward", "left"), 1 / 2.0, "goal_pose"),
            ),
            images=(camera_field(frame="camera_link", max_age_s=MAX_AGE_S),),
        )
        self.spec = AgentSpec(
            task="racecar_goal",
            robot=RACECAR.name,
            control_rate_hz=CONTROL_RATE_HZ,
            physics_rate_hz=PHYSICS_RATE_HZ,
            observations=fields,
            # Wheels' speed and the hinges' turning speed; the steering servo keeps the angle that it was brought to.
            action=ActionSpec(
                mode="velocity", joints=ACTIONS, unit="rad/s", scale=(40.0, 4.0), limits=RACECAR.limits(ACTIONS)
            ),
            firmware=RACECAR.profile(ACTIONS),
        )
        self.scene = Scene(
            robot=RACECAR,
            physics_rate_hz=PHYSICS_RATE_HZ,
            boxes=_walls(),
            markers=(Marker(name=GOAL, radius=0.12, height=GOAL_HEIGHT_M, colour=(0.9, 0.05, 0.05, 1.0)),),
            cameras={
                CAMERA: Camera(eye=(0.0, 0.0, 0.0), target=(1.0, 0.0, 0.0), vertical_fov_deg=90.0, mount="camera_link"),
                VIDEO: Camera(eye=(0.0, -4.2, 5.2), target=(0.0, -0.2, 0.0), vertical_fov_deg=50.0),
            },
        )
        self._goal = np.zeros(2)  # m, world
        self._distance = 0.0  # m, before the step

    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """Within 1 m of the middle, heading anywhere, at rest; the post 1 m or more away and 0.5 m off the walls."""
        start = rng.uniform(-1.0, 1.0, 2)
        yaw = rng.uniform(-math.pi, math.pi)
        reach = ARENA_M - 0.5
        self._goal = rng.uniform(-reach, reach, 2)
        while np.linalg.norm(self._goal - start) < 1.0:
            self._goal = rng.uniform(-reach, reach, 2)
        sim.place(
            joint_position=np.zeros(len(RACECAR.joints)),
            base_position=(*start.tolist(), RACECAR.base_position[2]),
            base_quaternion=from_yaw(yaw),
        )
        sim.move_marker(GOAL, (*self._goal.tolist(), GOAL_HEIGHT_M / 2))
        self._distance = self._distance_to_goal(sim)
        self._touching, self._collisions = False, 0  # a wall, before the step; of the episode

    def observe(self, sim: PhysicsBackend) -> Mapping[str, NDArray[Any]]:
        """What wheels, IMU and localisation tell; vectors in the car's frame."""
        state = sim.state
        turn = state.base_quaternion
        goal = np.array([*(self._goal - state.base_position[:2]), 0.0])
        return {
            "wheel_speed": state.joint_velocity[WHEEL_ROWS].mean(keepdims=True),
            "steering_angle": state.joint_position[HINGE_ROWS].mean(keepdims=True),
            "linear_velocity": np.array(rotate_inverse(turn, state.base_linear_velocity)[:2]),
            "yaw_rate": np.array(rotate_inverse(turn, state.base_angular_velocity)[2:]),
            "goal_position": np.array(rotate_inverse(turn, goal)[:2]),
        }

    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """Progress since the last step, m, and the arrival reward.

        Figures: ``distance_m`` to the post now, and how many ``collisions`` with walls there have been.
        """
        before, self._distance = self._distance, self._distance_to_goal(sim)
        touched, self._touching = self._touching, _touches_a_wall(sim)
        self._collisions += self._touching and not touched
        arrived = self._distance <= SUCCESS_M
        return Outcome(
            reward=_earned(before, self._distance),
            terminated=arrived,
            info={
                "success": arrived,
                "figures": {"distance_m": self._distance, "collisions": float(self._collisions)},
            },
        )

    def reward_from(self) -> StepRewards | None:
        """From the post's place in the car's axes: a car that tilts makes it a little nearer than it is.

        A post that is moved before the car is there counts as a way that the car has driven.
        """
        return step_rewards(
            self.spec,
            ("goal_position",),
            lambda before, action, now: _earned(_distance(before), _distance(now)),
            lambda obs: _distance(obs) <= SUCCESS_M,
        )

    def _distance_to_goal(self, sim: PhysicsBackend) -> float:
        return float(np.linalg.norm(sim.state.base_position[:2] - self._goal))


def _earned(before: Number, now: Number) -> Number:
    """Reward of a step between these distances, m."""
    return before - now + SUCCESS_REWARD * (now <= SUCCESS_M)


def _distance(obs: Fields) -> NDArray[np.float64]:
    """m, [steps]."""
    return np.linalg.norm(obs["goal_position"], axis=1)


def _touches_a_wall(sim: PhysicsBackend) -> bool:
    """From the pose alone: contact forces do not say whether a wheel rolls on the ground or stands at a wall."""
    x, y, _ = sim.state.base_position.tolist()
    corners = [rotate(sim.state.base_quaternion, corner) for corner in OUTLINE]
    return max(max(abs(x + dx), abs(y + dy)) for dx, dy, _ in corners) > ARENA_M - TOUCHING_M


def _walls() -> tuple[Box, ...]:
    """Four walls of different colours, so that a picture tells the heading."""
    thick, high = 0.1, 0.3  # half extents, m
    place, reach = ARENA_M + thick, ARENA_M + 2 * thick
    return (
        Box(name="east", half_extents=(thick, reach, high), position=(place, 0, high), colour=(0.2, 0.35, 0.8, 1)),
        Box(name="west", half_extents=(thick, reach, high), position=(-place, 0, high), colour=(0.85, 0.75, 0.2, 1)),
        Box(name="north", half_extents=(reach, thick, high), position=(0, place, high), colour=(0.2, 0.6, 0.3, 1)),
        Box(name="south", half_extents=(reach, thick, high), position=(0, -place, high), colour=(0.55, 0.3, 0.65, 1)),
    )


def _field(
    name: str, unit: str, labels: tuple[str, ...], scale: float, topic: str, role: JointRole | None = None
) -> ObservationField:
    return ObservationField(
        name=name,
        shape=(len(labels),),
        unit=unit,
        labels=labels,
        scale=(scale,),
        clip=5.0,
        role=role,
        topic=topic,
        frame="" if topic == "joint_states" else "base_link",
        max_age_s=MAX_AGE_S,
    )


@environment
def racecar_goal(*, observation: str = "image") -> Task:
    """Drive a racecar to a red post seen by its camera (200 steps at 20 Hz, wheel and steering speeds)."""
    return RacecarGoal(observation)
