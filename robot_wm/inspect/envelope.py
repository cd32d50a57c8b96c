"""The shape of a curve of any length, in memory that does not grow: least and largest value of each stretch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STRETCHES = 2048  # at most, an even number; more than a page has pixels


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
        taken = 0
        while len(self._waiting) - taken >= self._stride:
            part = self._waiting[taken : taken + self._stride]
            taken += self._stride
            self._time.append(part[0][0])
            self._low.append(min(value for _, value in part))
            self._high.append(max(value for _, value in part))
            if len(self._low) == _STRETCHES:
                self._halve()
        del self._waiting[:taken]

    def _halve(self) -> None:
        """Two stretches become one; there is an even number of them."""
        self._low = [min(pair) for pair in zip(self._low[::2], self._low[1::2], strict=True)]
        self._high = [max(pair) for pair in zip(self._high[::2], self._high[1::2], strict=True)]
        self._time = self._time[::2]
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
