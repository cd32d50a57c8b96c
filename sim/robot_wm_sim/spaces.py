"""Gymnasium spaces that an AgentSpec implies."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from robot_wm.spec import ActionSpec, AgentSpec, ObservationField


def observation_space(spec: AgentSpec) -> spaces.Dict:
    """Dict of raw SI fields in the spec's order; vectors are unbounded (no reset can lie outside)."""
    # Pairs and not a dict, whose keys Gymnasium would sort.
    return spaces.Dict([(field.name, _field_space(field)) for field in spec.observations])


def _field_space(field: ObservationField) -> spaces.Box:
    if field.is_image:
        return spaces.Box(0, 255, field.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, field.shape, np.float32)


def action_space(action: ActionSpec) -> spaces.Box:
    """Box of SI commands [A]: what the policy can ask for, cut by the joint limits of the action's mode."""
    low, high = command_bounds(action)
    return spaces.Box(low, high, dtype=np.float32)


def command_bounds(action: ActionSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest command [A], float32, in the action's unit."""
    n = len(action.joints)
    offset = np.broadcast_to(np.array(action.offset), n)
    reach = np.broadcast_to(np.abs(action.scale) * action.clip, n)
    low, high = offset - reach, offset + reach  # [A]
    for i, limits in enumerate(action.limits):
        if action.mode == "position":
            bounds = limits.position
        else:
            largest = limits.velocity if action.mode == "velocity" else limits.effort
            bounds = None if largest is None else (-largest, largest)
        if bounds is not None:
            low[i], high[i] = max(low[i], bounds[0]), min(high[i], bounds[1])
    return _inside(low, high)


def _inside(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Round to float32 towards the inside, so that no float32 command passes a float64 limit."""
    low32, high32 = low.astype(np.float32), high.astype(np.float32)
    low32 = np.where(low32 < low, np.nextafter(low32, np.float32(np.inf)), low32)
    high32 = np.where(high32 > high, np.nextafter(high32, np.float32(-np.inf)), high32)
    return low32, high32
