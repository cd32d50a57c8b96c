"""How the processes beside the learner end, and what the learner is to make of it."""

from __future__ import annotations

import signal

CLOSE_TIMEOUT_S = 5.0


class PeerTerminatedError(RuntimeError):
    """A process beside this one was told to end by SIGTERM.

    Job schedulers and service managers send it to every process of a job, in any order: whoever hears of it first
    from another saves and ends as if it had been told itself.
    """


def ended(label: str, exit_code: int | None, kind: type[RuntimeError] = RuntimeError) -> RuntimeError:
    """What to raise for a process that has gone without a word; ``exit_code`` is minus the signal that killed it."""
    if exit_code == -signal.SIGTERM:
        return PeerTerminatedError(f"{label} was told to end")
    return kind(f"{label} died (exit code {exit_code})")
