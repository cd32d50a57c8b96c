"""A task's robot held in the air: its base is fixed, and there is nothing that it could touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.scene import Scene
from robot_wm_sim.sensing.sensors import STATE_TOPICS
from robot_wm_sim.task import Outcome, Task, Vector


def in_the_air(scene: Scene) -> Scene:
    """The scene's robot alone, hung up by its base where it stood."""
    robot = replace(scene.robot, fixed_base=True)
    return replace(scene, robot=robot, ground=False, height_field=None, boxes=(), markers=())


class HungTask(Task):
    """No reward, no end: to play commands to a robot in the air, and to see what its joints say.

    Fields that are not its joints' own read zero: what would tell of an operator or a goal has no meaning here.
    """

    def __init__(self, task: Task) -> None:
        self.spec, self.scene = task.spec, in_the_air(task.scene)
        self.step_limit = 10**9  # who plays says how long
        self._rows = {
            field.name: self.scene.robot.index(field.labels)
            for field in task.spec.observations
            if field.topic in STATE_TOPICS and field.labels and set(field.labels) <= set(self.scene.robot.joint_names)
        }
        self._others = {
            field.name: np.zeros(field.shape)
            for field in task.spec.observations
            if not field.is_image and field.name not in self._rows
        }

    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """At home and at rest."""
        sim.place(joint_position=np.array([joint.home for joint in self.scene.robot.joints]))

    def observe(self, sim: PhysicsBackend) -> Mapping[str, Vector]:
        """Joint positions and velocities."""
        state = sim.state
        told: dict[str, NDArray[Any]] = dict(self._others)
        for field in self.spec.observations:
            if field.name in self._rows:
                values = {"rad/s": state.joint_velocity, "m/s": state.joint_velocity}.get(
                    field.unit, state.joint_effort if field.unit in ("N·m", "N") else state.joint_position
                )
                told[field.name] = values[self._rows[field.name]]
        return told

    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """Nothing to gain."""
        return Outcome(reward=0.0)


def hung_env(env: RobotEnv, *, backend: str) -> RobotEnv:
    """The environment of a task's robot in the air, with the sensors and the worlds of ``env``."""
    model, worlds = env.sensor_model, env.worlds
    return RobotEnv(HungTask(env.task), backend=backend, sensor_model=model, randomisation=worlds.randomisation)
