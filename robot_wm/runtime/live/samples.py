"""The latest samples of a robot, tick by tick. Shape letters: W samples kept, O elements of all vector fields."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class SampleRing:
    """The last W samples, oldest first in ``values`` and ``times_s``; nothing is allocated after it was made."""

    def __init__(self, samples: int, elements: int) -> None:
        self._values = np.zeros((2 * samples, elements), dtype=np.float32)
        self._times = np.zeros(2 * samples)
        self._capacity = samples
        self.count = 0

    def add(self, values: Float32, time_s: float) -> None:
        """Take one more sample [O] in; a full ring forgets its oldest."""
        # Each is written twice, so that the last W always lie end to end.
        place = self.count % self._capacity
        for row in (place, place + self._capacity):
            self._values[row] = values
            self._times[row] = time_s
        self.count += 1

    def clear(self) -> None:
        """Forget every sample."""
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether there were W samples."""
        return self.count >= self._capacity

    @property
    def values(self) -> Float32:
        """[W or fewer, O], a view."""
        return self._values[self._rows]

    @property
    def times_s(self) -> NDArray[np.float64]:
        """[W or fewer], a view."""
        return self._times[self._rows]

    @property
    def _rows(self) -> slice:
        if not self.is_full:
            return slice(0, self.count)
        start = self.count % self._capacity
        return slice(start, start + self._capacity)


class StampCount:
    """How often a field was measured anew, by its latest stamps."""

    def __init__(self, stamps: int = 25) -> None:
        self._stamps: deque[float] = deque(maxlen=stamps)

    def clear(self) -> None:
        """Forget every stamp."""
        self._stamps.clear()

    def add(self, stamps_s: Mapping[str, float] | None, field: str) -> None:
        """Take the field's stamp of one more tick."""
        stamp_s = math.nan if stamps_s is None else stamps_s.get(field, math.nan)
        if not math.isfinite(stamp_s) or (self._stamps and stamp_s == self._stamps[-1]):
            return
        if self._stamps and stamp_s < self._stamps[-1]:
            self._stamps.clear()  # the clock was set
        self._stamps.append(stamp_s)

    @property
    def interval_s(self) -> float:
        """Median time between two measurements; NaN where it is not known."""
        return float(np.median(np.diff(self._stamps))) if len(self._stamps) > 1 else math.nan
