"""A backend that notes how the body first meets the ground, physics step by physics step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.drive import Drive

CONTACT_N = 1.0  # on any link of the body, as the tasks count a body that is down


@dataclass
class Impact:
    """The base's motion just before the first contact; world frame."""

    step: int  # physics steps before it
    downwards_m_s: float
    speed_m_s: float
    turning_rad_s: float
    peak_n: float  # on all links of the body together, from the contact on


class ImpactMeter:
    """``sim`` itself in every respect, but it is run step by step; for set-points that do not move in a period."""

    def __init__(self, sim: PhysicsBackend, body: Sequence[str], *, after_steps: int) -> None:
        """``body`` are the links that are no feet; forces count until ``after_steps`` after the first contact."""
        self._sim, self._body, self._after_steps = sim, tuple(body), after_steps
        self.begin()

    def begin(self) -> None:
        """Forget all."""
        self._steps = 0
        self.impact: Impact | None = None

    @property
    def is_over(self) -> bool:
        """Whether forces count no more."""
        return self.impact is not None and self._steps >= self.impact.step + self._after_steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)

    def run(self, drive: Drive, steps: int, *, refresh: bool = True, is_same: bool = False) -> None:
        """See PhysicsBackend.run."""
        for _ in range(steps):
            state = self._sim.state
            velocity = state.base_linear_velocity.copy()  # [3] m/s
            turning = float(np.linalg.norm(state.base_angular_velocity))
            self._sim.run(drive, 1)
            forces = self._sim.contact_forces(self._body)
            if self.impact is None and max(forces) > CONTACT_N:
                speed = float(np.linalg.norm(velocity))
                self.impact = Impact(self._steps, -float(velocity[2]), speed, turning, 0.0)
            self._steps += 1
            if self.impact is not None and self._steps <= self.impact.step + self._after_steps:
                self.impact.peak_n = max(self.impact.peak_n, sum(forces))
