"""The kernel's answers, asked for in processes of their own: nothing here may change the test runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.realtime import Grant, RealtimeConfig, apply_realtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux calls")

NOBODY = 65534
# What a process finds about itself after it asked; %s is code that runs before.
SCRIPT = """
import gc, json, os, resource, sys, threading
from dataclasses import asdict
from robot_wm.runtime.realtime import RealtimeConfig, apply_realtime
stop = threading.Event()
early = threading.Thread(target=stop.wait); early.start()
asked = json.loads(sys.argv[1])
background = [early.native_id] if asked.pop("background", False) else []
%s
before = os.sched_getaffinity(0)
grants = apply_realtime(RealtimeConfig(**asked), background=background)
tasks = [int(task) for task in os.listdir("/proc/self/task")]
threads = [(os.sched_getscheduler(task), sorted(os.sched_getaffinity(task))) for task in tasks]
late = []
thread = threading.Thread(target=lambda: late.append(os.sched_getscheduler(0))); thread.start(); thread.join()
tid = early.native_id
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
stop.set()
print(json.dumps({
    "grants": [asdict(g) for g in grants], "threads": threads, "late": late[0],
    "priority": os.sched_getparam(0).sched_priority, "locked_kib": int(status["VmLck"].split()[0]),
    "early": [os.sched_getscheduler(tid), os.sched_getparam(tid).sched_priority],
    "frozen": gc.get_freeze_count(), "before": sorted(before),
}))
"""


def unprivileged(memlock_bytes: int = 0) -> str:
    """Code that gives up what a normal user has not, and leaves these limits."""
    return f"""
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({memlock_bytes}, {memlock_bytes}))
if os.geteuid() == 0:
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""


def ask(before: str = "", **config) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT % before, json.dumps(config)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def granted_or_skip(found: dict) -> None:
    if not found["grants"][0]["granted"]:
        pytest.skip(f"this machine does not grant it: {found['grants'][0]['detail']}")


def test_nothing_asked_nothing_granted():
    found = ask(freeze_gc=False)
    assert found["grants"] == []
    assert (found["frozen"], found["locked_kib"], found["priority"]) == (0, 0, 0)


def test_the_garbage_collector_is_frozen_by_default():
    found = ask()
    assert [grant["what"] for grant in found["grants"]] == ["gc freeze"]
    assert found["frozen"] > 1000


@pytest.mark.parametrize(("priority", "expected"), [(10, (os.SCHED_FIFO, 9)), (1, (os.SCHED_OTHER, 0))])
def test_a_thread_in_the_background_is_one_below(priority, expected):
    found = ask(fifo_priority=priority, freeze_gc=False, background=True)
    granted_or_skip(found)
    assert found["priority"] == priority
    assert (found["early"][0] & ~os.SCHED_RESET_ON_FORK, found["early"][1]) == expected
    assert ask(fifo_priority=priority, freeze_gc=False)["early"][1] == priority


def test_fifo_holds_for_the_threads_there_are_and_not_for_later_ones():
    found = ask(fifo_priority=10, freeze_gc=False)
    granted_or_skip(found)
    assert found["priority"] == 10
    assert len(found["threads"]) == 2
    assert {policy & ~os.SCHED_RESET_ON_FORK for policy, _ in found["threads"]} == {os.SCHED_FIFO}
    assert found["late"] == os.SCHED_OTHER


def test_a_refused_priority_names_the_limit_to_raise():
    found = ask(unprivileged(), fifo_priority=10, freeze_gc=False)
    (grant,) = found["grants"]
    assert not grant["granted"]
    assert "Operation not permitted" in grant["detail"]
    assert "LimitRTPRIO=10" in grant["detail"]
    assert "ulimit -r 10" in grant["detail"]
    assert {policy for policy, _ in found["threads"]} == {os.SCHED_OTHER}


def test_memory_is_locked_where_it_may_be():
    found = ask(lock_memory=True, freeze_gc=False)
    granted_or_skip(found)
    assert found["locked_kib"] > 1024


@pytest.mark.parametrize("memlock_bytes", [0, 2**22])
def test_a_finite_limit_refuses_to_lock_instead_of_failing_later(memlock_bytes):
    found = ask(unprivileged(memlock_bytes), lock_memory=True, freeze_gc=False)
    (grant,) = found["grants"]
    assert not grant["granted"]
    assert f"is {memlock_bytes // 2**20} MiB" in grant["detail"]
    assert "LimitMEMLOCK=infinity" in grant["detail"]
    assert found["locked_kib"] == 0


def test_affinity_is_that_of_every_thread():
    cpu = min(os.sched_getaffinity(0))
    found = ask(cpu_affinity=[cpu], freeze_gc=False)
    assert found["grants"][0]["granted"]
    assert [cpus for _, cpus in found["threads"]] == [[cpu], [cpu]]


@pytest.mark.parametrize("cpus", [[8191], [0, 8191]])
def test_a_cpu_that_is_not_there_is_refused_and_nothing_changes(cpus):
    found = ask(cpu_affinity=cpus, freeze_gc=False)
    (grant,) = found["grants"]
    assert not grant["granted"]
    assert f"has {os.cpu_count()} CPUs" in grant["detail"]
    assert all(now == found["before"] for _, now in found["threads"])


@pytest.mark.parametrize(
    ("config", "naming"),
    [({"fifo_priority": 100}, "100"), ({"fifo_priority": -1}, "-1"), ({"cpu_affinity": (0, -2)}, "-2")],
)
def test_numbers_that_no_kernel_knows_are_the_users_error(config, naming):
    with pytest.raises(UserError, match=naming):
        RealtimeConfig(**config)


def test_another_system_refuses_everything(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    grants = apply_realtime(RealtimeConfig(fifo_priority=1, lock_memory=True, cpu_affinity=(0,)))
    assert [grant.granted for grant in grants] == [False] * 4


def test_a_grant_is_one_line_for_the_log():
    assert str(Grant("SCHED_FIFO", "priority 50", False, "EPERM")) == "SCHED_FIFO priority 50: REFUSED (EPERM)"
