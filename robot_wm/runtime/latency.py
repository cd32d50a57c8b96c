"""How long ticks take: a preallocated ring of durations, its percentiles, and missed deadlines."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles of the durations in a ring; NaN where nothing was recorded."""

    count: int  # durations recorded since the ring was cleared, also those that it has overwritten
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float  # of all since the ring was cleared
    deadline_misses: int

    def as_dict(self) -> dict[str, float]:
        """The fields by name, for JSON."""
        return asdict(self)


class LatencyRing:
    """The last ``capacity`` durations in microseconds; ``add`` allocates nothing that it keeps.

    ``deadline_us`` is what one duration may last: longer ones are counted in ``deadline_misses``.
    """

    def __init__(self, capacity: int = 1 << 16, *, deadline_us: float = float("inf")) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.deadline_us = deadline_us
        # Filled rather than np.zeros, which would leave a page fault in every 512th tick.
        self._ring = np.full(capacity, np.nan)  # us
        self.clear()

    def clear(self) -> None:
        """Forget every duration and every miss."""
        self.count = 0
        self.deadline_misses = 0
        self._max_us = float("nan")

    def add(self, duration_us: float) -> None:
        """Record one duration, in microseconds."""
        self._ring[self.count % self._ring.size] = duration_us
        self.count += 1
        if not duration_us <= self._max_us:  # also true for the first one, where the maximum is NaN
            self._max_us = duration_us
        if duration_us > self.deadline_us:
            self.deadline_misses += 1

    def durations_us(self) -> NDArray[np.float64]:
        """A copy of the durations still in the ring, oldest first."""
        size = self._ring.size
        if self.count <= size:
            return self._ring[: self.count].copy()
        return np.roll(self._ring, -(self.count % size))

    def summary(self) -> LatencySummary:
        """Percentiles of what is in the ring (sorts a copy: not for the tick itself)."""
        values = self.durations_us()
        p50, p99, p999 = np.percentile(values, (50, 99, 99.9)) if values.size else (np.nan,) * 3
        return LatencySummary(
            count=self.count,
            p50_us=float(p50),
            p99_us=float(p99),
            p999_us=float(p999),
            max_us=self._max_us,
            deadline_misses=self.deadline_misses,
        )

    def histogram(self, bins: int = 60) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Counts [bins] and edges [bins + 1] in microseconds of what is in the ring; empty arrays if nothing is."""
        values = self.durations_us()
        if not values.size:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        counts, edges = np.histogram(values, bins=bins)
        return counts, edges
