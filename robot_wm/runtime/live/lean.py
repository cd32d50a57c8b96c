"""Leans a robot on its feet a little, forward and then to its left, behind the way to its start pose.

Gravity and gyroscope agree however an IMU is turned about the vertical, and commands and measurements of a joint do
when another leg's name stands over both. Legs and IMU together tell: what the legs do must tilt the trunk to where the
IMU says. Each lean goes out, across to as far on the other side, and back, with the least jerk (``go_to_start``), and
stays a while at both ends; the policy drives afterwards. Shape letters: A actions, L leans, forward and to the left.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.go_to_start import PEAK, GoToStart, waypoint
from robot_wm.runtime.limits import CommandLimits
from robot_wm.spec import ActionSpec

Float32 = NDArray[np.float32]

LEANS = ("forward", "left")
REST_S = 0.5  # before each lean: a robot on soft legs has to come to rest
WAY_S = 0.3  # from upright to an end; longer where a joint may not move as fast
STAY_S = 0.4  # at an end
MOST_SIZE = 2.0  # times the leans that were given, where these are too small to tell
_ENDS = {2: 1, 4: -1}  # of the parts of a lean: rest, out, stay, across, stay, back


def leans_of(action: ActionSpec, given: Mapping[str, Mapping[str, float]]) -> Float32:
    """Both leans as what they add to the start pose, [L, A]; UserError for one that is missing, or moves no joint."""
    found = np.zeros((len(LEANS), len(action.joints)), dtype=np.float32)
    for row, name in zip(found, LEANS, strict=True):
        if not given.get(name):
            raise UserError(
                f"leans: which joints lean the robot {name} is not known; its robot_config says so (leans.{name})"
            )
        for joint, way in given[name].items():
            if joint not in action.joints:
                raise UserError(f"leans.{name}: {joint} is none of the agent's joints: {', '.join(action.joints)}")
            row[action.joints.index(joint)] = way
    return found


class Lean(GoToStart):
    """Goes to the start pose, however near it is, and then leans. ``stay`` says where it is, if it stays anywhere."""

    def __init__(
        self,
        pose: Float32,
        speed: Float32,
        *,
        tolerance: float,
        period_s: float,
        limits: CommandLimits,
        leans: Float32,
    ) -> None:
        """As ``GoToStart``; ``leans`` [L, A] rad (m) are added to the pose, and cut at the command's ``limits``."""
        super().__init__(pose, speed, tolerance=tolerance, period_s=period_s)
        self._leans, self._limits = leans, limits
        fastest = float(np.min(limits.step)) / period_s
        way_s = max(WAY_S, PEAK * MOST_SIZE * float(np.abs(leans).max()) / fastest)
        rest, way, stay = (max(1, round(seconds / period_s)) for seconds in (REST_S, way_s, STAY_S))
        # Ticks at whose end each part of a lean is over.
        self._over = np.cumsum([rest, way, stay, 2 * way, stay, way])
        self.again(1.0)

    def begin(self, command: Float32) -> bool:
        """Set out from ``command`` [A]: there is always something to do."""
        super().begin(command)
        self.again(1.0)
        self.is_due = True
        return True

    @property
    def has_arrived(self) -> bool:
        """Whether every lean has been made."""
        return super().has_arrived and self._leant >= len(LEANS) * int(self._over[-1])

    @property
    def stay(self) -> tuple[int, int] | None:
        """Lean and end (1, or -1 of the other side) at which the robot stays by the latest command; else None."""
        if not self._leant:
            return None
        lean, part, _ = self._place(self._leant - 1)
        return (lean, _ENDS[part]) if part in _ENDS and lean < len(LEANS) else None

    @property
    def is_over(self) -> bool:
        """Whether a lean has just come to its end: the robot is upright."""
        return self._leant > 0 and self._leant % int(self._over[-1]) == 0

    def again(self, size: float) -> None:
        """Make all leans anew, so many times as far as they were given; for a robot that is upright."""
        self.size = size
        self._leant = 0  # ticks since the pose was reached, or was come back to
        low, high = self._limits.low, self._limits.high
        self._ends: Float32 = np.clip(self._pose + np.float32(size) * self._leans, low, high)  # [L, A]
        self._far_ends: Float32 = np.clip(self._pose - np.float32(size) * self._leans, low, high)  # [L, A]

    def _place(self, tick: int) -> tuple[int, int, float]:
        """Lean, part of it, and share of that part which is over once this tick is."""
        lean, tick = divmod(tick, int(self._over[-1]))
        part = int(np.searchsorted(self._over, tick, side="right"))
        began = int(self._over[part - 1]) if part else 0
        return lean, part, (tick - began + 1) / (int(self._over[part]) - began)

    def next(self) -> Float32:
        """The command [A] of the next tick."""
        if not super().has_arrived:
            return super().next()
        lean, part, share = self._place(self._leant)
        self._leant += 1
        if lean >= len(LEANS):
            return self._pose
        places = (self._pose, self._pose, self._ends[lean], self._ends[lean], *2 * (self._far_ends[lean],), self._pose)
        return waypoint(places[part], places[part + 1], share)
