"""The world as sensors tell of it, for a task to observe."""

from __future__ import annotations

from typing import Any

from robot_wm_sim.backend import PhysicsBackend, RobotState
from robot_wm_sim.sensing.reading import Reading


class SensedWorld:
    """A backend whose ``state`` is what a reading says; everything else is the backend's own."""

    def __init__(self, sim: PhysicsBackend) -> None:
        self._sim = sim
        self.state = RobotState.zeros(len(sim.scene.robot.joints))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)

    def show(self, reading: Reading) -> None:
        """Make ``state`` what this reading says."""
        self.state.block[:] = reading.block
