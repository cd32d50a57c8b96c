"""A delay line in physics steps."""

from __future__ import annotations

import math
from collections import deque
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


class DelayLine(Generic[Item]):
    """What goes in at one physics step comes out some steps later, in the order in which it went in."""

    def __init__(self) -> None:
        self._line: deque[tuple[int, Item]] = deque()

    def put(self, item: Item, step: int) -> None:
        """Send an item that arrives at ``step``, or with the one before it where that is later."""
        self._line.append((step, item))  # nothing passes the first in the line

    def take(self, step: int) -> list[Item]:
        """All that has arrived by ``step`` and was not taken before, oldest first."""
        arrived = []
        while self._line and self._line[0][0] <= step:
            arrived.append(self._line.popleft()[1])
        return arrived

    @property
    def next_step(self) -> int | None:
        """When the next one arrives; None if nothing is on the way."""
        return self._line[0][0] if self._line else None


def delay_steps(delay_s: float, rate_hz: float) -> int:
    """Whole physics steps nearest to a delay; of two as near the later one."""
    return math.floor(delay_s * rate_hz + 0.5)


def delays_steps(delays_s: NDArray[np.float64], rate_hz: float) -> list[int]:
    """`delay_steps` of each delay [K]."""
    steps: list[int] = np.floor(delays_s * rate_hz + 0.5).astype(np.int64).tolist()
    return steps
