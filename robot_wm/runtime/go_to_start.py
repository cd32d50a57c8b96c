"""The way to the pose in which a policy starts: slowly, before the soft start, for joints that take positions.

A straight line of joint space along which all joints begin and end together, at rest, with the least jerk (Flash and
Hogan, J. Neurosci. 5(7), 1985): of the way from start to goal, after the share x of its time,

    s(x) = 10 x^3 - 15 x^4 + 6 x^5,    whose largest slope is s'(1/2) = 15/8.

So a way of d rad at no more than v rad/s takes 15/8 * d / v. Between two poses within the joints' ranges every point of
it is, too. Nothing looks for obstacles, the robot's own limbs among them. Shape letter: A actions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.limits import CommandLimits
from robot_wm.spec import ActionSpec

Float32 = NDArray[np.float32]

PEAK = 15.0 / 8.0  # largest speed of the way, of its mean speed


def travel_s(start: Float32, goal: Float32, speed: Float32) -> float:
    """Time in s of the way from ``start`` to ``goal`` at no more than ``speed``: [A] rad (m), and rad/s (m/s)."""
    return float(PEAK * np.max(np.abs(goal - start) / speed))


def waypoint(start: Float32, goal: Float32, share: float) -> Float32:
    """Where the joints [A] are after ``share`` of the time, 0 to 1; exactly ``goal`` at its end."""
    if share >= 1.0:
        return goal
    done = np.float32(share**3 * (10.0 + share * (6.0 * share - 15.0)))
    place: Float32 = start + (goal - start) * done
    return place


def pose_of(
    action: ActionSpec, given: Mapping[str, float], rest: Float32, limits: CommandLimits, *, name: str = "start_pose"
) -> Float32:
    """The pose [A]: ``rest`` (that of a zero action, within the limits) with what is ``given`` by joint instead.

    UserError, which calls it ``name``, for a joint that is none of the action's, and for a position that its limits do
    not allow.
    """
    pose = rest.copy()
    for joint, position in given.items():
        if joint not in action.joints:
            raise UserError(f"{name}: {joint} is none of the agent's joints: {', '.join(action.joints)}")
        index = action.joints.index(joint)
        low, high = limits.low[index], limits.high[index]
        if not low <= position <= high:
            raise UserError(f"{name}: {joint} at {position:g} {action.unit} is outside its limits, {low:g} to {high:g}")
        pose[index] = position
    return pose


class GoToStart:
    """Goes there tick by tick. ``is_due`` from every enable until the pose was reached or found to be near."""

    lets_go = False  # whether the robot is let go at the end, and no policy drives it

    def __init__(self, pose: Float32, speed: Float32, *, tolerance: float, period_s: float) -> None:
        """``pose`` [A] rad (m), ``speed`` [A] rad/s (m/s), as near as ``tolerance`` rad (m) is near enough."""
        self._pose, self._speed, self._tolerance, self._period_s = pose, speed, tolerance, period_s
        self._from = pose.copy()  # [A]
        self._ticks = self._tick = 0
        self.is_due = False

    def begin(self, command: Float32) -> bool:
        """Set out from ``command`` [A]; False, and nothing is due any more, where that is near enough."""
        self.is_due = bool(np.max(np.abs(command - self._pose)) > self._tolerance)
        self._from[:] = command
        self._ticks = int(np.ceil(travel_s(self._from, self._pose, self._speed) / self._period_s))
        self._tick = 0
        return self.is_due

    @property
    def has_arrived(self) -> bool:
        """Whether the pose itself has been commanded."""
        return self._tick >= self._ticks

    def next(self) -> Float32:
        """The command [A] of the next tick."""
        self._tick += 1
        return waypoint(self._from, self._pose, self._tick / max(self._ticks, 1))
