"""How the processes beside the learner end, and what the learner is to make of it."""

from __future__ import annotations

import signal

from robot_wm.errors import UserError

CLOSE_TIMEOUT_S = 5.0


class PeerTerminatedError(RuntimeError):
    """A process beside this one was told to end by SIGTERM.

    Job schedulers and service managers send it to every process of a job, in any order: whoever hears of it first
    from another saves and ends as if it had been told itself.
    """


class PeerDiedError(UserError, RuntimeError):
    """A process beside this one was killed, or a simulator ended it: no defect of ours, so one line tells it."""


def ended(label: str, exit_code: int | None) -> RuntimeError:
    """What to raise for a process that has gone without a word; ``exit_code`` is minus the signal that killed it."""
    if exit_code == -signal.SIGTERM:
        return PeerTerminatedError(f"{label} was told to end")
    return PeerDiedError(f"{label} died (exit code {exit_code})")
