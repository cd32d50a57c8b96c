"""When to tick although no sample asks for it: a silent sensor must end in a safe command, too."""

from __future__ import annotations

PATIENCE_PERIODS = 1.5  # the least; samples that are due a little late are no fault


class Watchdog:
    """Runs out ``max_age_s`` after the last tick that a sample made, and then once a control period.

    All times are seconds of a steady clock: a clock that jumps or stands still cannot put it off.
    """

    def __init__(self, *, max_age_s: float, period_s: float) -> None:
        self.patience_s = max(max_age_s, PATIENCE_PERIODS * period_s)
        self._period_s = period_s
        self.feed(0.0)

    def feed(self, now_s: float) -> None:
        """A sample made a tick."""
        self._fed_s = now_s
        self._due_s = now_s + self.patience_s

    def remaining_s(self, now_s: float) -> float:
        """Until it runs out; not positive once it has."""
        return self._due_s - now_s

    def overdue_s(self, now_s: float) -> float:
        """How long ago a tick was due that nobody made; 0 if none was."""
        return max(0.0, now_s - self._due_s)

    def barks(self, now_s: float) -> bool:
        """Whether a tick is due; then the next one is due a control period later."""
        if now_s < self._due_s:
            return False
        # Ticks that were missed are not made up for.
        self._due_s = max(self._due_s + self._period_s, now_s)
        return True

    def silence_s(self, now_s: float) -> float:
        """Since the last tick that a sample made."""
        return now_s - self._fed_s
