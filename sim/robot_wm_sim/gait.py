"""What a roboticist asks of a gait, measured over an episode: errors, gains, overshoot, energy, foot clearance.

Speeds are the trunk's in its own axes, averaged over about one step (`locomotion.averaged`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.figures_so_far import StepRows
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
    """Figures of an episode; `values` has the keys of `NAMES`.

    * velocity_error_m_s, yaw_error_rad_s: mean absolute error of the averaged speeds.
    * velocity_gain, yaw_gain: least squares of speed over command, through zero: 1 follows, 0 ignores; over the
      commands of at least 0.3 m/s, and 0.3 rad/s.
    * overshoot: how much faster than asked, as a share of the command: mean, over the commands of at least 0.3 m/s, of
      the mean speed along the command from 1.5 s after it was given, less one; slower counts as 0.
    * cost_of_transport: positive mechanical work of the motors over weight times distance.
    * foot_clearance_m: see `Swings`; of steps where the command asks for motion.

    A step adds up the errors and keeps its numbers; the other figures are worked out when they are asked for.
    """

    def __init__(self, *, feet: int, motors: int, mass_kg: float, period_s: float) -> None:
        self._feet, self._weight_n, self._period_s = feet, mass_kg * GRAVITY_M_S2, period_s
        self._steps = 0
        self._velocity_error = self._yaw_error = 0.0  # sums
        # Of each step: both sums, command [3], speed [3], heights [K], forces [K], power [M].
        self._rows = StepRows(8 + 2 * feet + motors)
        self._running = _Running(feet, period_s)

    def step(
        self,
        command: Sequence[float],
        speed: tuple[float, float, float],
        *,
        power_w: Sequence[float],
        heights_m: Sequence[float],
        forces_n: Sequence[float],
    ) -> None:
        """Take in one control step: command [3] and averaged speed (m/s, m/s, rad/s).

        ``power_w`` [M] is what each motor gives off, negative where it brakes; ``heights_m`` [K] are the soles',
        ``forces_n`` [K] the feet's.
        """
        self._steps += 1
        self._velocity_error += math.hypot(command[0] - speed[0], command[1] - speed[1])
        self._yaw_error += abs(command[2] - speed[2])
        sums = (self._velocity_error, self._yaw_error)
        self._rows.add([*sums, *command, *speed, *heights_m, *forces_n, *power_w])

    @property
    def largest_error(self) -> float:
        """The larger of the two mean errors so far, in m/s or rad/s."""
        return max(self._velocity_error, self._yaw_error) / max(1, self._steps)

    def values(self, steps: int | None = None) -> dict[str, float | None]:
        """Every figure of the first ``steps`` of the episode (of all by default); None where nothing was measured."""
        steps = self._steps if steps is None else steps
        if steps < self._running.steps:
            self._running = _Running(self._feet, self._period_s)
        running = self._running
        if steps > running.steps:
            self._play(self._rows.between(running.steps, steps))
        over = [max(0.0, total / count - 1.0) for total, count in running.segments if count]
        moved = running.distance_m >= LEAST_DISTANCE_M
        return {
            "velocity_error_m_s": running.velocity_error / max(1, steps),
            "yaw_error_rad_s": running.yaw_error / max(1, steps),
            "velocity_gain": _ratio(running.along, running.wanted),
            "yaw_gain": _ratio(running.turned, running.wanted_turn),
            "overshoot": _ratio(sum(over), len(over)),
            "cost_of_transport": running.work_j / (self._weight_n * running.distance_m) if moved else None,
            "foot_clearance_m": running.swings.mean_m,
        }

    def _play(self, rows: NDArray[np.float64]) -> None:
        """Add rows [steps, width] to the running sums."""
        running, heights, forces = self._running, 8 + self._feet, 8 + 2 * self._feet
        running.velocity_error, running.yaw_error = rows[-1, :2].tolist()
        power_w = np.maximum(rows[:, forces:], 0.0).sum(axis=1)  # what motors take up is lost as heat
        for row, power in zip(rows.tolist(), power_w.tolist(), strict=True):
            running.step(row[2:5], row[5:8], power, row[8:heights], row[heights:forces])


class _Running:
    """Sums over the steps that have been played."""

    def __init__(self, feet: int, period_s: float) -> None:
        self._period_s = period_s
        self.steps = 0
        self.velocity_error = self.yaw_error = 0.0
        self.along = self.wanted = self.turned = self.wanted_turn = 0.0  # sums of products
        self.work_j = self.distance_m = 0.0
        self.swings = Swings(feet)
        self.segments: list[tuple[float, int]] = []  # of each command: sum of speed over command, and steps
        self._command: Sequence[float] = ()
        self._since = 0  # control steps since this command was given

    def step(
        self,
        command: Sequence[float],
        speed: Sequence[float],
        power_w: float,
        heights_m: Sequence[float],
        forces_n: Sequence[float],
    ) -> None:
        """Add one step; ``power_w`` is the motors' positive power."""
        if command != self._command:
            self._command, self._since = command, 0
            if math.hypot(*command[:2]) >= LEAST_SPEED_M_S:
                self.segments.append((0.0, 0))
        self.steps += 1
        self._since += 1
        cx, cy, cw = command
        vx, vy, vw = speed
        square, along = cx * cx + cy * cy, cx * vx + cy * vy
        is_fast = square >= LEAST_SPEED_M_S**2
        if is_fast:
            self.along += along
            self.wanted += square
        if abs(cw) >= LEAST_TURN_RAD_S:
            self.turned += cw * vw
            self.wanted_turn += cw * cw
        self.work_j += power_w * self._period_s
        self.distance_m += math.hypot(vx, vy) * self._period_s
        if is_fast and self._since * self._period_s > SETTLED_S:
            total, steps = self.segments[-1]
            self.segments[-1] = (total + along / square, steps + 1)
        if any(command):
            self.swings.step(heights_m, forces_n, period_s=self._period_s)


def _ratio(total: float, count: float) -> float | None:
    return total / count if count else None
