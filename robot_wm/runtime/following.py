"""Joints that do not go where they are told: drives without power, a controller that is not there, a stuck limb.

A position drive bears an error: with stiffness kp it gives kp * error, up to its effort limit. Half of the error at
which that limit is reached is more than a drive has to bear for long, and is a fault after ``following_s`` without a
break. Without a stiffness or an effort limit it is a quarter of the joint's range; a joint with neither is not watched.
Shape letter: A actions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.joints import joint_limits, without_turns, wraps
from robot_wm.spec import AgentSpec, JointLimits

Float32 = NDArray[np.float32]

SATURATED_SHARE = 0.5  # of the error at which the drive gives all it can
RANGE_SHARE = 0.25  # of the joint's range


class FollowingMonitor:
    """Compares what position joints were told with where they are, tick by tick."""

    def __init__(self, spec: AgentSpec, following_s: float) -> None:
        self._names, self._unit = spec.action.joints, spec.action.unit
        self._ticks = round(following_s * spec.control_rate_hz)
        limits = joint_limits(spec)
        kp = spec.firmware.kp or (0.0,) * spec.action_dim
        borne = [_borne(limit, stiffness) for limit, stiffness in zip(limits, kp, strict=True)]
        self._borne = np.array(borne, dtype=np.float32)  # [A]
        self._is_turning = np.array([wraps(limit, self._unit) for limit in limits], dtype=np.float32)  # [A]
        self._beyond = np.zeros(spec.action_dim, dtype=np.int64)  # [A] ticks in a row
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self._beyond.fill(0)

    def judge(self, command: Float32, measured: Float32) -> str:
        """What is wrong after one more driven tick, "" if nothing is; ``command`` [A] is what the joints were told."""
        error = np.abs(without_turns(command - measured, self._is_turning))
        self._beyond = (self._beyond + 1) * (error > self._borne)
        worst = int(self._beyond.argmax())
        if self._beyond[worst] <= self._ticks:
            return ""
        return (
            f"{self._names[worst]} does not follow: told {command[worst]:.3g}, is at {measured[worst]:.3g} {self._unit}"
            f" (may be off by {self._borne[worst]:.3g}): do the drives have power, does their controller listen?"
        )


def _borne(limits: JointLimits, kp: float) -> float:
    """rad or m."""
    if limits.effort is not None and kp > 0:
        return SATURATED_SHARE * limits.effort / kp
    if limits.position is not None:
        return RANGE_SHARE * (limits.position[1] - limits.position[0])
    return float("inf")
