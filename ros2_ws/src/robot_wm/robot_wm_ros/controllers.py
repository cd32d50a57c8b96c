"""Whether the controller that the commands are for is there, active and of the same joints, where that can be known.

ros2_control's controller manager tells the state of its controllers once a second on /diagnostics (since Jazzy), and
a controller its joints as a parameter of its node. Both are read as they come and asked for while nothing drives, so
that no tick waits for them; where there is no controller manager nothing is said.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.qos import QoSProfile

_STATUS = "Controllers Activity"  # how the manager's status is called, behind its node's name
_STATE = ".state"
_GONE_S = 5.0  # since the manager's last word
_ASK_S = 2.0  # between two questions for the joints


class ControllerWatch:
    """Watches one controller, by its name relative to the node's namespace."""

    def __init__(self, node: Node, controller: str, joints: Sequence[str], *, is_ordered: bool) -> None:
        """``joints`` are those that commands name or, where ``is_ordered``, that they have one after another."""
        self._node, self._controller = node, controller
        self._joints, self._is_ordered = list(joints), is_ordered
        self._states: dict[str, str] = {}  # of every controller that a manager knows
        self._heard_s = float("-inf")  # steady clock
        self._asked_s = float("-inf")
        self._answer: Any = None  # a future
        self._theirs: list[str] = []  # the controller's joints; none: not known
        self._heard = node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, QoSProfile(depth=10))
        self._client: Any = node.create_client(GetParameters, f"{controller}/get_parameters")

    def destroy(self) -> None:
        """Take it off the node."""
        self._node.destroy_subscription(self._heard)
        self._node.destroy_client(self._client)

    def _hear(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name.endswith(_STATUS):
                states = {value.key: value.value for value in status.values}
                self._states = {
                    key.removesuffix(_STATE): state for key, state in states.items() if key.endswith(_STATE)
                }
                self._heard_s = time.monotonic()

    def ask(self) -> None:
        """Ask for the controller's joints, if it is time to, and take the answer to the last question."""
        if self._answer is not None and self._answer.done():
            values = self._answer.result().values if self._answer.exception() is None else []
            is_list = bool(values) and values[0].type == ParameterType.PARAMETER_STRING_ARRAY
            self._theirs = list(values[0].string_array_value) if is_list else []
            self._answer = None
        now_s = time.monotonic()
        if now_s < self._asked_s + _ASK_S:
            return
        self._asked_s = now_s
        if self._client.service_is_ready():
            if self._answer is not None:
                self._client.remove_pending_request(self._answer)
            self._answer = self._client.call_async(GetParameters.Request(names=["joints"]))
        else:
            self._theirs = []

    @property
    def state(self) -> str:
        """What keeps the controller from following, "" if it is active or nobody tells of it."""
        if time.monotonic() > self._heard_s + _GONE_S:
            return ""
        name = self._controller.rsplit("/", 1)[-1]
        state = self._states.get(name)
        if state is None:
            known = ", ".join(sorted(self._states)) or "none"
            return f"controller {name} is not loaded; the controller manager has {known}"
        return "" if state == "active" else f"controller {name} is {state}, not active"

    @property
    def mismatch(self) -> str:
        """How the controller's joints differ from those that it is sent, "" if they do not or are not known."""
        theirs, ours = self._theirs, self._joints
        if not theirs or theirs == ours or (not self._is_ordered and sorted(theirs) == sorted(ours)):
            return ""
        return (
            f"controller {self._controller} takes {', '.join(theirs)}, and is sent {', '.join(ours)}:"
            " controller_joints has its order"
        )
