"""Messages of vectors with x, y and z: each element of a field is one component, found by unit and label."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry

from robot_wm.spec import ObservationField
from robot_wm_ros.binding import Binding, Target, element_units, refusal

_AXES = {"x": "x", "y": "y", "z": "z", "forward": "x", "left": "y", "up": "z"}
_TURNS = {"x": "x", "y": "y", "z": "z", "roll": "x", "pitch": "y", "yaw": "z"}
_QUATERNION = {"x": "x", "y": "y", "z": "z", "w": "w"}
_COMPONENTS = {"rad/s": _TURNS, "1": _QUATERNION}  # by unit; every other unit has axes


class ComponentBinding(Binding):
    """Reads components as they stand. ``vectors`` of a subclass says which vector of the message has which unit."""

    vectors: ClassVar[Mapping[str, str]]

    def __init__(self, targets: list[Target]) -> None:
        super().__init__(targets)
        self._plan = [(attrgetter(*self._paths(field)), out) for field, out in targets]

    def copy(self, message: Any) -> str:
        """Nothing can be wrong with the numbers as such."""
        for components_of, out in self._plan:
            out[:] = components_of(message)
        return ""

    def _paths(self, field: ObservationField) -> list[str]:
        """Path of each element in the message."""
        paths = []
        for unit, label in zip(element_units(field), field.labels or ("no label",), strict=False):
            vector, component = self.vectors.get(unit), _COMPONENTS.get(unit, _AXES).get(label)
            if vector is None or component is None:
                known = ", ".join(
                    f"{vector} ({unit}: {', '.join(_COMPONENTS.get(unit, _AXES))})"
                    for unit, vector in self.vectors.items()
                )
                raise refusal(field, f"{label!r} in {unit!r} is none of {known}")
            paths.append(f"{vector}.{component}")
        return paths


class OdometryBinding(ComponentBinding):
    """nav_msgs/Odometry: the pose in the frame where odometry began, the twist in the base's own."""

    message_type = Odometry
    topics = "odom(etry)?"
    vectors: ClassVar[Mapping[str, str]] = {
        "m/s": "twist.twist.linear",
        "rad/s": "twist.twist.angular",
        "m": "pose.pose.position",
        "1": "pose.pose.orientation",
    }


class PoseBinding(ComponentBinding):
    """geometry_msgs/PoseStamped, in the field's frame. Nothing here turns a pose into another frame."""

    message_type = PoseStamped
    topics = r"(\w*_)?pose"
    vectors: ClassVar[Mapping[str, str]] = {"m": "pose.position", "1": "pose.orientation"}

    def __init__(self, targets: list[Target]) -> None:
        super().__init__(targets)
        self._frames = sorted({field.frame for field, _ in targets if field.frame})

    def copy(self, message: PoseStamped) -> str:
        """A pose in another frame cannot be read; a namespace before the frame's name makes it no other."""
        frame = message.header.frame_id
        for wanted in self._frames:
            if frame not in ("", wanted) and not frame.endswith(f"/{wanted}"):
                return f"the pose is in frame {frame!r:.80}, the agent needs it in {wanted!r}: transform it before"
        return super().copy(message)
