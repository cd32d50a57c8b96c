"""Does one piece of work at a time beside whoever asked for it, who never has to wait for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

CLOSE_S = 5.0  # an engine that hangs must not keep the node from ending


class Worker(Protocol):
    """Calls its work once for each ``begin``. One thread calls everything here."""

    @property
    def is_done(self) -> bool:
        """Whether no work is under way."""

    def begin(self) -> None:
        """Start the work; only where ``is_done``."""

    def wait(self, until_s: float) -> bool:
        """Wait for the work until then at most, on the worker's clock; whether it is done."""

    def close(self) -> bool:
        """End it; whether it has ended, and nothing of its work will run any more."""


class WorkerThread:
    """A ``Worker`` in a thread of its own, on the monotonic clock; ``work`` must not raise."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._begun = self._finished = 0  # each is written by one thread alone
        # C all the way: what Python there is between the two threads, one waits for the other to execute.
        self._go: SimpleQueue[bool] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._go.get():
            self._work()
            self._finished += 1
            self._done.put(None)

    @property
    def is_done(self) -> bool:
        """See ``Worker.is_done``."""
        return self._finished == self._begun

    @property
    def thread_id(self) -> int:
        """The kernel's number of the thread, for its scheduler."""
        return self._thread.native_id or 0

    def begin(self) -> None:
        """See ``Worker.begin``."""
        self._begun += 1
        self._go.put(True)

    def wait(self, until_s: float) -> bool:
        """See ``Worker.wait``."""
        while not self.is_done:
            left_s = until_s - time.monotonic()
            if left_s <= 0.0:
                return False
            try:
                # What is taken may be the end of an earlier run that nobody waited for.
                self._done.get(timeout=None if math.isinf(left_s) else left_s)
            except Empty:
                continue
        return True

    def close(self) -> bool:
        """See ``Worker.close``."""
        self._go.put(False)
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()
