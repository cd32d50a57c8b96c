"""What a robot's sensors read at one moment, as it is remembered and erred on: numbers in one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Reading:
    """One reading of all sensors, SI; J: joints of the robot.

    A control period reads, copies, errs on and shows one: in one array each of these is one operation instead of eight.
    """

    time_s: float  # of physics, since the robot was built (in a RobotEnv: since the episode began)
    # [3J + 16], in the order of `Sensors.elements`: joint position, velocity and effort; angular velocity [3], linear
    # acceleration [3], base position [3], linear velocity [3]; orientation [4]. Units and axes are those of `Sample`.
    numbers: NDArray[np.float64]
    fields: dict[str, NDArray[np.float64]]  # the spec's other sensor fields by name, as the task has them
    images: dict[str, NDArray[Any]]  # new pictures by field, uint8 [H, W, 3]

    def copy(self) -> Reading:
        """A reading with numbers of its own; pictures are shared."""
        fields = {name: value.copy() for name, value in self.fields.items()}
        return Reading(self.time_s, self.numbers.copy(), fields, self.images)
