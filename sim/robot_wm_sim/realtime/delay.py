"""A delay line in physics steps."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class DelayLine(Generic[Item]):
    """What goes in at physics step k comes out at step k + ``steps``, in order."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._line: deque[tuple[int, Item]] = deque()

    def put(self, item: Item, step: int) -> None:
        """Send an item off at ``step``."""
        self._line.append((step + self.steps, item))

    def take(self, step: int) -> list[Item]:
        """All that has arrived by ``step`` and was not taken before, oldest first."""
        arrived = []
        while self._line and self._line[0][0] <= step:
            arrived.append(self._line.popleft()[1])
        return arrived

    def clear(self) -> None:
        """Lose what is on the way."""
        self._line.clear()
