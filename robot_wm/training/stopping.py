"""Ctrl-C means: finish this update, save, go."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from robot_wm.errors import StoppedError

# Schedulers kill 30 s after they have asked (slurm's KillWait), and there is a checkpoint to write.
PATIENCE_S = 8.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While active, the first SIGINT or SIGTERM sets ``requested``; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}
        self._bounded = False

    def __enter__(self) -> StopRequest:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def heard(self) -> bool:
        """Whether to stop. Takes the signals back, which a simulator may have taken for itself when it was made."""
        for number in _SIGNALS:
            if signal.getsignal(number) != self._handle:
                signal.signal(number, self._handle)
        return self.requested

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Within it, what does not return `PATIENCE_S` after a request is left by StoppedError.

        For what a simulator computes, which may hang; not for what must not be left half done.
        """
        self._bounded = True
        if self.requested:
            self._start_alarm()
        try:
            yield
        finally:
            self._bounded = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            if signal.SIGALRM in self._previous:
                signal.signal(signal.SIGALRM, self._previous.pop(signal.SIGALRM))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._bounded:
            self._start_alarm()

    def _start_alarm(self) -> None:
        if signal.SIGALRM not in self._previous:
            self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, _leave)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)


def _leave(number: int, frame: FrameType | None) -> None:
    raise StoppedError(f"told to stop, and {PATIENCE_S:g} s later still waiting for a simulator")
