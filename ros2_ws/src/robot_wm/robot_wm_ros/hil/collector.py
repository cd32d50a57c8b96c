"""Hears what robot and agent tell of their samples, ticks and commands, without disturbing them.

Messages wait in the middleware and are fetched a few times a second: waking up for each would cost those who are
measured more of a shared CPU than all that is told here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from std_msgs.msg import UInt64MultiArray

from robot_wm_ros.hil.measure import TRACE, Capture, Counters
from robot_wm_ros.hil.pairing import Int64

# Several seconds of messages may wait while robot and agent have the CPUs to themselves.
_DEEP = QoSProfile(depth=5000, reliability=ReliabilityPolicy.RELIABLE)
_WIDTHS = {"sampled": 2, "applied": 2, "trace": len(TRACE)}


class Collector:
    """Subscribes ``<robot>/sampled``, ``<robot>/applied``, ``<agent>/trace`` and /diagnostics.

    ``node`` must not be spun by an executor: ``fetch`` takes the messages.
    """

    def __init__(self, node: Node, *, robot: str = "sim_robot", agent: str = "agent") -> None:
        self._agent = node.resolve_topic_name(agent).lstrip("/")
        self._subscriptions = {
            name: node.create_subscription(
                UInt64MultiArray, f"{agent if name == 'trace' else robot}/{name}", _nothing, _DEEP
            )
            for name in _WIDTHS
        }
        self._diagnostics = node.create_subscription(DiagnosticArray, "/diagnostics", _nothing, 10)
        self._heard = {name: array("Q") for name in _WIDTHS}  # each message's numbers, one after the other
        self.clear()

    def clear(self) -> None:
        """Forget everything heard so far."""
        self.fetch()
        for numbers in self._heard.values():
            del numbers[:]
        self.report: dict[str, str] = {}  # the agent's last diagnostics: key -> value
        self.report_ns = 0  # its stamp, on the agent's clock

    def fetch(self) -> None:
        """Take every message that waits."""
        for name, subscription in self._subscriptions.items():
            for message in _waiting(subscription):
                if len(message.data) == _WIDTHS[name]:  # anything else is not from our nodes
                    self._heard[name].extend(message.data)
        for message in _waiting(self._diagnostics):
            for status in message.status:
                if status.name == self._agent:
                    self.report = {entry.key: entry.value for entry in status.values}
                    self.report_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec

    def count(self, name: str) -> int:
        """Messages heard of "sampled", "applied" or "trace" since the last ``clear``."""
        return len(self._heard[name]) // _WIDTHS[name]

    @property
    def counters(self) -> Counters:
        """What the agent's last report counted; nothing, if there was none."""
        if not self.report:
            return Counters()
        superseded, lost = (int(self.report.get(f"{name}_samples", 0)) for name in ("superseded", "lost"))
        return Counters(at_ns=self.report_ns, superseded=superseded, lost=lost)

    def capture(self) -> Capture:
        """A copy of what was heard since the last ``clear``."""
        return Capture(**{name: self._rows(name) for name in _WIDTHS})

    def _rows(self, name: str) -> Int64:
        numbers = np.array(self._heard[name], dtype=np.uint64).astype(np.int64)
        return numbers.reshape(-1, _WIDTHS[name])


def _nothing(_: object) -> None:
    """The callback that no executor calls."""


def _waiting(subscription: Subscription) -> Iterator[Any]:
    with subscription.handle:
        while (taken := subscription.handle.take_message(subscription.msg_type, False)) is not None:
            yield taken[0]
