"""sensor_msgs/Imu: rates, accelerations, orientation, and which way down is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from sensor_msgs.msg import Imu

from robot_wm.runtime.live.fields import GRAVITY
from robot_wm_ros.binding import Target, refusal
from robot_wm_ros.component_binding import ComponentBinding


class ImuBinding(ComponentBinding):
    """Axes of the IMU, which the agent takes for those of the base: a driver that mounts it otherwise must turn them.

    The field ``projected_gravity`` (unit 1; x, y, z) is the direction of gravity, of length 1, from the orientation.
    """

    message_type = Imu
    topics = "imu(/data(_raw)?)?"
    vectors: ClassVar[Mapping[str, str]] = {
        "rad/s": "angular_velocity",
        "m/s²": "linear_acceleration",
        "m/s^2": "linear_acceleration",
        "1": "orientation",
    }

    def __init__(self, targets: list[Target]) -> None:
        self._gravity = [out for field, out in targets if field.name == GRAVITY]
        for field, _ in targets:
            if field.name == GRAVITY and (field.unit != "1" or field.labels != ("x", "y", "z")):
                raise refusal(field, "a direction has unit '1' and labels x, y, z")
        components = [(field, out) for field, out in targets if field.name != GRAVITY]
        super().__init__(components)
        used = {path.split(".")[0] for field, _ in components for path in self._paths(field)}
        if self._gravity:
            used.add("orientation")
        self._measured = sorted(used)
        self._has_turn = "orientation" in used

    def copy(self, message: Imu) -> str:
        """A quantity that the IMU does not measure (its covariance begins with -1) cannot be read."""
        for vector in self._measured:
            if getattr(message, f"{vector}_covariance")[0] == -1.0:
                return f"the IMU gives no {vector}: its covariance begins with -1"
        if self._has_turn:
            turn = message.orientation
            x, y, z, w = turn.x, turn.y, turn.z, turn.w
            if not 1e-12 < x * x + y * y + z * z + w * w < math.inf:  # also NaN
                return f"the IMU gives no orientation: its quaternion is ({x:g}, {y:g}, {z:g}, {w:g})"
            for out in self._gravity:
                out[:] = projected_gravity(x, y, z, w)
        return super().copy(message)


def projected_gravity(x: float, y: float, z: float, w: float) -> tuple[float, float, float]:
    """Direction of gravity in the body's axes, of length 1; the quaternion turns body into world, of any length > 0.

    It is the rotation's inverse applied to (0, 0, -1): minus the third row of the rotation matrix.
    """
    squared = x * x + y * y + z * z + w * w
    return (
        2.0 * (w * y - x * z) / squared,
        -2.0 * (y * z + w * x) / squared,
        (x * x + y * y - z * z - w * w) / squared,
    )
