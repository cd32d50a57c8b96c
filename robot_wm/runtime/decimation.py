"""Which samples of a fast sensor become ticks, so that the agent runs at its own rate on the sensor's own clock."""

from __future__ import annotations

import math

_EARLY = 0.125  # periods; the anchor's own jitter must not make the next sample look too early
_SPACING = 0.5  # periods between two ticks at the least, also when making up for a late sample
_BACKLOG = 1.5  # periods behind the grid beyond which samples are missing rather than late
_BURST = 3.0  # ticks that may follow each other at once after a pause of the loop
_CLOCKS_DIFFER = 1.05  # a sensor's second may be so much shorter than ours


class Decimator:
    """Picks samples by their stamps: the first at or after each point of a grid with one point a period.

    The grid hangs on the first sample and moves by whole periods only, so that samples at any rate at or above the
    control rate, with jitter or without, make ticks at exactly the control rate on average. A sample that came late
    is made up for by the next. Where samples are missing, or the stamps went back, a new grid begins at once.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self.restart()

    def restart(self) -> None:
        """The next sample is due, whatever its stamp."""
        self._next_s = math.nan
        self._last_s = math.inf  # stamp of the latest sample
        self._tick_s = -math.inf  # stamp of the latest one that was due

    def due(self, stamp_s: float) -> bool:
        """Whether the sample with this stamp (seconds, any clock) is to become a tick; never if it is not finite."""
        if not math.isfinite(stamp_s):
            return False
        went_back, self._last_s = stamp_s < self._last_s, stamp_s
        behind_s = stamp_s - self._next_s
        if went_back:
            self._next_s = stamp_s + (1.0 - _EARLY) * self._period_s
        elif behind_s > _BACKLOG * self._period_s:
            # With half a period to spare, a sensor a little slower than the grid never meets this grid too early.
            self._next_s = stamp_s + _SPACING * self._period_s
        elif behind_s >= 0.0 and stamp_s - self._tick_s >= _SPACING * self._period_s:
            self._next_s += self._period_s
        else:
            return False
        self._tick_s = stamp_s
        return True


class TickCap:
    """Bounds the ticks that stamps alone would allow: stamps may lie, as when two publishers share a topic.

    A short burst passes, as after a pause of the loop; in the long run one tick a period of the node's own time.
    """

    def __init__(self, period_s: float) -> None:
        self._per_second = _CLOCKS_DIFFER / period_s
        self._ticks_left = _BURST
        self._last_s = math.nan

    def allows(self, now_s: float) -> bool:
        """Whether a tick may happen now, which then counts."""
        elapsed_s = now_s - self._last_s
        self._last_s = now_s
        if elapsed_s > 0.0:
            self._ticks_left = min(_BURST, self._ticks_left + elapsed_s * self._per_second)
        if self._ticks_left < 1.0:
            return False
        self._ticks_left -= 1.0
        return True
