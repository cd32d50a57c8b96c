"""The controller's state machine: which mode follows which, and nothing else."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    """What the controller does with the robot."""

    INACTIVE = "inactive"  # not driving: the command is the damping one, for whoever publishes it all the same
    GO_TO_START = "go_to_start"  # moving slowly from where the robot is to the pose in which the policy starts
    SOFT_START = "soft_start"  # blending from the last command to the policy's
    ACTIVE = "active"  # the policy drives
    HOLD = "hold"  # a fault a moment ago: position stays, velocity and effort go to zero
    CROUCH = "crouch"  # about to fall: the joints fold, so that the fall is a short one; then damp
    DAMP = "damp"  # the fault lasted: firmware should brake with kd only; an operator must enable again
    ESTOP = "estop"  # latched: only a reset leaves it


class Event(Enum):
    """What can change the mode."""

    ENABLE = "enable"  # operator
    DISABLE = "disable"  # operator
    ESTOP = "estop"  # operator, or the node's watchdog
    RESET = "reset"  # operator
    FAULT = "fault"  # this tick had one
    FALLING = "falling"  # this tick says that the robot is about to fall
    FAR = "far"  # the robot is not near the pose in which the policy starts
    ARRIVED = "arrived"  # now it is
    STARTED = "started"  # the soft start is over
    RECOVERED = "recovered"  # enough sound ticks in a row while holding
    EXPIRED = "expired"  # held for as long as allowed, or crouched for as long as it takes


# A pair that is not listed changes nothing. ESTOP is left by RESET alone.
_TRANSITIONS = {
    (Mode.INACTIVE, Event.ENABLE): Mode.SOFT_START,
    (Mode.SOFT_START, Event.FAR): Mode.GO_TO_START,
    (Mode.GO_TO_START, Event.FAULT): Mode.HOLD,
    (Mode.GO_TO_START, Event.ARRIVED): Mode.SOFT_START,
    (Mode.GO_TO_START, Event.DISABLE): Mode.INACTIVE,
    (Mode.SOFT_START, Event.FAULT): Mode.HOLD,
    (Mode.SOFT_START, Event.STARTED): Mode.ACTIVE,
    (Mode.SOFT_START, Event.DISABLE): Mode.INACTIVE,
    (Mode.SOFT_START, Event.FALLING): Mode.CROUCH,
    (Mode.ACTIVE, Event.FAULT): Mode.HOLD,
    (Mode.ACTIVE, Event.FALLING): Mode.CROUCH,
    (Mode.ACTIVE, Event.DISABLE): Mode.INACTIVE,
    (Mode.HOLD, Event.RECOVERED): Mode.SOFT_START,
    (Mode.HOLD, Event.FALLING): Mode.CROUCH,
    (Mode.HOLD, Event.EXPIRED): Mode.DAMP,
    (Mode.HOLD, Event.DISABLE): Mode.INACTIVE,
    (Mode.CROUCH, Event.EXPIRED): Mode.DAMP,
    (Mode.CROUCH, Event.DISABLE): Mode.INACTIVE,
    (Mode.DAMP, Event.ENABLE): Mode.SOFT_START,
    (Mode.DAMP, Event.DISABLE): Mode.INACTIVE,
    (Mode.DAMP, Event.RESET): Mode.INACTIVE,
    (Mode.ESTOP, Event.RESET): Mode.INACTIVE,
} | {(mode, Event.ESTOP): Mode.ESTOP for mode in Mode}


def transition(mode: Mode, event: Event) -> Mode:
    """Return the mode that follows ``mode`` upon ``event``."""
    return _TRANSITIONS.get((mode, event), mode)
