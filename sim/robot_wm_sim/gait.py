"""What a roboticist asks of a gait, measured over an episode: errors, gains, overshoot, energy, foot clearance.

Speeds are the trunk's in its own axes, averaged over about one step (`locomotion.averaged`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from robot_wm_sim.locomotion import FOOT_CONTACT_N

NAMES = (
    "velocity_error_m_s",
    "yaw_error_rad_s",
    "velocity_gain",
    "yaw_gain",
    "overshoot",
    "cost_of_transport",
    "foot_clearance_m",
)
SETTLED_S = 1.5  # after a new command, before overshoot is measured
# Of commands whose gain and overshoot are measured: a gait's sway over next to nothing is no gain.
LEAST_SPEED_M_S = 0.3
LEAST_TURN_RAD_S = 0.3
LEAST_DISTANCE_M = 0.5  # before a cost of transport is told
SHORTEST_SWING_S = 0.06  # less is a flicker of the contact
GRAVITY_M_S2 = 9.81


class Swings:
    """Mean height that feet reach between lifting off and landing, m, soles over flat ground."""

    def __init__(self, feet: int) -> None:
        self._stood = [False] * feet  # a robot that is dropped at the start does not swing its feet
        self._ticks = [0] * feet
        self._peak_m = [0.0] * feet
        self._sum_m, self._count = 0.0, 0

    def step(self, heights_m: Sequence[float], forces_n: Sequence[float], *, period_s: float) -> None:
        """Take in one control step of every foot."""
        for foot, (height, force) in enumerate(zip(heights_m, forces_n, strict=True)):
            if force <= FOOT_CONTACT_N:
                self._ticks[foot] += 1
                self._peak_m[foot] = max(self._peak_m[foot], height)
                continue
            if self._stood[foot] and self._ticks[foot] * period_s >= SHORTEST_SWING_S - 1e-9:
                self._sum_m += self._peak_m[foot]
                self._count += 1
            self._ticks[foot], self._peak_m[foot], self._stood[foot] = 0, 0.0, True

    @property
    def mean_m(self) -> float | None:
        """None before a foot has landed that stood before."""
        return _ratio(self._sum_m, self._count)


class GaitFigures:
    """Running figures of an episode; `values` has the keys of `NAMES`.

    * velocity_error_m_s, yaw_error_rad_s: mean absolute error of the averaged speeds.
    * velocity_gain, yaw_gain: least squares of speed over command, through zero: 1 follows, 0 ignores; over the
      commands of at least 0.3 m/s, and 0.3 rad/s.
    * overshoot: how much faster than asked, as a share of the command: mean, over the commands of at least 0.3 m/s, of
      the mean speed along the command from 1.5 s after it was given, less one; slower counts as 0.
    * cost_of_transport: positive mechanical work of the motors over weight times distance.
    * foot_clearance_m: see `Swings`; of steps where the command asks for motion.
    """

    def __init__(self, *, feet: int, mass_kg: float, period_s: float) -> None:
        self._period_s, self._weight_n = period_s, mass_kg * GRAVITY_M_S2
        self._steps = 0
        self._velocity_error = self._yaw_error = 0.0  # sums
        self._along = self._wanted = self._turned = self._wanted_turn = 0.0  # sums of products
        self._work_j = self._distance_m = 0.0
        self._swings = Swings(feet)
        self._command: tuple[float, float, float] | None = None
        self._since = 0  # control steps since this command was given
        self._segments: list[tuple[float, int]] = []  # of each command: sum of speed over command, and steps

    def step(
        self,
        command: tuple[float, float, float],
        speed: tuple[float, float, float],
        *,
        power_w: float,
        heights_m: Sequence[float],
        forces_n: Sequence[float],
    ) -> None:
        """Take in one control step: command and averaged speed (m/s, m/s, rad/s), the motors' positive power."""
        if command != self._command:
            self._command, self._since = command, 0
            if math.hypot(*command[:2]) >= LEAST_SPEED_M_S:
                self._segments.append((0.0, 0))
        self._steps += 1
        self._since += 1
        cx, cy, cw = command
        vx, vy, vw = speed
        square, along = cx * cx + cy * cy, cx * vx + cy * vy
        self._velocity_error += math.hypot(cx - vx, cy - vy)
        self._yaw_error += abs(cw - vw)
        is_fast = square >= LEAST_SPEED_M_S**2
        if is_fast:
            self._along += along
            self._wanted += square
        if abs(cw) >= LEAST_TURN_RAD_S:
            self._turned += cw * vw
            self._wanted_turn += cw * cw
        self._work_j += power_w * self._period_s
        self._distance_m += math.hypot(vx, vy) * self._period_s
        if is_fast and self._since * self._period_s > SETTLED_S:
            total, steps = self._segments[-1]
            self._segments[-1] = (total + along / square, steps + 1)
        if any(command):
            self._swings.step(heights_m, forces_n, period_s=self._period_s)

    @property
    def velocity_error_m_s(self) -> float:
        """Mean so far."""
        return self._velocity_error / max(1, self._steps)

    @property
    def yaw_error_rad_s(self) -> float:
        """Mean so far."""
        return self._yaw_error / max(1, self._steps)

    def values(self) -> dict[str, float | None]:
        """Every figure of the episode so far, None where nothing was there to be measured."""
        over = [max(0.0, total / steps - 1.0) for total, steps in self._segments if steps]
        moved = self._distance_m >= LEAST_DISTANCE_M
        return {
            "velocity_error_m_s": self.velocity_error_m_s,
            "yaw_error_rad_s": self.yaw_error_rad_s,
            "velocity_gain": _ratio(self._along, self._wanted),
            "yaw_gain": _ratio(self._turned, self._wanted_turn),
            "overshoot": _ratio(sum(over), len(over)),
            "cost_of_transport": self._work_j / (self._weight_n * self._distance_m) if moved else None,
            "foot_clearance_m": self._swings.mean_m,
        }


def _ratio(total: float, count: float) -> float | None:
    return total / count if count else None
