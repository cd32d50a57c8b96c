"""The agent's small parts by themselves: watchdog, late ticks, the account of samples, and the log's patience."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.runtime.command import Command
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.modes import Mode
from robot_wm_ros.arrivals import Arrivals
from robot_wm_ros.event_log import EventLog
from robot_wm_ros.lateness import Lateness
from robot_wm_ros.watchdog import Watchdog


def test_the_watchdog_runs_out_after_max_age_and_then_once_a_period():
    dog = Watchdog(max_age_s=0.1, period_s=0.02)
    dog.feed(10.0)
    assert dog.remaining_s(10.06) == pytest.approx(0.04)
    assert [dog.barks(now) for now in (10.09, 10.101, 10.11, 10.119, 10.1205, 10.13)] == [
        False, True, False, False, True, False
    ]  # fmt: skip
    assert dog.silence_s(10.13) == pytest.approx(0.13)
    # Asleep for half a second: one tick, and the next a period later.
    assert [dog.barks(now) for now in (10.63, 10.631, 10.64)] == [True, True, False]
    dog.feed(10.64)
    assert not dog.barks(10.7)
    assert dog.barks(10.741)


def test_a_tick_that_nobody_made_is_overdue():
    dog = Watchdog(max_age_s=0.1, period_s=0.02)
    dog.feed(10.0)
    assert dog.overdue_s(10.09) == 0.0
    assert dog.overdue_s(10.35) == pytest.approx(0.25)
    assert dog.barks(10.11)
    assert dog.overdue_s(10.119) == 0.0  # the next is due a period after that
    assert dog.overdue_s(10.15) == pytest.approx(0.03)
    dog.feed(10.15)
    assert dog.overdue_s(10.24) == 0.0


def test_a_watchdog_gives_samples_at_the_control_rate_time_to_come():
    dog = Watchdog(max_age_s=0.001, period_s=0.1)
    dog.feed(0.0)
    assert not dog.barks(0.12)
    assert dog.barks(0.16)


def test_late_ticks_are_a_fault_only_in_a_row_and_until_they_are_cleared():
    late = Lateness(deadline_s=0.01, limit=3)
    for delay_us in (20_000, 20_000, 9_000, 20_000, 20_000):
        late.add(delay_us)
    assert (late.fault, late.why, late.delays.deadline_misses) == (0, "", 4)
    late.add(12_500)
    assert late.fault == Fault.DEADLINE
    assert late.why == "3 ticks in a row were late, the last by 2.5 ms over its deadline of 10 ms"
    for _ in range(10):
        late.add(1.0)  # holding, a tick is fast: that proves nothing
    assert late.fault == Fault.DEADLINE
    late.clear()
    assert (late.fault, late.why) == (0, "")
    never = Lateness(deadline_s=0.01, limit=0)
    for _ in range(100):
        never.add(1e6)
    assert (never.fault, never.delays.deadline_misses) == (0, 100)


def sample(number, publisher=b"robot"):
    return {"publication_sequence_number": number, "publisher_gid": {"data": publisher}, "received_timestamp": 0}


def test_every_missing_sample_is_lost_or_superseded():
    arrivals = Arrivals()
    for number in (7, 8, 12, 13, 20):
        arrivals.add(sample(number))
    assert (arrivals.received, arrivals.superseded, arrivals.lost) == (5, 3 + 6, 0)
    arrivals.lose(2)
    assert (arrivals.superseded, arrivals.lost) == (7, 2)
    arrivals.add(sample(1))  # the robot was started again
    arrivals.add(sample(3))
    arrivals.add(sample(100, b"another"))
    assert (arrivals.received, arrivals.superseded) == (8, 8)
    arrivals.clear()
    arrivals.add(sample(50))
    assert (arrivals.received, arrivals.superseded, arrivals.lost) == (1, 0, 0)


@pytest.mark.parametrize("info", [None, {}, {"publication_sequence_number": None, "received_timestamp": 1}])
def test_without_sequence_numbers_nothing_is_made_up(info):
    arrivals = Arrivals()
    for _ in range(5):
        arrivals.add(info)
    assert (arrivals.received, arrivals.superseded) == (5, 0)


class Lines:
    """A logger that keeps its lines."""

    def __init__(self):
        self.said = []

    def info(self, text):
        self.said.append(f"info {text}")

    def warning(self, text):
        self.said.append(f"warning {text}")


def decided(mode, faults=0, detail=""):
    zeros = np.zeros(1, np.float32)
    return Command(command=zeros, action=zeros, raw_action=zeros, mode=mode, fault_bits=int(faults), detail=detail)


STALE_NAN = "NOT_FINITE STALE: gyro: 0.2 s old; joint_states: no joint 'x'"


def test_what_lasts_is_logged_once_and_counted_when_it_changes():
    lines = Lines()
    log = EventLog(lines)
    log.add(decided(Mode.INACTIVE), "", 0.0)
    log.add(decided(Mode.ACTIVE), "", 0.02)
    for tick in range(25):
        faults = Fault.STALE | Fault.NOT_FINITE
        log.add(decided(Mode.HOLD, faults, "gyro: 0.2 s old"), "joint_states: no joint 'x'", 0.04 + tick * 0.02)
    for tick in range(30_600):  # damped for ten minutes
        log.add(decided(Mode.DAMP, Fault.STALE, f"gyro: {tick} s old"), "", 1.0 + tick * 0.02)
    log.add(decided(Mode.INACTIVE), "", 700.0)
    log.add(decided(Mode.SOFT_START), "", 709.0)
    assert lines.said == [
        "info inactive -> active",
        f"warning active -> hold: {STALE_NAN}",
        "warning hold -> damp: STALE: gyro: 0 s old (25 faulty ticks since the last such line)",
        "info damp -> inactive: no fault any more (30599 faulty ticks since the last such line)",
        "info inactive -> soft_start",
    ]


def test_a_robot_that_is_driven_again_has_no_fault_to_tell_of():
    lines = Lines()
    log = EventLog(lines)
    log.mode = Mode.ACTIVE
    log.add(decided(Mode.HOLD, Fault.STALE, "gyro"), "", 0.0)
    log.add(decided(Mode.SOFT_START), "", 0.1)
    for tick in range(100):
        log.add(decided(Mode.SOFT_START), "", 0.2 + tick * 0.1)
    assert lines.said == ["warning active -> hold: STALE: gyro", "info hold -> soft_start"]


def test_faults_that_come_and_go_are_told_once_until_there_was_none_for_a_second():
    lines = Lines()
    log = EventLog(lines)
    log.mode = Mode.DAMP
    for tick in range(1000):  # 20 s of a loose plug
        log.add(decided(Mode.DAMP, Fault.STALE if tick % 3 else 0, "gyro"), "", tick * 0.02)
    log.add(decided(Mode.DAMP, Fault.STALE | Fault.JUMP, "hip"), "", 20.0)
    log.add(decided(Mode.DAMP), "", 20.98)
    log.add(decided(Mode.DAMP), "", 21.02)
    log.add(decided(Mode.DAMP), "", 30.0)
    log.add(decided(Mode.DAMP, Fault.STALE, "gyro"), "", 31.0)
    assert lines.said == [
        "warning damp: STALE: gyro",
        "warning damp: STALE JUMP: hip (666 faulty ticks since the last such line)",
        "warning damp: no fault any more",
        "warning damp: STALE: gyro",
    ]
