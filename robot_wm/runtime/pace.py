"""Keeps a loop to a grid of absolute times, so that lateness does not add up unseen."""

from __future__ import annotations

import time

from robot_wm.runtime.latency import LatencyRing


class Pace:
    """Turn k is due at ``start + k * period_s`` on the monotonic clock, whatever the turns before took."""

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self.misses = 0  # turns that were not done when the next was due
        self.wake_up = LatencyRing()  # us after the turn was due
        self.restart()

    def restart(self) -> None:
        """Begin a new grid now."""
        self.due_s = time.monotonic()

    def remaining_s(self) -> float:
        """Until the next turn is due; negative when it is late."""
        return self.due_s - time.monotonic()

    def begin(self) -> float:
        """The turn begins, having been waited for; returns the time."""
        now_s = time.monotonic()
        self.wake_up.add((now_s - self.due_s) * 1e6)
        return now_s

    def wait(self) -> float:
        """Sleep until the next turn is due and begin it; returns the time."""
        while (left_s := self.remaining_s()) > 0.0:
            time.sleep(left_s)
        return self.begin()

    def done(self) -> None:
        """The turn is done: was it in time? Then the next one of the grid, leaving out those that are past."""
        late_s = -self.remaining_s()
        if late_s > self.period_s:
            self.misses += 1
        self.due_s += self.period_s * max(1, int(late_s / self.period_s))
