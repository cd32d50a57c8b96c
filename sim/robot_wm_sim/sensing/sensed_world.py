"""The world as sensors tell of it, for a task to observe."""

from __future__ import annotations

from typing import Any

from robot_wm_sim.backend import PhysicsBackend, RobotState
from robot_wm_sim.frames import rotate
from robot_wm_sim.sensing.sample import Sample


class SensedWorld:
    """A backend whose ``state`` is what a sample says; everything else is the backend's own."""

    def __init__(self, sim: PhysicsBackend) -> None:
        self._sim = sim
        self.state = RobotState.zeros(len(sim.scene.robot.joints))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)

    def show(self, sample: Sample) -> None:
        """Make ``state`` what this sample says."""
        state, turn = self.state, sample.orientation.tolist()
        joints = len(state.joint_position)
        # A sample's joints are followed by couplings.
        state.joint_position[:] = sample.joint_position[:joints]
        state.joint_velocity[:] = sample.joint_velocity[:joints]
        state.joint_effort[:] = sample.joint_effort[:joints]
        linear, angular = rotate(turn, sample.linear_velocity.tolist()), rotate(turn, sample.angular_velocity.tolist())
        state.base[:] = (*sample.base_position.tolist(), *turn, *linear, *angular)
