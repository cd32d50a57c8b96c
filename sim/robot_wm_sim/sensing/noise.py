"""What a SensorModel adds to a sample: white noise, and a bias."""

from __future__ import annotations

import math

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.frames import multiply
from robot_wm_sim.sensing.sample import Sample
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.sensing.sensors import Sensors


class Noise:
    """Noise and bias of one robot's sensors. E: elements of all that they read; joints J, not couplings, err."""

    def __init__(self, model: SensorModel, sensors: Sensors) -> None:
        """Raises UserError for a name that is not read here, and for another count of numbers than elements."""
        self._sensors = sensors
        sizes = sensors.elements
        self._estimates = [name for name in sizes if name in sensors.own_estimates]
        ends = np.cumsum(list(sizes.values())).tolist()
        self._parts = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
        self._std, self._bias = np.zeros(ends[-1]), np.zeros(ends[-1])  # [E] each
        for kind, given, spread in (("noise_std", model.noise_std, self._std), ("bias", model.bias, self._bias)):
            for name, value in given.items():
                if name not in sizes:
                    raise UserError(f"{kind} {name}: no sensor of this task reads it; they read {', '.join(sizes)}")
                if isinstance(value, tuple) and len(value) != sizes[name]:
                    raise UserError(f"{kind} {name}: {len(value)} numbers for {sizes[name]} elements")
                spread[self._parts[name]] = value
        self._is_none = not (self._std.any() or self._bias.any())

    def add_to(self, sample: Sample, rng: np.random.Generator) -> None:
        """Change a sample in place; always the same count of draws, so that a seed fixes a whole run."""
        draws = rng.standard_normal(self._std.size)
        if self._is_none:
            return
        errors, mixed = self._bias + self._std * draws, self._sensors.mixed
        part = {name: errors[where] for name, where in self._parts.items()}
        sample.joint_position += mixed(part["joint_position"])
        sample.joint_velocity += mixed(part["joint_velocity"])
        sample.joint_effort += mixed(part["joint_effort"])
        sample.angular_velocity += part["angular_velocity"]
        sample.linear_acceleration += part["linear_acceleration"]
        sample.base_position += part["base_position"]
        sample.linear_velocity += part["linear_velocity"]
        x, y = (part["gravity"] / 2).tolist()  # half angles of a tilt about the base's x and y
        if x or y:
            norm = math.sqrt(1.0 + x * x + y * y)
            sample.orientation[:] = multiply(sample.orientation, (x / norm, y / norm, 0.0, 1.0 / norm))
        for name in self._estimates:
            sample.fields[name] += part[name]
