"""How fast, and how hard, a joint may be driven towards the end of its range: so that it can still stop there.

With distance d to the end, deceleration a and control period dt, a joint that moves at v for one more period and then
brakes stops within ``v * dt + v**2 / (2 * a)``. The largest v that this distance allows is

    v(d) = sqrt((a * dt)**2 + 2 * a * d) - a * dt,    0 at the end and beyond it.

Velocity mode: the part of a command towards an end is at most v(d). Effort mode: it is cut in proportion as the
measured speed towards that end comes within a tenth of the speed limit of v(d), and nothing is left of it from there
on. The part away from an end is never touched, nor a command of zero. Position mode has its range in the command.

The deceleration is stated, since no spec has one: a joint stops from its speed limit within ``STOP_S``, or as slowly
as the command's rate limit lets it, in velocity mode. A joint without a speed limit is taken for one that crosses
its range in a second. Shape letter: A actions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.joints import joint_limits, position_ranges
from robot_wm.runtime.limits import CommandLimits
from robot_wm.spec import AgentSpec, JointLimits

Float32 = NDArray[np.float32]

STOP_S = 0.3  # from the speed limit; the slowest joint of a Panda (2.175 rad/s, 7.5 rad/s²) takes 0.29
SOFT_SHARE = 0.1  # of the speed limit, over which an effort is cut from all to nothing


def braking_speed(distance: Float32, deceleration: Float32, period_s: float) -> Float32:
    """v(d) above, all of one shape: distances in rad (m), decelerations in rad/s² (m/s²), result in rad/s (m/s)."""
    lost = deceleration * np.float32(period_s)
    speed: Float32 = np.sqrt(lost * lost + 2 * deceleration * np.maximum(distance, np.float32(0))) - lost
    return speed


class EndStops:
    """The range of commands [A] that the joints' ends leave, tick by tick, for velocity and effort commands."""

    def __init__(self, spec: AgentSpec, limits: CommandLimits) -> None:
        self._limits = limits
        self._is_effort = spec.action.mode == "effort"
        self._period_s = spec.control_period_s
        of = joint_limits(spec)
        self._low, self._high = position_ranges(of)  # [A] each
        fastest = np.array([_fastest(limit) for limit in of], dtype=np.float32)  # [A]
        rates = [np.inf if self._is_effort or limit.rate is None else limit.rate for limit in of]
        self._deceleration = np.minimum(fastest / np.float32(STOP_S), np.array(rates, dtype=np.float32))  # [A]
        self._soft = np.float32(SOFT_SHARE) * fastest  # [A]

    def limits(self, position: Float32, speed: Float32) -> CommandLimits:
        """What may be commanded with the joints at ``position`` [A], moving at ``speed`` [A]; NaN where not known."""
        up = braking_speed(self._high - position, self._deceleration, self._period_s)
        down = braking_speed(position - self._low, self._deceleration, self._period_s)
        limits = self._limits
        # fmin and fmax go by the other number where a joint's position or speed is not known.
        if self._is_effort:
            # A speed that is not known (yet) counts as none.
            speed = np.nan_to_num(speed)
            one, zero = np.float32(1), np.float32(0)
            low = limits.low * np.fmax(np.fmin((down + speed) / self._soft, one), zero)
            high = limits.high * np.fmax(np.fmin((up - speed) / self._soft, one), zero)
        else:
            low, high = np.fmax(limits.low, -down), np.fmin(limits.high, up)
        return CommandLimits(low=low, high=high, step=limits.step)


def _fastest(limits: JointLimits) -> float:
    """rad/s or m/s; 1 for a joint without a range, which has nothing to stop for."""
    if limits.velocity is not None:
        return limits.velocity
    return 1.0 if limits.position is None else limits.position[1] - limits.position[0]
