"""The shape of a curve of any length, in memory that does not grow: least and largest value of each stretch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STRETCHES = 2048  # at most; more than a page has pixels


class Envelope:
    """Takes values as they come; a stretch begins with so few that all are kept, and doubles whenever room runs out."""

    def __init__(self) -> None:
        self._stride = 1  # values of a stretch
        self._low: list[float] = []
        self._high: list[float] = []
        self._time: list[float] = []  # of each stretch's first value
        self._waiting: list[tuple[float, float]] = []  # of the stretch that is not full

    def add(self, time_s: Floats, values: Floats) -> None:
        """Some more, [K] each; NaN says nothing."""
        self._waiting += [(t, v) for t, v in zip(time_s.tolist(), values.tolist(), strict=True) if v == v]
        whole = len(self._waiting) // self._stride * self._stride
        for first in range(0, whole, self._stride):
            part = [value for _, value in self._waiting[first : first + self._stride]]
            self._low.append(min(part))
            self._high.append(max(part))
            self._time.append(self._waiting[first][0])
        del self._waiting[:whole]
        while len(self._low) > _STRETCHES:
            self._halve()

    def _halve(self) -> None:
        pairs = len(self._low) // 2 * 2
        low, high = self._low, self._high
        # A stretch without a partner would be half as long as the others: it joins the last pair.
        self._low = [min(low[n : n + 2]) for n in range(0, pairs, 2)]
        self._high = [max(high[n : n + 2]) for n in range(0, pairs, 2)]
        if pairs < len(low):
            self._low[-1], self._high[-1] = min(self._low[-1], low[-1]), max(self._high[-1], high[-1])
        self._time = self._time[:pairs:2]
        self._stride *= 2

    def curve(self) -> tuple[Floats, Floats, Floats]:
        """Time, least and largest value of each stretch, the unfinished one included."""
        rest = [value for _, value in self._waiting]
        low, high, time = list(self._low), list(self._high), list(self._time)
        if rest:
            low.append(min(rest))
            high.append(max(rest))
            time.append(self._waiting[0][0])
        return np.array(time), np.array(low), np.array(high)
