"""Brings an agent's lifecycle node up and down through its services."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from std_srvs.srv import SetBool

from robot_wm.errors import UserError
from robot_wm_ros.hil.services import Services, Steps, answer, is_answered, moment

_UP = {
    State.PRIMARY_STATE_UNCONFIGURED: (Transition.TRANSITION_CONFIGURE, "configure"),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, "activate"),
}
_TARGETS = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
}


class LifecycleClient:
    """The services of the lifecycle node ``name``."""

    def __init__(self, services: Services, name: str) -> None:
        self._services, self._name = services, name

    def bring_up(self) -> None:
        """Configure and activate it, from whatever state it is in. Raises UserError if it refuses: its log says why."""
        while (state := self.state()).id in _UP:
            self._require(*_UP[state.id])
        if state.id != State.PRIMARY_STATE_ACTIVE:
            raise UserError(f"{self._name} is {state.label}")

    def deactivate(self) -> None:
        """The agent holds, then damps, and ticks no more. Raises UserError if it refuses."""
        self._require(Transition.TRANSITION_DEACTIVATE, "deactivate")

    def enable(self, value: bool = True) -> Any:
        """What an operator does to an agent that has damped: let it drive again. ``False`` stops it."""
        return self._services.call(SetBool, f"{self._name}/enable", SetBool.Request(data=value))

    def state(self) -> State:
        """The state that it is in, once it is in no transition."""
        name = f"{self._name}/get_state"
        client = self._services.client(GetState, name)
        return self._services.finish(_settled(client), f"an answer of {name}")

    def change_state(self, transition: int) -> bool:
        """Ask for a transition; whether it was carried out, if only its answer got lost, too."""
        name = f"{self._name}/change_state"
        states = self._services.client(GetState, f"{self._name}/get_state")
        steps = _carried_out(self._services.client(ChangeState, name), states, transition)
        return self._services.finish(steps, f"an answer of {name}")

    def _require(self, transition: int, label: str) -> None:
        if not self.change_state(transition):
            raise UserError(f"{self._name}: {label} failed")


def _settled(states: Any) -> Steps[State]:
    """Look until the node is in no transition."""
    while True:
        state = (yield from answer(states, GetState.Request())).current_state
        if state.id < State.TRANSITION_STATE_CONFIGURING:  # the first of those that pass
            return state
        yield from moment()


def _carried_out(changes: Any, states: Any, transition: int) -> Steps[bool]:
    """Ask for a transition, and again only while the state shows that it was not carried out.

    A failed configuration may be one of minutes, so it is not tried again just because its answer is late.
    """
    request, target = ChangeState.Request(transition=Transition(id=transition)), _TARGETS[transition]
    asked = [changes.call_async(request)]
    while True:
        yield from moment(lambda: is_answered(asked))
        if is_answered(asked):
            break
        if (yield from _settled(states)).id == target:
            return True
        # A node that was busy with the transition answers this and the look at once, and either may be heard first.
        yield from moment(lambda: is_answered(asked))
        if not is_answered(asked):
            asked.append(changes.call_async(request))
    while not asked[-1].done():
        yield
    if any(future.done() and future.result().success for future in asked):
        return True
    if all(future.done() for future in asked):
        return False
    # What refused the last one may be that one before it was carried out.
    return (yield from _settled(states)).id == target
