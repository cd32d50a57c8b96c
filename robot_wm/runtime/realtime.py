"""What the kernel is asked for so that ticks come on time, and what it granted.

Every request is verified by reading it back. A refusal is an answer, not an error: the robot still runs, its
operator is told what was refused and which limit to raise.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from robot_wm.errors import UserError

_MAX_PRIORITY = 99  # of SCHED_FIFO on Linux
_MAX_CPUS = 8192  # the most that Linux can be built for
_MCL_CURRENT, _MCL_FUTURE = 1, 2  # <sys/mman.h>, the same on x86-64 and aarch64
_CAP_IPC_LOCK = 14  # <linux/capability.h>: RLIMIT_MEMLOCK does not count
_MIB = 2**20


@dataclass(frozen=True)
class RealtimeConfig:
    """What to ask for; the defaults need no privilege."""

    fifo_priority: int = 0  # of SCHED_FIFO, 1 to 99; 0: leave the scheduler alone
    lock_memory: bool = False  # no page of the process is ever swapped out or mapped late
    cpu_affinity: tuple[int, ...] = ()  # CPUs that the process may run on; empty: any
    freeze_gc: bool = True  # the garbage collector never again looks at what exists now

    def __post_init__(self) -> None:
        if not 0 <= self.fifo_priority <= _MAX_PRIORITY:
            raise UserError(f"fifo_priority must be 0 (off) to {_MAX_PRIORITY}, got {self.fifo_priority}")
        for cpu in self.cpu_affinity:
            if not 0 <= cpu < _MAX_CPUS:
                raise UserError(f"cpu_affinity: CPU numbers are 0 to {_MAX_CPUS - 1}, got {cpu}")


@dataclass(frozen=True)
class Grant:
    """One request and its answer; as a string one line for a log."""

    what: str
    asked: str
    granted: bool
    detail: str  # what was read back, or why it was refused and what to do about it

    def __str__(self) -> str:
        return f"{self.what} {self.asked}: {'granted' if self.granted else 'REFUSED'} ({self.detail})"


def apply_realtime(config: RealtimeConfig, *, background: Collection[int] = ()) -> tuple[Grant, ...]:
    """Ask for all that ``config`` wants and say what was granted, one ``Grant`` a request; never raises.

    Scheduler and affinity are those of every thread that the process has now: the middleware's threads carry the
    messages. Threads that start later get the ordinary scheduler (a recorder must not outrun the ticks) and the
    affinity. So call it once nodes and engines are up.
    ``background`` are threads, by the kernel's numbers, that the others must not wait for: one priority below them, or
    with the ordinary scheduler where there is none. No lower: a thread that others keep from running may just then
    hold the interpreter's lock, for which they wait.
    """
    requests: list[tuple[bool, str, str, Callable[[], tuple[bool, str]]]] = [
        (bool(config.cpu_affinity), "CPU affinity", _listed(config.cpu_affinity), lambda: _pin(config.cpu_affinity)),
        (
            config.fifo_priority > 0,
            "SCHED_FIFO",
            f"priority {config.fifo_priority}",
            lambda: _schedule(config.fifo_priority, background),
        ),
        (config.freeze_gc, "gc freeze", "now", _freeze),
        # Last, so that what the requests before it touched is locked, too.
        (config.lock_memory, "mlockall", "current and future pages", _lock),
    ]
    grants = []
    for wanted, what, asked, ask in requests:
        if wanted:
            granted, detail = ask() if sys.platform == "linux" else (False, f"{sys.platform} has no such call")
            grants.append(Grant(what=what, asked=asked, granted=granted, detail=detail))
    return tuple(grants)


def _listed(cpus: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(set(cpus))))


def _for_each_thread(change: Callable[[int], None]) -> int:
    """Change every thread of the process, by its id; returns how many there are."""
    changed = 0
    for task in os.listdir("/proc/self/task"):
        try:
            change(int(task))
            changed += 1
        except ProcessLookupError:  # it ended meanwhile
            continue
    return changed


def _pin(cpus: tuple[int, ...]) -> tuple[bool, str]:
    before, wanted = os.sched_getaffinity(0), set(cpus)
    there = os.cpu_count() or 1
    try:
        # The kernel quietly leaves out CPUs that do not exist, so what it made of the request is read back.
        os.sched_setaffinity(0, wanted)
        if os.sched_getaffinity(0) == wanted:
            threads = _for_each_thread(lambda thread: os.sched_setaffinity(thread, wanted))
            return True, f"{threads} threads"
        os.sched_setaffinity(0, before)
        reason = "not all of them can be used"
    except OSError as error:
        reason = error.strerror or str(error)
    return False, (
        f"{reason}; this machine has {there} CPUs, this process may use {_listed(tuple(before))}:"
        " change cpu_affinity, or AllowedCPUs= of the systemd slice"
    )


def _schedule(priority: int, background: Collection[int]) -> tuple[bool, str]:
    import resource

    # Reset on fork: a thread or process that this one starts is an ordinary one again.
    policy, parameters = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority)
    below = (policy, os.sched_param(priority - 1)) if priority > 1 else (os.SCHED_OTHER, os.sched_param(0))
    try:
        threads = _for_each_thread(
            lambda thread: os.sched_setscheduler(thread, *(below if thread in background else (policy, parameters)))
        )
        found = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority
        if found == (os.SCHED_FIFO, priority):
            return True, f"{threads} threads"
        reason = f"the kernel set policy {found[0]} priority {found[1]}"
    except OSError as error:
        reason = error.strerror or str(error)
    allowed = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    return False, (
        f"{reason}; RLIMIT_RTPRIO is {'unlimited' if allowed == resource.RLIM_INFINITY else allowed}:"
        f" LimitRTPRIO={priority} in the systemd unit, ulimit -r {priority},"
        f" or 'rtprio {priority}' in /etc/security/limits.d"
    )


def _lock() -> tuple[bool, str]:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    remedy = "LimitMEMLOCK=infinity in the systemd unit, ulimit -l unlimited, or 'memlock unlimited' in limits.d"
    # With a finite limit the lock may succeed and the next allocation of a running robot fail: not worth having.
    if limit != resource.RLIM_INFINITY and not int(_status("CapEff") or "0", 16) >> _CAP_IPC_LOCK & 1:
        return False, f"RLIMIT_MEMLOCK is {limit / _MIB:g} MiB, so later allocations would fail: {remedy}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        return False, f"{os.strerror(ctypes.get_errno())}; RLIMIT_MEMLOCK is {limit} bytes: {remedy}"
    locked_kib = int((_status("VmLck") or "0").split()[0])
    if locked_kib <= 0:
        return False, f"the call succeeded, yet no page is locked: {remedy}"
    return True, f"{locked_kib / 1024:.0f} MiB locked"


def _status(key: str) -> str | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    return None


def _freeze() -> tuple[bool, str]:
    gc.collect()
    gc.freeze()
    count = gc.get_freeze_count()
    return count > 0, f"{count} objects"
