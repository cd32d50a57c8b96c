"""The way to the start pose: its closed form, its bounds, and what comes between."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.go_to_start import travel_s, waypoint
from robot_wm.runtime.modes import Event, Mode
from robot_wm.runtime.safety import Safety, SafetyConfig
from robot_wm.spec import ActionSpec, FirmwareProfile, JointLimits

RATE_HZ = 50.0
FAULT = 1
poses = hnp.arrays(np.float32, 4, elements=st.floats(-3, 3, width=32))
speeds = hnp.arrays(np.float32, 4, elements=st.floats(0.125, 2, width=32))


def arm(make_spec, limits=(), **changes):
    action = ActionSpec(mode="position", joints=("shoulder", "elbow"), unit="rad", limits=limits, **changes)
    return make_spec(action=action)


CONFIG = SafetyConfig(soft_start_s=0.1, hold_s=0.1, recover_ticks=2, start_speed=0.5, start_pose={"shoulder": 0.8})
HERE, THERE = np.float32([-0.2, 0.1]), np.float32([0.8, 0.0])
POLICY = np.float32([0.9, 0.2])


def ticks(safety, count, *, faults=0, measured=HERE):
    """Commands [count, A] and modes of so many ticks."""
    rows = [(safety.decide(None if faults else POLICY, faults, measured).copy(), safety.mode) for _ in range(count)]
    return np.array([row for row, _ in rows]), [mode for _, mode in rows]


def test_a_way_in_numbers_that_a_person_can_check():
    start, goal = np.float32([0.0, 1.0]), np.float32([1.0, 0.5])
    assert travel_s(start, goal, np.float32([0.5, 0.5])) == pytest.approx(15 / 8 * 1.0 / 0.5)
    assert travel_s(start, goal, np.float32([0.5, 0.1])) == pytest.approx(15 / 8 * 0.5 / 0.1)  # the slowest joint
    assert travel_s(goal, goal, np.float32([0.5, 0.5])) == 0.0
    np.testing.assert_allclose(waypoint(start, goal, 0.0), start)
    # s(1/4) = 10/64 - 15/256 + 6/1024 = 106/1024
    np.testing.assert_allclose(waypoint(start, goal, 0.25), [106 / 1024, 1 - 0.5 * 106 / 1024], rtol=1e-6)
    np.testing.assert_allclose(waypoint(start, goal, 0.5), [0.5, 0.75])
    np.testing.assert_array_equal(waypoint(start, goal, 1.0), goal)


@given(start=poses, goal=poses, speed=speeds)
def test_no_joint_is_faster_than_its_speed_nor_leaves_the_way(start, goal, speed):
    duration_s = travel_s(start, goal, speed)
    shares = np.linspace(0, 1, 400)
    way = np.array([waypoint(start, goal, share) for share in shares], dtype=np.float64)
    low, high = np.minimum(start, goal), np.maximum(start, goal)
    assert ((way >= low - 1e-6) & (way <= high + 1e-6)).all()
    steps = np.abs(np.diff(way, axis=0))
    assert (steps <= speed * duration_s / 399 * 1.001 + 1e-6).all()
    # At the half of it the joint that needs longest is as fast as it may be.
    if duration_s > 0.1:
        assert (steps.max(axis=0) / (speed * duration_s / 399)).max() == pytest.approx(1.0, abs=0.02)


def test_far_from_the_start_pose_it_goes_there_first_and_blends_from_there(make_spec):
    safety = Safety(arm(make_spec), CONFIG)
    safety.request(Event.ENABLE)
    count = int(np.ceil(RATE_HZ * 15 / 8 * 1.0 / 0.5))  # 1 rad at 0.5 rad/s
    commands, modes = ticks(safety, count)
    assert set(modes) == {Mode.GO_TO_START}
    expected = [waypoint(HERE, THERE, (tick + 1) / count) for tick in range(count)]
    np.testing.assert_allclose(commands, expected, atol=1e-6)
    assert np.abs(np.diff(commands, axis=0)).max() <= 0.5 / RATE_HZ * 1.001
    np.testing.assert_array_equal(commands[-1], THERE)
    commands, modes = ticks(safety, 7)
    assert modes == [Mode.SOFT_START] * 6 + [Mode.ACTIVE]
    np.testing.assert_array_equal(commands[0], THERE)
    assert ((commands[1] > THERE) & (commands[1] < POLICY)).all()
    np.testing.assert_allclose(commands[-1], POLICY)


@pytest.mark.parametrize("changes", [{"start_speed": 0.0}, {"start_tolerance": 1.01}])
def test_it_starts_where_it_is_if_that_is_near_or_nobody_asks(make_spec, changes):
    safety = Safety(arm(make_spec), SafetyConfig(**{**vars(CONFIG), **changes}))
    safety.request(Event.ENABLE)
    _, modes = ticks(safety, 6)
    assert modes == [Mode.SOFT_START] * 5 + [Mode.ACTIVE]


def test_without_a_pose_it_is_the_zero_action_s(make_spec):
    safety = Safety(arm(make_spec, offset=(0.5, -0.5)), SafetyConfig(soft_start_s=0.0, start_speed=10.0))
    safety.request(Event.ENABLE)
    commands, modes = ticks(safety, 20)
    np.testing.assert_allclose(commands[modes.count(Mode.GO_TO_START) - 1], [0.5, -0.5])
    assert modes[-1] is Mode.ACTIVE


def test_a_fault_on_the_way_holds_there_and_what_is_left_of_it_follows(make_spec):
    safety = Safety(arm(make_spec), CONFIG)
    safety.request(Event.ENABLE)
    before, _ = ticks(safety, 60)
    held, modes = ticks(safety, 3, faults=FAULT)
    assert set(modes) == {Mode.HOLD}
    np.testing.assert_array_equal(held, [before[-1]] * 3)
    after, modes = ticks(safety, 400)
    assert [mode for mode in dict.fromkeys(modes) if mode is not Mode.HOLD] == [
        Mode.SOFT_START, Mode.GO_TO_START, Mode.ACTIVE,
    ]  # fmt: skip
    assert np.abs(np.diff(np.vstack([held[-1:], after[: modes.index(Mode.ACTIVE) - 6]]), axis=0)).max() <= 0.0101
    np.testing.assert_array_equal(after[modes.index(Mode.ACTIVE) - 6], THERE)


def test_a_hold_after_it_was_there_leads_to_no_second_way(make_spec):
    safety = Safety(arm(make_spec), CONFIG)
    safety.request(Event.ENABLE)
    ticks(safety, 300)
    assert safety.mode is Mode.ACTIVE
    safety.decide(np.float32([-0.9, -0.9]), 0, None)  # the policy goes far away
    ticks(safety, 2, faults=FAULT)
    _, modes = ticks(safety, 20)
    assert Mode.GO_TO_START not in modes
    assert modes[-1] is Mode.ACTIVE


def test_after_a_damp_an_operator_sends_it_there_again(make_spec):
    safety = Safety(arm(make_spec), CONFIG)
    safety.request(Event.ENABLE)
    ticks(safety, 300)
    ticks(safety, 10, faults=FAULT)
    assert safety.mode is Mode.DAMP
    safety.request(Event.ENABLE)
    _, modes = ticks(safety, 1)
    assert modes == [Mode.GO_TO_START]


@pytest.mark.parametrize("event", [Event.DISABLE, Event.ESTOP])
def test_an_operator_stops_it_on_the_way(make_spec, event):
    safety = Safety(arm(make_spec), CONFIG)
    safety.request(Event.ENABLE)
    ticks(safety, 10)
    safety.request(event)
    assert safety.damp
    commands, _ = ticks(safety, 2)
    np.testing.assert_array_equal(commands, [HERE] * 2)


def test_it_is_no_faster_than_the_rate_limits_allow(make_spec):
    limits = (JointLimits(position=(-1, 1), velocity=0.1),) * 2
    safety = Safety(arm(make_spec, limits), CONFIG)
    safety.request(Event.ENABLE)
    commands, modes = ticks(safety, 1200)
    way = commands[: modes.count(Mode.GO_TO_START)]
    assert len(way) == pytest.approx(RATE_HZ * 15 / 8 * 1.0 / 0.1, abs=2)
    np.testing.assert_array_equal(way[-1], THERE)  # the limit did not leave the robot behind


@pytest.mark.parametrize(
    ("pose", "told"),
    [
        ({"shoulder": 1.5}, "start_pose: shoulder at 1.5 rad is outside its limits, -1 to 1"),
        ({"wrist": 0.0}, "start_pose: wrist is none of the agent's joints: shoulder, elbow"),
    ],
)
def test_a_pose_that_limits_do_not_allow_is_refused(make_spec, pose, told):
    spec = arm(make_spec, (JointLimits(position=(-1, 1), velocity=1.0),) * 2)
    with pytest.raises(UserError, match=told):
        Safety(spec, SafetyConfig(start_speed=0.2, start_pose=pose))


@pytest.mark.parametrize("mode", ["velocity", "effort"])
def test_speeds_and_efforts_have_no_way_to_go(make_spec, mode):
    unit = {"velocity": "rad/s", "effort": "N·m"}[mode]
    spec = make_spec(action=ActionSpec(mode=mode, joints=("shoulder", "elbow"), unit=unit))
    safety = Safety(spec, SafetyConfig(soft_start_s=0.0, start_speed=0.5))
    safety.request(Event.ENABLE)
    safety.decide(POLICY, 0, HERE)
    assert safety.mode is Mode.ACTIVE


@pytest.fixture
def drive(make_agent, make_spec):
    """``drive(follows)``: the commands of a controller whose robot does as told, or stays where it is."""
    limits = (JointLimits(position=(-1, 1), velocity=5.0, effort=20.0),) * 2
    spec = arm(make_spec, limits).model_copy(update={"firmware": FirmwareProfile(name="arm", kp=(50.0, 50.0))})

    def run(follows, count=250):
        rows, place = [], HERE
        with Controller(make_agent(spec), config=replace(CONFIG, following_s=0.2)) as controller:
            controller.enable()
            for tick in range(count):
                seen = {"joint_position": place, "gyro": np.zeros(3, np.float32)}
                command = copy(controller.step(seen, tick / RATE_HZ))
                command.command = command.command.copy()
                rows.append(command)
                place = command.command if follows else place
        return rows

    return run


def test_the_model_s_episode_begins_where_the_way_ends(drive):
    """The stand-in's value counts the ticks of its episode."""
    rows = drive(follows=True)
    way = [row for row in rows if row.mode is Mode.GO_TO_START]
    assert len(way) > 100
    assert {row.value for row in way} == {1.0}
    after = rows[len(way) :]
    assert [row.value for row in after[:5]] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert after[-1].mode is Mode.ACTIVE
    assert not any(row.fault_bits for row in rows)


def test_a_joint_that_does_not_follow_ends_the_way_and_is_named(drive):
    """It bears half of 20 N·m / 50 N·m/rad for 0.2 s; the shoulder has 1 rad to go, the elbow 0.1 rad."""
    rows = drive(follows=False)
    modes = list(dict.fromkeys(row.mode for row in rows))
    assert modes == [Mode.GO_TO_START, Mode.HOLD, Mode.DAMP]
    first = next(row for row in rows if row.mode is Mode.HOLD)
    assert first.faults == Fault.FOLLOWING
    assert "shoulder does not follow: told " in first.detail
    assert first.command[0] < HERE[0] + 0.5  # long before the pose was commanded
