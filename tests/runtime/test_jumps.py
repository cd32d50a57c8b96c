"""A joint cannot be outside its range, nor farther from where it was than its speed allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.jumps import JointWatch
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
            ObservationField(
                name="q", shape=(3,), unit="rad", labels=("wrist", "elbow", "shoulder"), role="joint_position"
            ),
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
        (0.12, 0.02, 0),  # 1.25 * 5 rad/s * 0.02 s = 0.125 rad
        (0.13, 0.02, Fault.JUMP),
        (-0.13, 0.02, Fault.JUMP),
        (0.12, 0.001, 0),  # two ticks in quick succession still see samples a period apart
        (0.13, 0.001, Fault.JUMP),
        (0.24, 0.04, 0),
        (0.26, 0.04, Fault.JUMP),
    ],
)
def test_a_joint_moves_by_its_speed_limit_and_a_quarter_at_most(read, moved_rad, after_s, fault):
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
    assert faulty == [True] * 7 + [False]  # 1 rad at 6.25 rad/s takes 0.16 s


def test_a_frame_with_another_fault_is_no_reference(read):
    read(0.0, 0.0)
    assert read(np.nan, 0.02)[0] == Fault.NOT_FINITE
    assert read(1.0, 0.04)[0] == Fault.JUMP


def test_the_clock_is_forgotten_together_with_the_position(read):
    read(0.0, 0.0)
    read.sensors.forget_clock()
    assert read(3.0, 0.02)[0] == 0


@pytest.mark.parametrize(
    ("position_limits", "unit", "fault"),
    [
        (None, "rad", 0),
        ((-3.14, 3.14), "rad", 0),  # the same joint, with its sensor's ends for limits
        ((-3.0, 3.15), "rad", Fault.JUMP),  # less than a turn: it has a stop, and no way through it
        (None, "m", Fault.JUMP),
    ],
)
def test_a_joint_that_turns_without_end_may_wrap_and_still_not_jump(position_limits, unit, fault):
    action = spec("velocity").action.model_copy(
        update={
            "joints": ("shoulder",),
            "limits": (JointLimits(velocity=SPEED, position=position_limits),),
        }
    )
    q = ObservationField(name="q", shape=(1,), unit=unit, labels=("shoulder",), role="joint_position")
    wheel = spec().model_copy(update={"action": action, "observations": (q,)})
    sensors = Sensors(wheel, ObservationTransform(wheel))
    readings = (3.0, 3.1, 3.2 - 2 * np.pi)
    bits = [sensors.read({"q": np.float32([q])}, PERIOD_S * tick) for tick, q in enumerate(readings)]
    assert bits == [0, 0, fault]
    # Half a turn is a jump for any of them.
    assert sensors.read({"q": np.float32([0.0])}, PERIOD_S * 3) == Fault.JUMP


@pytest.mark.parametrize(
    ("reading", "fault"),
    [(2.0, 0), (2.39, 0), (2.41, Fault.RANGE), (-2.39, 0), (-2.41, Fault.RANGE), (7.0, Fault.RANGE)],
)
def test_a_reading_outside_the_range_is_a_fault_however_long_it_lasts(reading, fault):
    """The limits are ±2 rad; a tenth of their width is allowed beyond."""
    limits = (JointLimits(effort=1.0, velocity=SPEED), JointLimits(effort=1.0, position=(-2.0, 2.0)))
    arm = spec().model_copy(update={"action": spec().action.model_copy(update={"limits": limits})})
    sensors = Sensors(arm, ObservationTransform(arm))
    for tick in range(100):
        frame = {"speed": np.float32([0]), "q": np.float32([0, reading, 0])}
        assert sensors.read(frame, tick * PERIOD_S) == fault
        assert sensors.is_placed is (fault == 0)
    assert fault == 0 or sensors.detail == f"q: elbow reads {reading:.4g} rad, out of its range"


def test_a_sensed_goal_with_the_joints_names_and_unit_may_jump():
    goal = ObservationField(name="goal", shape=(2,), unit="rad", labels=("shoulder", "elbow"))
    arm = spec().model_copy(update={"observations": (goal, *spec().observations)})
    sensors = Sensors(arm, ObservationTransform(arm))
    still = {"speed": np.float32([0]), "q": np.float32([0, 0, 0])}
    assert [sensors.read({"goal": np.float32([3.0 * tick, 0])} | still, tick * PERIOD_S) for tick in range(3)] == [
        0
    ] * 3


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30),
    st.floats(0.001, 0.1),
)
def test_motion_within_the_limit_is_never_a_jump(steps, tick_s):
    flat = np.zeros(4, dtype=np.float32)  # speed, then wrist, elbow, shoulder
    watch = JointWatch(spec(), flat)
    now_s = 0.0
    for step in steps:
        flat[3] += np.float32(step * SPEED * max(tick_s, PERIOD_S) * 1.2)
        now_s += tick_s
        assert watch.judge(now_s) == (0, "")
