"""Ticks whose command went out too late, and the fault that many of them in a row are."""

from __future__ import annotations

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.latency import LatencyRing

_DEADLINE = int(Fault.DEADLINE)
_RING = 2048  # so few that percentiles cost the control thread nothing that a tick would notice


class Lateness:
    """Times every tick from the arrival of its sample to the departure of its command.

    ``limit`` late ticks in a row (0: never) are a fault, which stays until ``clear``: while the controller holds, no
    tick runs the policy, so nothing would show that it is fast enough again.
    """

    def __init__(self, *, deadline_s: float, limit: int) -> None:
        self.delays = LatencyRing(_RING, deadline_us=deadline_s * 1e6)
        self._limit = limit
        self.clear()

    def clear(self) -> None:
        """Begin to count anew; the delays stay."""
        self._in_a_row = 0
        self.fault = 0  # bits for the next tick
        self.why = ""  # the same in words

    def add(self, delay_us: float) -> None:
        """Record one tick's delay in microseconds."""
        self.delays.add(delay_us)
        if self.fault:
            return
        self._in_a_row = self._in_a_row + 1 if delay_us > self.delays.deadline_us else 0
        if self._limit and self._in_a_row >= self._limit:
            self.fault = _DEADLINE
            self.why = (
                f"{self._in_a_row} ticks in a row were late, the last by "
                f"{(delay_us - self.delays.deadline_us) * 1e-3:.3g} ms"
                f" over its deadline of {self.delays.deadline_us * 1e-3:.3g} ms"
            )
