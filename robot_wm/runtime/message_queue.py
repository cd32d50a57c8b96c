"""Messages on their way from the control thread to a recording, as they came: serialised, and of any type."""

from __future__ import annotations

from collections import deque

from robot_wm.runtime.tick_log import Topic


class MessageQueue:
    """Bounded in bytes; one thread puts, another takes, and neither waits. What finds no room is counted."""

    def __init__(self, max_bytes: int, *, first_topic: int) -> None:
        self.topics: list[Topic] = []
        self.dropped = 0  # messages
        self._first_topic = first_topic
        self._counts: list[int] = []  # messages by topic
        self._max_bytes = max_bytes
        self._put_bytes = self._taken_bytes = 0  # each counted by one thread alone
        self._waiting: deque[tuple[int, bytes, int, int]] = deque()

    def add_topic(self, topic: Topic) -> int:
        """Take messages of one more topic; returns its key for ``put``."""
        self.topics.append(topic)
        self._counts.append(0)
        return len(self.topics) - 1

    def put(self, key: int, message: bytes, receipt_ns: int) -> bool:
        """One serialised message that was received at that time of the system clock; False if there was no room."""
        if self._put_bytes - self._taken_bytes + len(message) > self._max_bytes:
            self.dropped += 1
            return False
        self._put_bytes += len(message)
        self._waiting.append((self._first_topic + key, message, receipt_ns, self._counts[key]))
        self._counts[key] += 1
        return True

    def take(self) -> tuple[int, bytes, int, int] | None:
        """The oldest: topic's place in the file, message, time of receipt and number; None if none waits."""
        if not self._waiting:
            return None
        oldest = self._waiting.popleft()
        self._taken_bytes += len(oldest[1])
        return oldest
