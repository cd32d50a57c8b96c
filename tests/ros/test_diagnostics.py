"""The level of every state, and a message that survives a round trip through the middleware's format."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message, serialize_message

from robot_wm.runtime.latency import LatencySummary
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.planning.use import PlanningCounts, PlanningReport
from robot_wm.runtime.realtime import Grant
from robot_wm_ros.diagnostics import AgentStatus, diagnostic_array

OK, WARN, ERROR, STALE = (getattr(DiagnosticStatus, level) for level in ("OK", "WARN", "ERROR", "STALE"))
WELL = AgentStatus(
    mode=Mode.ACTIVE,
    lifecycle="active",
    rate_hz=199.5,
    wanted_rate_hz=200.0,
    latency=LatencySummary(count=1000, p50_us=210.0, p99_us=300.5, p999_us=400.0, max_us=512.0, deadline_misses=3),
    tick_age_s=0.004,
    deadline_misses=3,
    surprise=1.25,
    surprise_limit=20.0,
    surprise_unit="nats",
    engine="onnx",
    bundle_sha256="ab" * 32,
    spec_hash="cd" * 32,
    temperatures_c={"cpu-thermal": 61.0},
    received=1010,
    superseded=10,
    recorder_written=990,
    realtime=(Grant("SCHED_FIFO", "priority 50", True, "3 threads"),),
)
REFUSED = Grant("mlockall", "current and future pages", False, "LimitMEMLOCK=infinity")


def told(status: AgentStatus) -> DiagnosticStatus:
    (found,) = diagnostic_array(Time(sec=5), hardware_id="a1", status=status).status
    return found


PLANS = PlanningReport(
    planner="halving of 16 x 5",
    is_on=True,
    why_off="",
    by_failures=False,
    counts=PlanningCounts(ticks=100, searches=11, planned=9, reused=36, late=2).as_dict(),
    latency=LatencySummary(11, 700.0, 900.5, 950.0, 1000.0, 0),
)


@pytest.mark.parametrize(
    ("changes", "level", "naming"),
    [
        ({}, OK, "active"),
        ({"mode": Mode.SOFT_START}, OK, "soft start"),
        ({"mode": Mode.GO_TO_START}, OK, "go to start"),
        ({"mode": Mode.INACTIVE}, OK, "inactive"),
        ({"mode": Mode.INACTIVE, "lifecycle": "unconfigured", "tick_age_s": math.nan}, OK, "unconfigured"),
        ({"mode": Mode.ESTOP}, ERROR, "~/reset"),
        ({"mode": Mode.DAMP}, ERROR, "~/enable"),
        ({"mode": Mode.HOLD}, WARN, "holding"),
        ({"mode": Mode.CROUCH}, WARN, "crouching"),
        ({"fault_names": ("ENGINE",), "detail": "ONNX Runtime: x"}, ERROR, "ONNX Runtime: x"),
        ({"fault_names": ("STALE", "OUTPUT_NOT_FINITE")}, ERROR, "STALE OUTPUT_NOT_FINITE"),
        ({"fault_names": ("STALE",), "detail": "gyro is 0.2 s old"}, WARN, "gyro is 0.2 s old"),
        ({"tick_age_s": 1.5}, STALE, "no tick for 1.5 s"),
        ({"tick_age_s": math.nan}, STALE, "no tick"),
        ({"new_deadline_misses": 2}, WARN, "2 deadlines missed"),
        ({"surprise": 20.5}, WARN, "20.5 nats, limit 20"),
        ({"surprise": 20.5, "surprise_unit": None}, WARN, "surprise 20.5, limit 20"),
        ({"surprise": 20.5, "surprise_limit": None}, OK, "active"),
        ({"surprise": 20.5, "surprise_limit": 0.0}, OK, "active"),
        ({"surprise": math.nan}, OK, "active"),
        ({"alarm": "about to fall: log-odds 2, limit 1"}, WARN, "about to fall: log-odds 2, limit 1"),
        ({"rate_hz": 179.0}, WARN, "179 Hz, wanted 200 Hz"),
        ({"rate_hz": math.nan}, OK, "active"),
        ({"recorder_error": "No space left on device"}, WARN, "No space left on device"),
        ({"recorder_dropped": 7}, WARN, "lacks 7 ticks"),
        ({"is_signed": False}, WARN, "allow_unsigned"),
        ({"realtime": (*WELL.realtime, REFUSED)}, WARN, "LimitMEMLOCK=infinity"),
        ({"doubts": ("imu/data has 2 publishers",)}, WARN, "imu/data has 2 publishers"),
        ({"mode": Mode.INACTIVE, "lifecycle": "inactive", "unwatched": ("nothing watches",)}, WARN, "nothing watches"),
        ({"unwatched": ("nothing watches",)}, OK, "active"),
        ({"plans": PLANS}, OK, "active"),
        ({"plans": replace(PLANS, is_on=False, why_off="turned off by an operator")}, OK, "active"),
        ({"temperatures_c": {"cpu-thermal": 85.0, "gpu-thermal": 85.1}}, WARN, "gpu-thermal is 85.1 °C"),
    ],
)
def test_the_level_follows_the_rules(changes, level, naming):
    found = told(replace(WELL, **changes))
    assert found.level == level
    assert naming in found.message


def test_the_gravest_reason_gives_the_level_and_the_others_are_told_too():
    found = told(replace(WELL, mode=Mode.ESTOP, tick_age_s=3.0, recorder_dropped=1))
    assert found.level == ERROR
    assert [part.split(":")[0] for part in found.message.split("; ")] == [
        "e-stop",
        "no tick for 3.0 s",
        "the recording lacks 1 ticks",
    ]


def test_the_message_survives_the_wire_with_its_values():
    array = diagnostic_array(Time(sec=5, nanosec=7), hardware_id="a1", status=WELL, name="left/agent")
    array = deserialize_message(serialize_message(array), DiagnosticArray)
    assert (array.header.stamp.sec, array.header.stamp.nanosec) == (5, 7)
    (found,) = array.status
    assert (found.name, found.hardware_id) == ("left/agent", "a1")
    values = {entry.key: entry.value for entry in found.values}
    assert len(values) == len(found.values)
    assert values["mode"] == "active"
    assert values["rate_hz"] == "199.5"
    assert values["latency_p99_us"] == "300.5"
    assert values["deadline_misses"] == "3"
    assert values["received_samples"] == "1010"
    assert values["temperature_cpu-thermal_c"] == "61"
    assert values["bundle_sha256"] == "ab" * 32
    assert values["realtime_SCHED_FIFO"] == "SCHED_FIFO priority 50: granted (3 threads)"
    assert values["surprise_limit"] == "20"


def test_what_the_planner_did_is_told_in_numbers():
    values = {entry.key: entry.value for entry in told(WELL).values}
    assert values["planner"] == "none"
    assert not any(key.startswith("planner_") for key in values)
    values = {entry.key: entry.value for entry in told(replace(WELL, plans=PLANS)).values}
    assert (values["planner"], values["planner_on"]) == ("halving of 16 x 5", "True")
    assert (values["planner_searches"], values["planner_late"], values["planner_switched_off"]) == ("11", "2", "0")
    assert {key.removeprefix("planner_") for key in values if key.startswith("planner_")} == {
        *PLANS.counts, "on", "off_because", "p50_us", "p99_us", "max_us",
    }  # fmt: skip
    assert values["planner_p99_us"] == "900.5"


def test_a_report_before_the_first_tick_has_no_holes():
    nothing = LatencySummary(0, math.nan, math.nan, math.nan, math.nan, 0)
    found = told(replace(WELL, latency=nothing, rate_hz=math.nan, surprise=math.nan))
    values = {entry.key: entry.value for entry in found.values}
    assert (values["latency_p50_us"], values["rate_hz"], values["surprise"]) == ("nan", "nan", "nan")
