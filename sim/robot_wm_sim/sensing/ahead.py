"""Random numbers of events to come, drawn many at a time: a call of NumPy's for each costs more than what it draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

BLOCK = 32  # events; what an episode does not live to see was drawn for nothing


class Ahead(Generic[Item]):
    """What ``draw(count)`` makes of a generator, event by event.

    NumPy's generators fill arrays in order: the k-th event has the numbers of the k-th call of one that draws for each.
    """

    def __init__(self, draw: Callable[[int], list[Item]]) -> None:
        """``draw`` makes so many; its generator is nobody else's."""
        self._draw = draw
        self._items: list[Item] = []
        self._next = 0  # in the list

    def peek(self, ahead: int = 0) -> Item:
        """Of the event after ``ahead`` others."""
        place = self._next + ahead
        while place >= len(self._items):
            self._items = self._items[self._next :] + self._draw(BLOCK)
            place, self._next = ahead, 0
        return self._items[place]

    def take(self) -> Item:
        """Of the next event, which then is past."""
        item = self.peek()
        self._next += 1
        return item
