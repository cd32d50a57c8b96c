"""Whether the controller that the commands are for is there, active and of the same joints, where that can be known.

ros2_control's controller manager lists its controllers with their states when it is asked, and tells the same once a
second on /diagnostics (since Jazzy), which needs none of its message types; a controller has its joints as a parameter
of its node. All are asked for while nothing drives, so that no tick waits for them; where there is no controller
manager nothing is said.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.qos import QoSProfile

_MANAGER = "controller_manager"  # of the node's namespace
_STATUS = "Controllers Activity"  # how the manager's status is called, behind its node's name
_STATE = ".state"
_GONE_S = 5.0  # since the manager's last word
_ASK_S = 2.0  # between two questions


class _Question:
    """A service that is asked every few seconds, by who never waits for it."""

    def __init__(self, node: Node, kind: Any, service: str, request: Any) -> None:
        self._node, self._request = node, request
        self._client: Any = node.create_client(kind, service)
        self._answer: Any = None  # a future
        self._asked_s = float("-inf")  # steady clock

    def ask(self) -> Any:
        """Ask, if it is time to; returns an answer that has come since the last call, else None."""
        answer = None
        if self._answer is not None and self._answer.done():
            answer = self._answer.result() if self._answer.exception() is None else None
            self._answer = None
        now_s = time.monotonic()
        if now_s >= self._asked_s + _ASK_S and self._client.service_is_ready():
            self._asked_s = now_s
            if self._answer is not None:
                self._client.remove_pending_request(self._answer)
            self._answer = self._client.call_async(self._request)
        return answer

    @property
    def is_answered(self) -> bool:
        """Whether anybody is there who answers."""
        return bool(self._client.service_is_ready())

    def destroy(self) -> None:
        """Take it off the node."""
        self._node.destroy_client(self._client)


class ControllerWatch:
    """Watches one controller, by its name relative to the node's namespace."""

    def __init__(self, node: Node, controller: str, joints: Sequence[str], *, is_ordered: bool) -> None:
        """``joints`` are those that commands name or, where ``is_ordered``, that they have one after another."""
        self._node, self._controller = node, controller
        self._joints, self._is_ordered = list(joints), is_ordered
        self._states: Mapping[str, str] = {}  # of every controller that a manager knows
        self._heard_s = float("-inf")  # steady clock
        self._theirs: list[str] = []  # the controller's joints; none: not known
        self._heard = node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, QoSProfile(depth=10))
        wanted = GetParameters.Request(names=["joints"])
        self._parameters = _Question(node, GetParameters, f"{controller}/get_parameters", wanted)
        listing = _listing()
        self._list = listing and _Question(node, listing, f"{_MANAGER}/list_controllers", listing.Request())

    def destroy(self) -> None:
        """Take it off the node."""
        self._node.destroy_subscription(self._heard)
        self._parameters.destroy()
        if self._list is not None:
            self._list.destroy()

    def _hear(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name.endswith(_STATUS):
                states = {value.key: value.value for value in status.values}
                self._know({key.removesuffix(_STATE): state for key, state in states.items() if key.endswith(_STATE)})

    def _know(self, states: Mapping[str, str]) -> None:
        self._states, self._heard_s = states, time.monotonic()

    def ask(self) -> None:
        """Ask for states and joints, if it is time to, and take the answers to the last questions."""
        if self._list is not None and (listed := self._list.ask()) is not None:
            self._know({found.name: found.state for found in listed.controller})
        if not self._parameters.is_answered:
            self._theirs = []
        if (told := self._parameters.ask()) is not None:
            is_list = bool(told.values) and told.values[0].type == ParameterType.PARAMETER_STRING_ARRAY
            self._theirs = list(told.values[0].string_array_value) if is_list else []

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


def _listing() -> Any:
    """The type of the manager's service, where ros2_control's messages are installed; they are on no package index."""
    try:
        return importlib.import_module("controller_manager_msgs.srv").ListControllers
    except ImportError:
        return None
