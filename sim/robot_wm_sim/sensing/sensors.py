"""Reads a simulated robot as its sensors would: encoders, IMU, odometry, cameras, and the task's own estimates.

Joint, IMU and odometry values come from the physics state, whatever the task is; a field on any other topic (a tool
pose, a goal in the robot's frame) is taken from the task. Shape letters: J joints, N joints and couplings.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ObservationField, Source
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.frames import Vector, rotate_inverse
from robot_wm_sim.sensing.reading import Reading
from robot_wm_sim.sensing.sample import Sample
from robot_wm_sim.task import Task

# Topics that say what the physics state says.
STATE_TOPICS = ("joint_states", "imu/data", "odom")
_UNKNOWN = (math.nan, math.nan, math.nan)


class Sensors:
    """The sensors of a task's robot in one backend."""

    def __init__(self, task: Task, sim: PhysicsBackend) -> None:
        self._task, self._sim = task, sim
        robot = task.scene.robot
        self.joint_names = (*robot.joint_names, *robot.couplings)  # [N]
        # A coupling reads the mean of its joints: [N, J], rows add up to 1.
        self._mix = np.zeros((len(self.joint_names), len(robot.joints)))
        for row, name in enumerate(self.joint_names):
            members = robot.couplings.get(name, (name,))
            self._mix[row, robot.index(members)] = 1.0 / len(members)
        self._is_plain = not robot.couplings
        self.joints = len(robot.joints)  # J
        self._robot_elements = {
            **{name: self.joints for name in ("joint_position", "joint_velocity", "joint_effort")},
            **{name: 3 for name in ("angular_velocity", "linear_acceleration", "base_position", "linear_velocity")},
            "gravity": 2,
        }
        self._physics_period_s = 1.0 / task.scene.physics_rate_hz
        self._up = np.array([0.0, 0.0, task.scene.gravity])  # m/s²: what an accelerometer at rest shows
        self._velocity_before = np.zeros(3)  # m/s, world axes, before the latest physics steps
        self._elapsed_s: float | None = None  # in those
        sensors = [field for field in task.spec.observations if field.source is Source.SENSOR]
        self.images: list[ObservationField] = [field for field in sensors if field.is_image]
        self.estimates = {  # elements of the task's own, by field
            field.name: field.shape[0] for field in sensors if not field.is_image and field.topic not in STATE_TOPICS
        }

    @property
    def own_estimates(self) -> dict[str, int]:
        """Elements of the task's own fields; one that is called as a sensor of the robot is not meant by its name."""
        return {name: size for name, size in self.estimates.items() if name not in self._robot_elements}

    @property
    def elements(self) -> dict[str, int]:
        """How many numbers each sensor reads that errs, by the name that a SensorModel has for it."""
        return self._robot_elements | self.own_estimates

    def before_run(self, steps: int = 1) -> None:
        """Call before so many physics steps are taken, and after the robot was put somewhere.

        Accelerations are differences: an accelerometer tells the mean of the latest steps. It tells NaN to who never
        calls this, as environments need not: no task observes what it tells.
        """
        self._velocity_before[:] = self._sim.state.base_linear_velocity
        self._elapsed_s = steps * self._physics_period_s

    def read(self, time_s: float, *, look: bool = False) -> Reading:
        """A reading of now, with ``look`` with pictures."""
        fields = {}
        if self.estimates:
            values = self._task.observe(self._sim)
            fields = {name: np.array(values[name], dtype=np.float64) for name in self.estimates}
        images = self.pictures() if look and self.images else {}
        return Reading(time_s, self._sim.state.block.copy(), self._acceleration(), fields, images)

    def sample(self, reading: Reading) -> Sample:
        """A reading as messages tell it, with arrays of its own; pictures are shared."""
        block, joints = reading.block, self.joints
        base = block[2 * joints : 2 * joints + 13].tolist()
        turn = base[3:7]
        linear, angular = reading.erred or (rotate_inverse(turn, base[7:10]), rotate_inverse(turn, base[10:]))
        return Sample(
            time_s=reading.time_s,
            joint_names=self.joint_names,
            joint_position=self._mixed(block[:joints]),
            joint_velocity=self._mixed(block[joints : 2 * joints]),
            joint_effort=self._mixed(block[2 * joints + 13 :]),
            orientation=np.array(turn),
            angular_velocity=np.array(angular),
            linear_acceleration=np.array(reading.acceleration or _UNKNOWN),
            base_position=np.array(base[:3]),
            linear_velocity=np.array(linear),
            fields={name: value.copy() for name, value in reading.fields.items()},
            images=dict(reading.images),
        )

    def _acceleration(self) -> Vector | None:
        """What an accelerometer tells of the steps since ``before_run``, m/s² in axes of the base."""
        if self._elapsed_s is None:
            return None
        state, varied = self._sim.state, self._sim.dynamics.gravity
        acceleration = (state.base_linear_velocity - self._velocity_before) / self._elapsed_s
        acceleration += self._up if varied is None else np.negative(varied)
        return rotate_inverse(state.base_quaternion, acceleration)

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """What the spec's cameras see now, by field: uint8 [H, W, 3]."""
        cameras = self._task.scene.cameras
        return {
            field.name: self._sim.render(cameras[field.name], height=field.shape[0], width=field.shape[1])
            for field in self.images
        }

    def _mixed(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of joints and couplings [N], an array of their own, for those of the joints [J]."""
        return joints.copy() if self._is_plain else self._mix @ joints
