"""An account of every sample of the topic that triggers ticks: none goes missing without a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Arrivals:
    """Counts samples since ``clear``.

    ``received`` reached the node; of those ``ticks`` made a tick, ``decimated`` came between two ticks.
    ``lost`` were lost on the way, as the middleware reports (a QoS event, up to a second late). ``superseded``
    reached the machine, but a newer one had taken their place in the queue of one before the node came to look:
    known from the publisher's sequence numbers, which ROS 2 Humble and some middlewares do not give (then 0).
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}  # sequence number of the latest sample, by publisher
        self.clear()

    def clear(self) -> None:
        """Count anew."""
        self.received = self.ticks = self.decimated = self.lost = 0
        self._missing = 0
        self._last.clear()

    @property
    def superseded(self) -> int:
        """Samples that a newer one replaced before the node took them."""
        return max(0, self._missing - self.lost)

    def add(self, info: Mapping[str, Any] | None) -> None:
        """One sample was taken; ``info`` is what rclpy tells of the message, None if nothing."""
        self.received += 1
        number = info.get("publication_sequence_number") if info is not None else None
        if number is None:
            return
        assert info is not None
        publisher = info.get("publisher_gid")
        key = publisher["data"] if publisher else b""
        last = self._last.get(key)
        if last is not None and number > last:
            self._missing += number - last - 1
        self._last[key] = number

    def lose(self, count: int) -> None:
        """The middleware lost so many more."""
        self.lost += count
