"""Whether the planner may be asked: it is given up after many failures in a row, and only a person asks it again."""

from __future__ import annotations


class Switch:
    """On until ``limit`` failures came in a row, or somebody turns it off; on again when somebody says so.

    A failure is forgotten only after ``recover`` timely plans in a row, so that a planner which is late every other
    time goes, too.
    """

    def __init__(self, limit: int, recover: int) -> None:
        self._limit, self._recover = limit, recover
        self.is_on = True
        self.why = ""  # it is off
        self.by_failures = False  # whether failures have turned it off
        self.switched_off = 0  # times, by failures
        self._failures = self._timely = 0

    def failed(self, why: str) -> None:
        """The planner was asked and had no action in time; ``why`` in words."""
        self._timely = 0
        self._failures += 1
        if self.is_on and self._failures >= self._limit:
            self.is_on, self.by_failures = False, True
            self.switched_off += 1
            self.why = f"{self._failures} times in a row the planner had no plan, the last time: {why}"

    def succeeded(self) -> None:
        """The planner was asked and answered in time."""
        self._timely += 1
        if self._timely >= self._recover:
            self._failures = 0

    def turn(self, on: bool) -> None:
        """An operator turns it on, which forgets what was, or off."""
        self.is_on, self.by_failures = on, False
        self.why = "" if on else "turned off by an operator"
        self._failures = self._timely = 0
