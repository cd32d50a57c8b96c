"""What a motor is: declared per joint in Robot, plain data. `law` is what follows from it, `Motors` carries it out."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from robot_wm.errors import UserError
from robot_wm_sim.actuators.network import ActuatorNetwork

MOST_DELAY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class TorqueSpeedCurve:
    """A DC motor's: up to ``corner_speed`` it gives its largest effort, from there on less, at ``no_load_speed`` none.

    The largest effort is the drive's limit (`JointLimits.effort`), so that a motor whose limit is scaled is a weaker or
    stronger motor with the same speeds. The falling line, drawn back to standstill, is the effort at which the
    windings alone would stall it: see ``stall_ratio``. See `law.effort_range` for all four quadrants.
    """

    no_load_speed: float  # rad/s or m/s, of the joint
    corner_speed: float = 0.0  # rad/s or m/s; 0: the limit is the stall effort

    def __post_init__(self) -> None:
        """Make the numbers floats; raises UserError for a curve that does not fall."""
        _set_number(self, "no_load_speed", "rad/s or m/s", most=math.inf)
        _set_number(self, "corner_speed", "rad/s or m/s", most=math.inf)
        if not self.corner_speed < self.no_load_speed:
            raise UserError(
                f"actuator: corner_speed is {self.corner_speed:g} rad/s or m/s, "
                f"but must be below no_load_speed, {self.no_load_speed:g}"
            )

    @property
    def stall_ratio(self) -> float:
        """Stall effort over the drive's limit, at least 1."""
        return self.no_load_speed / (self.no_load_speed - self.corner_speed)


@dataclass(frozen=True, kw_only=True)
class Actuator:
    """By default ideal: the effort that the drive's equation asks for, at once, cut to the drive's limit at any speed.

    Friction is not here. It is the joint's (`Joint.damping`, `Joint.friction`, `Dynamics.joint_damping` and
    ``joint_friction``), and the physics engine's to solve: dry friction that holds what stands is a constraint, which a
    force worked out once a step can only chatter about; and the effort that a motor's current tells is before friction.
    """

    torque_speed: TorqueSpeedCurve | None = None
    # From when a drive is told something until it does it, rounded to whole physics steps; what it measures is of now.
    delay_s: float = 0.0
    network: ActuatorNetwork | None = None  # in place of the drive's position loop

    def __post_init__(self) -> None:
        """Make the numbers floats; raises UserError for a delay that cannot be."""
        _set_number(self, "delay_s", "s", most=MOST_DELAY_S)

    @property
    def is_ideal(self) -> bool:
        """Whether the drive's equation is all that there is to it."""
        return self.torque_speed is None and self.network is None and self.delay_s == 0.0


def _set_number(owner: Any, name: str, unit: str, *, most: float) -> None:
    value = getattr(owner, name)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not (is_number and 0.0 <= value <= most):
        wanted = "finite and not negative" if most == math.inf else f"within [0, {most:g}]"
        raise UserError(f"actuator: {name} is {value!r}, {unit}, but must be {wanted}")
    object.__setattr__(owner, name, float(value))


IDEAL = Actuator()
