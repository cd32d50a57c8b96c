"""A small motion of one joint after the other, for a robot on a stand, behind the way to its start pose.

Each joint rests for ``REST_S``, goes out by ``reach`` and back again, each with the least jerk (``go_to_start``), all
others told to stay. Shape letter: A actions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.go_to_start import PEAK, GoToStart, waypoint
from robot_wm.runtime.limits import CommandLimits

Float32 = NDArray[np.float32]

REACH = {"rad": 0.25, "m": 0.02}
REST_S = 0.3  # before each joint's motion, so that the one before has come to rest
WAY_S = 0.35  # out, and as long back; longer where a joint may not move as fast


class StandExcitation(GoToStart):
    """Goes to the start pose, however near it is, and then moves joint after joint. ``joint`` says which, if any."""

    lets_go = True  # a robot that hangs is no place for a policy

    def __init__(
        self,
        pose: Float32,
        speed: Float32,
        *,
        tolerance: float,
        period_s: float,
        limits: CommandLimits,
        unit: str,
    ) -> None:
        """As ``GoToStart``; ``limits`` are the command's, in ``unit``, rad or m."""
        super().__init__(pose, speed, tolerance=tolerance, period_s=period_s)
        reach = np.float32(REACH[unit])
        # Towards the middle of the range, where there is more of it.
        room = limits.high - pose >= pose - limits.low
        target = np.where(room, pose + reach, pose - reach)
        self._targets: Float32 = np.clip(target, limits.low, limits.high).astype(np.float32)  # [A]
        fastest = float(np.min(limits.step)) / period_s
        way_s = max(WAY_S, PEAK * float(reach) / fastest)
        self._way_ticks = max(1, round(way_s / period_s))
        self._rest_ticks = max(1, round(REST_S / period_s))
        self.pulse_ticks = self._rest_ticks + 2 * self._way_ticks  # of each joint, the rest before it included
        self.rest_ticks = self._rest_ticks
        self._command = pose.copy()  # [A]
        self._excited = 0  # ticks since the pose was reached

    def begin(self, command: Float32) -> bool:
        """Set out from ``command`` [A]: there is always something to do."""
        super().begin(command)
        self._excited = 0
        self.is_due = True
        return True

    @property
    def has_arrived(self) -> bool:
        """Whether every joint has been out and back, and the last one had time to show it."""
        return super().has_arrived and self._excited >= len(self._pose) * self.pulse_ticks + self._rest_ticks

    @property
    def joint(self) -> int | None:
        """The joint whose turn it is, by the latest command; None on the way, and when all are done."""
        if not self._excited:
            return None
        joint = (self._excited - 1) // self.pulse_ticks
        return joint if joint < len(self._pose) else None

    def next(self) -> Float32:
        """The command [A] of the next tick."""
        if not super().has_arrived:
            return super().next()
        joint, tick = divmod(self._excited, self.pulse_ticks)
        self._excited += 1
        self._command[:] = self._pose
        if joint < len(self._pose) and tick >= self._rest_ticks:
            share = (tick - self._rest_ticks + 1) / self._way_ticks
            there, back = self._targets[joint], self._pose[joint]
            if share <= 1.0:
                self._command[joint] = waypoint(back, there, share)
            else:
                self._command[joint] = waypoint(there, back, share - 1.0)
        return self._command
