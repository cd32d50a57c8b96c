"""What a SensorModel adds to a reading: white noise, and a bias."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm_sim.frames import Floats, Vector, multiply, turned
from robot_wm_sim.sensing.reading import Reading
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.sensing.sensors import Sensors


class Error(NamedTuple):
    """Of one reading."""

    block: NDArray[np.float64]  # [3J + 13], added to the reading's; 0 for what errs in axes of the base
    angular: list[float]  # [3] rad/s, of the angular velocity, axes of the base
    acceleration: list[float]  # [3] m/s², axes of the base
    linear: list[float]  # [3] m/s, of the linear velocity, axes of the base
    tilt: list[float]  # [4]: the orientation turns by this about the base's x and y
    drawn: NDArray[np.float64]  # [E], all as it was drawn


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
        self._parts = parts
        self._erring = [  # to add nothing costs as much as to add something
            (name, where) for name, where in parts.items() if name in sensors.own_estimates and self._errs_at(where)
        ]
        self._tilts = self._errs_at(parts["gravity"])
        self._base = slice(2 * sensors.joints, 2 * sensors.joints + 13)  # of a block

    def _errs_at(self, where: slice) -> bool:
        return bool(self._std[where].any() or self._bias[where].any())

    def errors(self, rng: np.random.Generator, count: int) -> list[Error | None]:
        """Those of the next so many readings; None where nothing errs. The k-th has the k-th E draws."""
        if not self._errs:
            return [None] * count
        drawn = rng.standard_normal((count, self._std.size))  # [count, E]
        drawn *= self._std
        drawn += self._bias
        parts, start = self._parts, self._base.start
        block = np.zeros((count, parts["joint_effort"].stop + 13))  # [count, 3J + 13]
        block[:, :start] = drawn[:, :start]  # joints' positions and velocities, [count, 2J]
        block[:, start : start + 3] = drawn[:, parts["base_position"]]
        block[:, self._base.stop :] = drawn[:, parts["joint_effort"]]
        x, y = drawn[:, parts["gravity"]].T / 2  # half angles of a tilt about the base's x and y
        norm = np.sqrt(1.0 + x * x + y * y)
        tilts = np.stack([x / norm, y / norm, np.zeros(count), 1.0 / norm], axis=1)
        names = ("angular_velocity", "linear_acceleration", "linear_velocity")
        of_base = [drawn[:, parts[name]].tolist() for name in names]
        return list(map(Error, block, *of_base, tilts.tolist(), drawn))

    def added_to(self, reading: Reading, error: Error | None) -> Reading:
        """A reading that errs so; pictures are shared."""
        if error is None:
            return reading
        block, acceleration, fields = reading.block + error.block, reading.acceleration, reading.fields
        _, _, _, x, y, z, w, *velocities = block[self._base].tolist()
        linear = _sum(turned(-x, -y, -z, w, *velocities[:3]), error.linear)
        angular = _sum(turned(-x, -y, -z, w, *velocities[3:]), error.angular)
        if self._tilts:
            x, y, z, w = multiply((x, y, z, w), error.tilt)
        base = (x, y, z, w, *turned(x, y, z, w, *linear), *turned(x, y, z, w, *angular))
        block[self._base.start + 3 : self._base.stop] = base
        if acceleration is not None:
            acceleration = _sum(acceleration, error.acceleration)
        if self._erring:
            fields = fields | {name: fields[name] + error.drawn[where] for name, where in self._erring}
        return Reading(reading.time_s, block, acceleration, fields, reading.images, (linear, angular))


def _sum(one: Floats, other: Floats) -> Vector:
    x, y, z = one
    a, b, c = other
    return x + a, y + b, z + c
