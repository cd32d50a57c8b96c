"""What a robot's sensors say at one moment, before it becomes messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(kw_only=True)
class Sample:
    """One reading of all sensors, SI. N: joints of the robot, then its couplings; arrays are the sample's own."""

    time_s: float  # of physics, since the robot was built (in a RobotEnv: since the episode began)
    stamp_ns: int = 0  # what the header says: set when the sample is read out
    joint_names: tuple[str, ...]  # [N]
    joint_position: Float64  # [N] rad or m
    joint_velocity: Float64  # [N] rad/s or m/s
    joint_effort: Float64  # [N] N·m or N
    orientation: Float64  # [4] x, y, z, w: of the base in the world
    angular_velocity: Float64  # [3] rad/s, axes of the base
    # [3] m/s², axes of the base; at rest it points up with 9.81, as accelerometers do. NaN where there is none.
    linear_acceleration: Float64
    base_position: Float64  # [3] m, world
    linear_velocity: Float64  # [3] m/s, axes of the base
    fields: dict[str, Float64] = field(default_factory=dict)  # the spec's other sensor fields by name, as the task has
    images: dict[str, NDArray[Any]] = field(default_factory=dict)  # new pictures by field, uint8 [H, W, 3]
