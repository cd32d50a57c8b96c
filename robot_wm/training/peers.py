"""How the processes beside the learner end, and what the learner is to make of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from robot_wm.errors import UserError

CLOSE_TIMEOUT_S = 5.0


class PeerTerminatedError(RuntimeError):
    """A process beside this one was told to end by SIGTERM.

    Job schedulers and service managers send it to every process of a job, in any order: whoever hears of it first
    from another saves and ends as if it had been told itself.
    """


class PeerDiedError(UserError, RuntimeError):
    """A process beside this one was killed, or a simulator ended it: no defect of ours, so one line tells it."""


@contextmanager
def unheard_interrupts() -> Iterator[None]:
    """Processes that are started within it never hear Ctrl-C, which a terminal sends to the whole group.

    The learner stops them when it has saved. Ignoring it once they run is too late: they import for seconds before.
    """
    resource_tracker.ensure_running()  # the first process would start it, and that takes the block away
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ended(label: str, exit_code: int | None) -> RuntimeError:
    """What to raise for a process that has gone without a word; ``exit_code`` is minus the signal that killed it."""
    if exit_code == -signal.SIGTERM:
        return PeerTerminatedError(f"{label} was told to end")
    return PeerDiedError(f"{label} died (exit code {exit_code})")
