"""What a robot's sensors read at one moment, as it is remembered and erred on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.frames import Vector


class Reading(NamedTuple):
    """One reading of all sensors, SI; J: joints of the robot.

    The robot is remembered as its state is laid out: to copy it, to err on it and to show it is one operation each.
    """

    time_s: float  # of physics, since the robot was built (in a RobotEnv: since the episode began)
    block: NDArray[np.float64]  # [3J + 13], as `RobotState.block`
    acceleration: Vector | None  # m/s², axes of the base; None where nobody measures it
    fields: dict[str, NDArray[np.float64]]  # the spec's other sensor fields by name, as the task has them
    images: dict[str, NDArray[Any]]  # new pictures by field, uint8 [H, W, 3]
    # The base's linear and angular velocity in its own axes, where sensors erred on them there.
    erred: tuple[Vector, Vector] | None = None
