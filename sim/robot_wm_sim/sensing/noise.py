"""What a SensorModel adds to a reading: white noise, and a bias."""

from __future__ import annotations

import math

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.frames import multiply
from robot_wm_sim.sensing.reading import Reading
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.sensing.sensors import Sensors


class Noise:
    """Noise and bias of one robot's sensors. E: elements of all that they read; joints J, not couplings, err."""

    def __init__(self, model: SensorModel, sensors: Sensors) -> None:
        """Raises UserError for a name that is not read here, and for another count of numbers than elements."""
        sizes = sensors.elements
        ends = np.cumsum(list(sizes.values())).tolist()
        parts = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
        self._std, self._bias = np.zeros(ends[-1]), np.zeros(ends[-1])  # [E] each
        for kind, given, spread in (("noise_std", model.noise_std, self._std), ("bias", model.bias, self._bias)):
            for name, value in given.items():
                if name not in sizes:
                    raise UserError(f"{kind} {name}: no sensor of this task reads it; they read {', '.join(sizes)}")
                if isinstance(value, tuple) and len(value) != sizes[name]:
                    raise UserError(f"{kind} {name}: {len(value)} numbers for {sizes[name]} elements")
                spread[parts[name]] = value
        self._errs = bool(self._std.any() or self._bias.any())
        self._tilt = parts["gravity"]
        self._robot = slice(0, self._tilt.start)  # elements before it, in a reading's order
        self._erring = [  # to add nothing costs as much as to add something
            (name, where) for name, where in parts.items() if name in sensors.own_estimates and self._errs_at(where)
        ]
        self._tilts = self._errs_at(self._tilt)

    def _errs_at(self, where: slice) -> bool:
        return bool(self._std[where].any() or self._bias[where].any())

    def add_to(self, reading: Reading, rng: np.random.Generator) -> None:
        """Change a reading in place; always the same count of draws, so that a seed fixes a whole run."""
        draws = rng.standard_normal(self._std.size)
        if not self._errs:
            return
        draws *= self._std
        draws += self._bias
        numbers = reading.numbers
        numbers[self._robot] += draws[self._robot]
        for name, where in self._erring:
            reading.fields[name] += draws[where]
        if self._tilts:
            x, y = (draws[self._tilt] / 2).tolist()  # half angles of a tilt about the base's x and y
            norm = math.sqrt(1.0 + x * x + y * y)
            numbers[-4:] = multiply(numbers[-4:].tolist(), (x / norm, y / norm, 0.0, 1.0 / norm))
