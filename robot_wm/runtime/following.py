"""Joints that do not do as they are told: drives without power, a controller that is not there, a stuck limb.

What was commanded is compared with what the joint does at the next tick. A drive bears an error; more than this in
one direction for ``following_s``, in which the joint came no nearer by as much, is a fault, which stands until the
robot is damped. So a wheel that is told to and fro faster than it can turn is not stuck, nor a car that gathers speed.

========  =====================================================================================
command   error that is borne
========  =====================================================================================
position  half of that at which the drive gives all it can (effort / kp), else 1/4 of the range
velocity  the same with effort / kd, at most 1/4 of the speed limit
effort    1/4 of the effort limit
========  =====================================================================================

A robot's file may state other errors (``following_error``). A joint is not watched where no field has the role that
tells what it does (a speed may also come from positions), or where the spec has none of these numbers.
Shape letter: A actions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.joints import joint_elements, joint_limits, without_turns, wraps
from robot_wm.spec import AgentSpec, JointLimits, JointRole

Float32 = NDArray[np.float32]

SATURATED_SHARE = 0.5  # of the error at which the drive gives all it can
LIMIT_SHARE = 0.25  # of the joint's range, or of the limit of its speed or effort

# What tells whether a command is followed.
_TOLD_BY = {
    "position": (JointRole.POSITION,),
    "velocity": (JointRole.VELOCITY, JointRole.POSITION),
    "effort": (JointRole.EFFORT,),
}


class FollowingMonitor:
    """Compares what joints were told with what they do, tick by tick; ``unwatched`` names those that it cannot."""

    def __init__(self, spec: AgentSpec, following_s: float, errors: Mapping[str, float] | None = None) -> None:
        """``errors`` are borne in place of the spec's, by joint, in the command's unit."""
        action = spec.action
        self._names, self._unit, self._is_position = action.joints, action.unit, action.mode == "position"
        told: set[int] = set()
        self._ticks = 0
        if np.isfinite(following_s):
            self._ticks = round(following_s * spec.control_rate_hz)
            roles = _TOLD_BY.get(action.mode, ())
            told = {joint for role in roles for joint in joint_elements(spec, role).joints}
        limits = joint_limits(spec)
        kp, kd = (gains or (0.0,) * spec.action_dim for gains in (spec.firmware.kp, spec.firmware.kd))
        borne = [
            (errors or {}).get(joint) or _borne(action.mode, limit, kp[index], kd[index]) if index in told else np.inf
            for index, (joint, limit) in enumerate(zip(action.joints, limits, strict=True))
        ]
        self._borne = np.array(borne, dtype=np.float32)  # [A]
        self.unwatched = tuple(name for name, error in zip(self._names, borne, strict=True) if np.isinf(error))
        turning = [self._is_position and wraps(limit, self._unit) for limit in limits]
        self._is_turning = np.array(turning, dtype=np.float32)  # [A]
        self._direction = np.zeros(spec.action_dim, dtype=np.float32)  # [A] of an error beyond what is borne, else 0
        self._since = np.zeros(spec.action_dim, dtype=np.float32)  # [A] what the joints did when counting began
        self._count = np.zeros(spec.action_dim, dtype=np.int64)  # [A] ticks
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self._direction.fill(0)
        self._count.fill(0)
        self._problem = ""

    def judge(self, command: Float32, does: Float32) -> str:
        """What is wrong after one more driven tick, "" if nothing is; the joints were told ``command`` [A]."""
        if self._problem:
            return self._problem
        error = without_turns(command - does, self._is_turning)
        is_far = np.abs(error) > self._borne  # where what it does is not known, that is NaN, and not far
        if not is_far.any():
            self.forget()
            return ""
        direction = np.where(is_far, np.sign(error), np.float32(0))
        nearer = direction * without_turns(does - self._since, self._is_turning)
        anew = (direction != self._direction) | (nearer > self._borne)
        self._since[anew] = does[anew]
        self._direction[:] = direction
        self._count = (np.where(anew, 0, self._count) + 1) * is_far
        worst = int(self._count.argmax())
        if self._count[worst] > self._ticks:
            self._problem = (
                f"{self._names[worst]} does not follow: told {command[worst]:.3g}, is at {does[worst]:.3g} {self._unit}"
                f" (may be off by {self._borne[worst]:.3g}): do the drives have power, does their controller listen?"
            )
        return self._problem


def _borne(mode: str, limits: JointLimits, kp: float, kd: float) -> float:
    """In the command's unit; infinite where nothing says."""
    if mode == "effort":
        return np.inf if limits.effort is None else LIMIT_SHARE * limits.effort
    gain = kp if mode == "position" else kd
    saturated = np.inf if limits.effort is None or not gain > 0 else SATURATED_SHARE * limits.effort / gain
    if mode == "velocity":
        return saturated if limits.velocity is None else min(saturated, LIMIT_SHARE * limits.velocity)
    if saturated == np.inf and limits.position is not None:
        return LIMIT_SHARE * (limits.position[1] - limits.position[0])
    return saturated
