"""How often an imported robot's agent commands, and how often its physics is stepped."""

from __future__ import annotations

import math

from robot_wm_sim.importing.settings import Kind

# Of our own tasks of the kind.
_USUAL_HZ: dict[Kind, float] = {"arm": 20.0, "wheeled": 20.0, "legged": 50.0, "empty": 50.0}
_PHYSICS_HZ = 500.0
_TIMEOUT_PERIODS = 5
_LONGEST_TIMEOUT_S = 0.5  # what `firmware check` lets pass


def control_rate_hz(kind: Kind, update_rate_hz: float | None) -> float:
    """The usual rate of the kind, or the highest up to it of which a controller manager's is a whole multiple, Hz."""
    usual = _USUAL_HZ[kind]
    if update_rate_hz is None:
        return usual
    parts = max(1, math.ceil(update_rate_hz / usual))
    # A whole number of Hz is worth a slightly lower rate.
    whole = next((n for n in range(parts, 2 * parts) if (update_rate_hz / n).is_integer()), parts)
    return update_rate_hz / whole


def physics_rate_hz(control_hz: float) -> float:
    """The first multiple of the control rate that is at least 500 Hz."""
    return control_hz * math.ceil(_PHYSICS_HZ / control_hz)


def timeout(control_hz: float) -> tuple[float, int]:
    """After how long without a command the drives damp: s, and control periods."""
    periods = max(1, min(_TIMEOUT_PERIODS, math.floor(_LONGEST_TIMEOUT_S * control_hz)))
    return periods / control_hz, periods
