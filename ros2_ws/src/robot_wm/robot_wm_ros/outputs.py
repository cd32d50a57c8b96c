"""What the agent says beside its commands: whether the firmware should damp, and the times of every tick."""

from __future__ import annotations

import traceback
from array import array

from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Bool, String, UInt64MultiArray

from robot_wm.runtime.modes import Mode
from robot_wm_ros.qos import LATCHED, TRACE

ACKNOWLEDGED_S = 0.2  # firmware that takes longer is not there any more
_LATEST_NS = 2**64 - 1


class DampFlag:
    """``~/damp``: true asks the firmware to brake with kd only, whatever the command says."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(Bool, "~/damp", LATCHED)
        self.value = True
        self.repeat()

    def set(self, value: bool) -> None:
        """Publish, if it is a change."""
        if value != self.value:
            self.value = value
            self.repeat()

    def repeat(self) -> None:
        """Publish again, for firmware that missed the change."""
        self._publisher.publish(Bool(data=self.value))

    def insist(self) -> None:
        """Ask for damping and wait until the firmware has that, if it is there and answers.

        Raises for nothing that may be wrong with it: whoever stops a robot still has other things to do.
        """
        try:
            self.value = True
            self.repeat()
            self._publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S))
        except Exception:
            self._node.get_logger().error(f"~/damp could not be sent:\n{traceback.format_exc()}")

    def destroy(self) -> None:
        """Take the publisher off the node."""
        self._node.destroy_publisher(self._publisher)


class ModeTopic:
    """``~/mode``, latched: what the controller does, as ``Mode`` calls it; "estop" and "inactive" without an agent."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(String, "~/mode", LATCHED)
        self._value = ""

    def set(self, mode: Mode, *, anew: bool = False) -> None:
        """Publish, if it is a change, or in any case ``anew``."""
        if anew or mode.value != self._value:
            self._value = mode.value
            self._publisher.publish(String(data=self._value))


class TracePublisher:
    """``~/trace``: [sequence, stamp, receipt, inference, safety, publish], times in ns of the system's clock.

    ``stamp`` is the header's of the sample (its receipt, where it has none), 0 where that is before 1970; the last
    three are when that stage ended.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(UInt64MultiArray, "~/trace", TRACE)
        self._message = UInt64MultiArray(data=[0] * 6)
        self._data: array[int] = self._message.data

    def publish(self, *values: int) -> None:
        """Publish one tick's row."""
        for place, value in enumerate(values):
            self._data[place] = min(max(value, 0), _LATEST_NS)  # a stamp is whatever its driver writes
        self._publisher.publish(self._message)

    def destroy(self) -> None:
        """Take the publisher off the node."""
        self._node.destroy_publisher(self._publisher)
