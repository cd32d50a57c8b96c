"""The agent's command as the messages that ros2_control's controllers take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.exceptions import NameValidationException
from rclpy.node import Node

from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec
from robot_wm_ros.binding_kinds import BindingKinds
from robot_wm_ros.command_message import CommandRoute
from robot_wm_ros.qos import COMMANDS

COMMAND_TYPES = ("float64_multi_array", "joint_trajectory")  # of joints, as the simulated robot takes them


class CommandPublisher:
    """Publishes commands, from the spec's joint order to the controller's; one message is written anew each time."""

    def __init__(self, node: Node, action: ActionSpec, route: CommandRoute) -> None:
        """Raises UserError for joints that are not the spec's."""
        if action.is_discrete:
            raise UserError(f"no controller takes a discrete action: {', '.join(action.joints)}")
        kind = BindingKinds().command(route.command_type)
        self.joints = joints = tuple(route.controller_joints or action.joints)  # the controller's, in its order
        self._order = _order(action.joints, joints)  # [A]
        self.controller = controller = route.controller or f"forward_{action.mode}_controller"
        self.topic, self.is_ordered = f"{controller}/{kind.topic}", kind.is_ordered
        self._message = kind(action, joints, route)
        self._values = self._message.values  # [A]
        try:
            self._publisher = node.create_publisher(type(self._message.message), self.topic, COMMANDS)
        except NameValidationException as error:
            raise UserError(f"controller {controller!r} is no name of a topic: {error}") from None
        self._node = node

    def publish(self, command: NDArray[np.float32]) -> None:
        """Publish a command [A], SI, in the spec's order. ValueError, and no message, if it is not finite."""
        values = self._values
        values[:] = command.take(self._order)
        # Finite float32 numbers have a finite sum of squares in float64, and no other numbers have.
        if not math.isfinite(values.dot(values)):
            raise ValueError(f"a command that is not finite was to be published: {values.tolist()}")
        self._message.write()
        self._publisher.publish(self._message.message)

    @property
    def listeners(self) -> int:
        """How many subscriptions the commands reach."""
        return int(self._publisher.get_subscription_count())

    def destroy(self) -> None:
        """Take the publisher off the node."""
        self._node.destroy_publisher(self._publisher)


def _order(joints: Sequence[str], controller_joints: Sequence[str]) -> NDArray[np.intp]:
    """Where the spec has each of the controller's joints, [A]."""
    missing = [name for name in joints if name not in controller_joints]
    unknown = [name for name in controller_joints if name not in joints]
    if missing or unknown or len(controller_joints) != len(joints):
        twice = sorted({name for name in controller_joints if controller_joints.count(name) > 1})
        raise UserError(
            "controller_joints must be the agent's joints in the controller's order; "
            + "; ".join(f"{what}: {', '.join(names)}" for what, names in _named(missing, unknown, twice))
        )
    return np.array([list(joints).index(name) for name in controller_joints], dtype=np.intp)


def _named(missing: list[str], unknown: list[str], twice: list[str]) -> list[tuple[str, list[str]]]:
    return [(what, names) for what, names in (("missing", missing), ("unknown", unknown), ("twice", twice)) if names]
