"""Brings an agent's lifecycle node up and down through its services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from std_srvs.srv import SetBool

from robot_wm.errors import UserError

Wait = Callable[[Callable[[], bool], str], None]  # spins the node until the condition holds, or raises UserError

_UP = {
    State.PRIMARY_STATE_UNCONFIGURED: (Transition.TRANSITION_CONFIGURE, "configure"),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, "activate"),
}


class LifecycleClient:
    """The services of the lifecycle node ``name``. ``wait`` is how the caller's node waits."""

    def __init__(self, node: Node, name: str, wait: Wait) -> None:
        self._node, self._name, self._wait = node, name, wait
        self._clients: dict[str, Any] = {}

    def bring_up(self) -> None:
        """Configure and activate it, from whatever state it is in."""
        while (state := self._call(GetState, "get_state", GetState.Request()).current_state).id in _UP:
            self.change_state(*_UP[state.id])
        if state.id != State.PRIMARY_STATE_ACTIVE:
            raise UserError(f"{self._name} is {state.label}")

    def enable(self) -> None:
        """What an operator does to an agent that has damped: let it drive again."""
        self._call(SetBool, "enable", SetBool.Request(data=True))

    def deactivate(self) -> None:
        """The agent holds, then damps, and ticks no more."""
        self.change_state(Transition.TRANSITION_DEACTIVATE, "deactivate")

    def change_state(self, transition: int, label: str) -> None:
        """Raises UserError if the node refuses; its log tells why."""
        request = ChangeState.Request(transition=Transition(id=transition, label=label))
        if not self._call(ChangeState, "change_state", request).success:
            raise UserError(f"{self._name}: {label} failed")

    def _call(self, kind: Any, service: str, request: Any) -> Any:
        name = f"{self._name}/{service}"
        if name not in self._clients:
            self._clients[name] = self._node.create_client(kind, name)
        client = self._clients[name]
        self._wait(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self._wait(future.done, f"an answer of {name}")
        return future.result()

    def close(self) -> None:
        """Give the clients back."""
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()
