"""How far physics should be by now."""

from __future__ import annotations

import math

CATCH_UP_S = 0.25  # physics that is further behind gives the rest up: catching up would only make it later


class PhysicsClock:
    """Turns time on a monotonic clock into physics steps. ``speed`` is simulated seconds in one of the clock's."""

    def __init__(self, rate_hz: float, *, speed: float = 1.0) -> None:
        self._rate_hz = rate_hz * speed  # physics steps in a second of the clock
        self._origin_s = math.nan
        self.given_up_s = 0.0  # of the clock, in which physics stood still

    def start(self, now_s: float, *, steps: int = 0) -> None:
        """``steps`` have been done by now."""
        self._origin_s = now_s - steps / self._rate_hz

    def due(self, now_s: float, done: int) -> int:
        """How many steps are to be done now, when ``done`` have been."""
        # The grain of sand is for times that lie on the grid but for rounding.
        behind = math.floor((now_s - self._origin_s) * self._rate_hz + 1e-6) - done
        most = max(1, round(CATCH_UP_S * self._rate_hz))
        if behind > most:
            lost_s = (behind - most) / self._rate_hz
            self._origin_s += lost_s
            self.given_up_s += lost_s
            behind = most
        return max(0, behind)
