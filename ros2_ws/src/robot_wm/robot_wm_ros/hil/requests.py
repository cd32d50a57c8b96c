"""What an operator asks of an agent that is measured: the middle of what may be asked for, such as of an arm's target.

Without it an agent with a target never drives. A speed that nobody asks for (cmd_vel) is zero to it: none is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray

from robot_wm.spec import AgentSpec, ObservationField, Source
from robot_wm_ros.binding_kinds import BindingKinds
from robot_wm_ros.command_velocity import VelocityBinding
from robot_wm_ros.component_binding import PoseBinding
from robot_wm_ros.qos import REQUESTS


class Requests:
    """Publishers of an operator's requests, one a field."""

    def __init__(self, node: Node, spec: AgentSpec) -> None:
        self._clock = node.get_clock()
        self._publishers: list[tuple[Publisher, Any]] = []
        for field, message in _requests(spec):
            self._publishers.append((node.create_publisher(type(message), field.topic, REQUESTS), message))

    def are_heard(self) -> bool:
        """Whether somebody subscribes to each of them."""
        return all(publisher.get_subscription_count() for publisher, _ in self._publishers)

    def send(self) -> None:
        """Ask for it, now."""
        for publisher, message in self._publishers:
            if isinstance(message, PoseStamped):
                message.header.stamp = self._clock.now().to_msg()
            publisher.publish(message)


def _requests(spec: AgentSpec) -> Iterator[tuple[ObservationField, Any]]:
    """Fields of requests, with the message for each: the middles of the spec's commands."""
    middle = [(command.low + command.high) / 2.0 for command in spec.commands]
    kinds = BindingKinds()
    for field in spec.observations:
        kind = kinds.of(field) if field.source is Source.COMMAND else VelocityBinding
        if kind is PoseBinding:
            pose = PoseStamped()
            pose.header.frame_id = field.frame
            pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = (*middle, 0.0, 0.0, 0.0)[:3]
            pose.pose.orientation.w = 1.0
            yield field, pose
        elif kind is not VelocityBinding:
            yield field, Float64MultiArray(data=middle)
