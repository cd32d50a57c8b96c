"""A joint cannot be farther from where it was than its speed allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.jumps import JumpMonitor
from robot_wm.runtime.sensors import Sensors
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField

PERIOD_S = 0.02
SPEED = 5.0  # rad/s, of the shoulder; the elbow has no limit


def spec(mode: str = "effort") -> AgentSpec:
    return AgentSpec(
        task="t",
        robot="r",
        control_rate_hz=1 / PERIOD_S,
        physics_rate_hz=1 / PERIOD_S,
        observations=(
            ObservationField(name="speed", shape=(1,), unit="rad/s", labels=("shoulder",)),
            # The spec's order of joints is not the field's.
            ObservationField(name="q", shape=(3,), unit="rad", labels=("wrist", "elbow", "shoulder")),
        ),
        action=ActionSpec(
            mode=mode,
            joints=("shoulder", "elbow"),
            unit="N·m",
            limits=(JointLimits(effort=1.0, velocity=SPEED), JointLimits(effort=1.0)),
        ),
        firmware=FirmwareProfile(name="f"),
    )


@pytest.fixture
def read():
    """read(shoulder, now_s, wrist=, elbow=, speed=): the fault bits of one frame."""
    transform = ObservationTransform(spec())
    sensors = Sensors(spec(), transform)

    def frame(shoulder, now_s, *, wrist=0.0, elbow=0.0, speed=0.0):
        bits = sensors.read({"speed": np.float32([speed]), "q": np.float32([wrist, elbow, shoulder])}, now_s)
        return bits, sensors.detail

    frame.sensors = sensors
    return frame


@pytest.mark.parametrize(
    ("moved_rad", "after_s", "fault"),
    [
        (0.19, 0.02, 0),  # 2 * 5 rad/s * 0.02 s = 0.2 rad
        (0.21, 0.02, Fault.JUMP),
        (-0.21, 0.02, Fault.JUMP),
        (0.19, 0.001, 0),  # two ticks in quick succession still see samples a period apart
        (0.21, 0.001, Fault.JUMP),
        (0.39, 0.04, 0),
        (0.41, 0.04, Fault.JUMP),
    ],
)
def test_a_joint_moves_by_twice_its_speed_limit_at_most(read, moved_rad, after_s, fault):
    assert read(1.0, 10.0)[0] == 0
    assert read(1.0 + moved_rad, 10.0 + after_s)[0] == fault


def test_the_detail_names_the_joint_and_both_readings(read):
    read(0.5, 0.0)
    assert read(2.5, 0.02)[1] == "q: shoulder jumped from 0.5 to 2.5 in 0.02 s"


def test_joints_without_a_limit_and_other_quantities_may_jump(read):
    read(0.0, 0.0)
    assert read(0.0, 0.02, wrist=100.0, elbow=-100.0, speed=1000.0)[0] == 0


def test_a_glitch_is_compared_with_the_reading_before_it(read):
    read(0.0, 0.0)
    assert read(3.0, 0.02)[0] == Fault.JUMP
    assert read(0.01, 0.04)[0] == 0


def test_what_stays_where_it_jumped_to_is_believed_once_it_can_have_got_there(read):
    read(0.0, 0.0)
    faulty = [read(1.0, 0.02 * tick)[0] == Fault.JUMP for tick in range(1, 9)]
    assert faulty == [True] * 4 + [False] * 4  # 1 rad at 10 rad/s takes 0.1 s


def test_a_frame_with_another_fault_is_no_reference(read):
    read(0.0, 0.0)
    assert read(np.nan, 0.02)[0] == Fault.NOT_FINITE
    assert read(1.0, 0.04)[0] == Fault.JUMP


def test_the_clock_is_forgotten_together_with_the_position(read):
    read(0.0, 0.0)
    read.sensors.forget_clock()
    assert read(3.0, 0.02)[0] == 0


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30),
    st.floats(0.001, 0.1),
)
def test_motion_within_the_limit_is_never_a_jump(steps, tick_s):
    raw = {name: np.zeros(size, dtype=np.float32) for name, size in (("speed", 1), ("q", 3))}
    monitor = JumpMonitor(spec(), raw)
    now_s = 0.0
    for step in steps:
        raw["q"][2] += np.float32(step * SPEED * max(tick_s, PERIOD_S) * 1.9)
        now_s += tick_s
        assert monitor.jumped(now_s) == ""
