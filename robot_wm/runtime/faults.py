"""What can be wrong with a tick, as flags: several can be true at once."""

from __future__ import annotations

from enum import IntFlag


class Fault(IntFlag):
    """Faults of one tick. Any of them makes the controller hold, FALLING crouch."""

    NONE = 0
    MISSING_FIELD = 1  # an observation field is not there
    WRONG_TYPE = 2  # not an array, or of a kind that is not the field's
    WRONG_SHAPE = 4
    NOT_FINITE = 8  # an observation holds NaN, infinity or a number beyond all sense
    STALE = 16  # older than the field's max_age_s, never stamped, or stamped in the future by as much
    CLOCK = 32  # the tick's time, or a field's stamp, went backwards or is no number
    ENGINE = 64  # the engine raised
    OUTPUT_NOT_FINITE = 128  # the engine's action, value or surprise is NaN or infinite
    SURPRISE = 256  # above the threshold for several ticks in a row
    DEADLINE = 512  # whoever calls the controller was late for several ticks in a row
    JUMP = 1024  # a joint reads a position that it cannot have reached since its last sound reading
    RANGE = 2048  # a joint reads a position outside its range
    STALLED = 4096  # whoever calls the controller did not for longer than a sensor may be silent
    FOLLOWING = 8192  # a joint has been too far from its command for too long
    LIVE_CHECK = 16384  # what comes from the robot contradicts the spec, the training data or itself
    FALLING = 32768  # about to fall, as far as the model's belief tells


def fault_names(bits: int) -> tuple[str, ...]:
    """Names of the faults in ``bits``."""
    return tuple(fault.name for fault in Fault if fault & bits and fault.name)
