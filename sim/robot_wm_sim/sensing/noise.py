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
        parts = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
        self._std, self._bias = np.zeros(ends[-1]), np.zeros(ends[-1])  # [E] each
        for kind, given, spread in (("noise_std", model.noise_std, self._std), ("bias", model.bias, self._bias)):
            for name, value in given.items():
                if name not in sizes:
                    raise UserError(f"{kind} {name}: no sensor of this task reads it; they read {', '.join(sizes)}")
                if isinstance(value, tuple) and len(value) != sizes[name]:
                    raise UserError(f"{kind} {name}: {len(value)} numbers for {sizes[name]} elements")
                spread[parts[name]] = value
        # Those that err at all: to add nothing costs as much as to add something.
        self._erring = [(n, where) for n, where in parts.items() if self._std[where].any() or self._bias[where].any()]

    def add_to(self, sample: Sample, rng: np.random.Generator) -> None:
        """Change a sample in place; always the same count of draws, so that a seed fixes a whole run."""
        draws = rng.standard_normal(self._std.size)
        if not self._erring:
            return
        errors = self._bias + self._std * draws
        for name, where in self._erring:
            error = errors[where]
            if name in self._estimates:
                sample.fields[name] += error
            elif name == "gravity":
                x, y = (error / 2).tolist()  # half angles of a tilt about the base's x and y
                norm = math.sqrt(1.0 + x * x + y * y)
                sample.orientation[:] = multiply(sample.orientation.tolist(), (x / norm, y / norm, 0.0, 1.0 / norm))
            else:
                told = getattr(sample, name)
                told += self._sensors.mixed(error) if name.startswith("joint_") else error
