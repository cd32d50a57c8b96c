"""cmd_vel, the operator's velocity: geometry_msgs/Twist or TwistStamped, whichever is published.

One process cannot subscribe to a topic name with two types (tested with rmw_fastrtps: the second subscription is
refused), so the subscription has to follow the publisher.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node

from robot_wm.errors import UserError
from robot_wm_ros.binding import Binding, Target, element_units, refusal

# Values of the parameter command_velocity_type; "auto" begins with what nearly everybody published for years.
VELOCITY_TYPES: dict[str, type] = {"auto": Twist, "twist": Twist, "twist_stamped": TwistStamped}
_NAMES = {"geometry_msgs/msg/Twist": Twist, "geometry_msgs/msg/TwistStamped": TwistStamped}
_UNITS = {"linear": "m/s", "angular": "rad/s"}
_ELEMENTS = {f"{part}_{axis}": f"{part}.{axis}" for part in _UNITS for axis in "xyz"}


class VelocityBinding(Binding):
    """Labels are linear_x to angular_z. Messages of either type can be read, whatever was subscribed to."""

    message_type = Twist
    topics = "cmd_vel"

    def __init__(self, targets: list[Target]) -> None:
        super().__init__(targets)
        for field, _ in targets:
            units = element_units(field)
            wrong = [
                label
                for label, unit in zip(field.labels, units, strict=False)
                if label not in _ELEMENTS or _UNITS[label.split("_")[0]] != unit
            ]
            if wrong or not field.labels:
                raise refusal(field, f"labels must be of {', '.join(_ELEMENTS)}, in m/s and rad/s; wrong: {wrong}")
        self._plan = [(attrgetter(*(_ELEMENTS[label] for label in field.labels)), out) for field, out in targets]

    def copy(self, message: Twist | TwistStamped) -> str:
        """Nothing can be wrong with the numbers as such."""
        twist = message.twist if isinstance(message, TwistStamped) else message
        for elements_of, out in self._plan:
            out[:] = elements_of(twist)
        return ""


def velocity_type(name: str) -> type:
    """Message class of the parameter command_velocity_type, to begin with; UserError for another word."""
    if name not in VELOCITY_TYPES:
        raise UserError(f"command_velocity_type {name!r} is not one of {', '.join(VELOCITY_TYPES)}")
    return VELOCITY_TYPES[name]


def published_velocity_type(node: Node, topic: str, current: Any) -> Any:
    """What to subscribe to on ``topic``: ``current``, unless only the other type is published there now.

    Cheap enough to ask once a second: operators come and go while the robot runs.
    """
    published = {_NAMES.get(info.topic_type) for info in node.get_publishers_info_by_topic(topic)} - {None}
    return current if not published or current in published else published.pop()
