"""Sensor noise: Gaussian, of legged_gym's size by default (Rudin et al. 2021; there uniform in ± the same numbers)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.frames import multiply
from robot_wm_sim.realtime.sample import Sample


@dataclass(frozen=True, kw_only=True)
class SensorNoise:
    """Standard deviations. What is not named here is read without noise."""

    joint_position: float = 0.01  # rad or m
    joint_velocity: float = 1.5  # rad/s or m/s
    angular_velocity: float = 0.2  # rad/s, each axis
    gravity: float = 0.05  # of the direction's horizontal parts, length 1: the orientation tilts by as many rad

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0.0 <= getattr(self, item.name) < math.inf:
                raise UserError(f"noise {item.name} must be at least 0, got {getattr(self, item.name)}")

    def add_to(self, sample: Sample, rng: np.random.Generator) -> None:
        """Add noise in place; always the same count of draws, so that a seed fixes a whole run."""
        n = len(sample.joint_names)
        draws = rng.standard_normal(2 * n + 5)
        sample.joint_position += self.joint_position * draws[:n]
        sample.joint_velocity += self.joint_velocity * draws[n : 2 * n]
        sample.angular_velocity += self.angular_velocity * draws[2 * n : 2 * n + 3]
        x, y = (self.gravity * draws[2 * n + 3 :] / 2).tolist()  # half angles of a tilt about the base's x and y
        norm = math.sqrt(1.0 + x * x + y * y)
        sample.orientation[:] = multiply(sample.orientation, (x / norm, y / norm, 0.0, 1.0 / norm))
