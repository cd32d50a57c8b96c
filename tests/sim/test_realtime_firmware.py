"""Firmware: commands by name, limits, watchdog, damping and e-stop, against closed forms."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm_sim.realtime.firmware import Firmware, FirmwareMode
from robot_wm_sim.tasks.a1 import LEGGED, A1Velocity
from robot_wm_sim.tasks.cartpole import CartpoleBalance
from robot_wm_sim.tasks.panda_reach import PandaReach

A1, PANDA, CARTPOLE = (task("proprio") for task in (A1Velocity, PandaReach, CartpoleBalance))
NAMES = A1.spec.action.joints
HOME, (LOW, HIGH) = LEGGED.home, LEGGED.stops
PANDA_HOME = np.array([joint.home for joint in PANDA.scene.robot.joints])  # [9] rad, m
STEP_S = 1 / PANDA.spec.physics_rate_hz


def firmware_of(task, **options):
    return Firmware(task.scene.robot, task.spec, **options)


def is_brake(drive, robot):
    zeros = all(not np.any(array) for array in (drive.velocity, drive.effort, drive.kp))
    return zeros and drive.kd.tolist() == [motor.kd for motor in robot.motors]


def test_nothing_moves_before_the_first_command():
    firmware = firmware_of(A1)
    assert firmware.mode is FirmwareMode.WATCHDOG_DAMP
    assert is_brake(firmware.step(HOME), A1.scene.robot)


@given(order=st.permutations(range(12)), offset=hnp.arrays(np.float64, 12, elements=st.floats(-0.1, 0.1)))
@settings(max_examples=20)
def test_joints_are_matched_by_name_in_any_order(order, offset):
    firmware = firmware_of(A1)
    wanted = HOME + offset
    assert firmware.take([NAMES[i] for i in order], [wanted[i] for i in order]) == ""
    drive = firmware.step(HOME)
    np.testing.assert_array_equal(drive.position, wanted)
    assert drive.kp.tolist() == [20.0] * 12
    assert firmware.mode is FirmwareMode.FOLLOWING
    # In the spec's own order right after: the message's order is not remembered.
    assert firmware.take(NAMES, wanted - 0.01) == ""
    np.testing.assert_array_equal(firmware.step(HOME).position, wanted - 0.01)


@given(command=hnp.arrays(np.float64, 12, elements=st.floats(-1e300, 1e300)))
def test_a_command_is_cut_to_the_joint_limits(command):
    firmware = firmware_of(A1)
    assert firmware.take(NAMES, command) == ""
    position = firmware.step(HOME).position
    assert (position >= LOW).all()
    assert (position <= HIGH).all()
    np.testing.assert_allclose(position, np.clip(command, LOW, HIGH), atol=1e-6)


@pytest.mark.parametrize("task", [A1, PANDA, CARTPOLE], ids=lambda task: task.spec.task)
def test_the_limit_is_that_of_the_command_mode(task):
    action = task.spec.action
    firmware = firmware_of(task)
    firmware.take(action.joints, [1e6] * len(action.joints))
    drive = firmware.step(np.array([joint.home for joint in task.scene.robot.joints]))
    given_to = {"position": drive.position, "velocity": drive.velocity, "effort": drive.effort}[action.mode]
    limits = [getattr(limit, action.mode) for limit in action.limits]
    highest = [limit[1] if action.mode == "position" else limit for limit in limits]
    assert given_to[: len(highest)] == pytest.approx(highest, rel=1e-6)
    if action.mode != "velocity":  # there the joint's position limit may cut it shorter
        assert (given_to[: len(highest)] <= highest).all()


@pytest.mark.parametrize(
    ("names", "values", "reason"),
    [
        (NAMES, [*HOME[:-1], math.nan], f"joint {NAMES[-1]}: command nan is not finite"),
        (NAMES, [math.inf, *HOME[1:]], f"joint {NAMES[0]}: command inf is not finite"),
        (NAMES, HOME[:-1], "11 values for 12 joints"),
        (NAMES, [], "0 values for 12 joints"),
        (NAMES[:-1], HOME[:-1], "are not"),
        ((*NAMES[:-1], "tail"), HOME, "are not"),
        ((*NAMES[:-1], NAMES[0]), HOME, "are not"),
        ([], [], "are not"),
    ],
)
def test_a_refused_command_changes_nothing_and_does_not_feed_the_watchdog(names, values, reason):
    firmware = firmware_of(A1, watchdog_s=0.01)  # 5 physics steps
    firmware.take(NAMES, HOME + 0.01)
    for _ in range(5):
        assert reason in firmware.take(names, values)
        np.testing.assert_array_equal(firmware.step(HOME).position, HOME + 0.01)
    assert is_brake(firmware.step(HOME), A1.scene.robot)
    assert firmware.mode is FirmwareMode.WATCHDOG_DAMP
    assert firmware.take(NAMES, HOME) == ""
    np.testing.assert_array_equal(firmware.step(HOME).position, HOME)


@given(steps=st.integers(1, 60), waits=st.lists(st.integers(0, 59), max_size=4))
@settings(max_examples=40)
def test_the_watchdog_fires_after_exactly_its_time(steps, waits):
    firmware = firmware_of(A1, watchdog_s=steps / A1.spec.physics_rate_hz)
    for wait in (*waits, 0):
        firmware.take(NAMES, HOME)
        for _ in range(min(wait, steps)):
            firmware.step(HOME)
            assert firmware.mode is FirmwareMode.FOLLOWING
    for _ in range(steps):
        firmware.step(HOME)
        assert firmware.mode is FirmwareMode.FOLLOWING
    assert is_brake(firmware.step(HOME), A1.scene.robot)
    assert firmware.mode is FirmwareMode.WATCHDOG_DAMP


def test_without_a_number_the_watchdog_waits_five_control_periods():
    assert firmware_of(A1).watchdog_s == pytest.approx(0.1)
    assert firmware_of(PANDA).watchdog_s == pytest.approx(0.25)


@pytest.mark.parametrize("watchdog_s", [0.0, 0.0019, -1.0, math.inf, math.nan])
def test_a_watchdog_that_cannot_be_is_refused(watchdog_s):
    with pytest.raises(UserError, match=r"watchdog_s must be at least a physics step, 0.002 s"):
        firmware_of(A1, watchdog_s=watchdog_s)


def test_damp_lasts_as_long_as_it_is_asked_for_and_estop_until_reset():
    firmware = firmware_of(A1)

    def mode_after(act):
        act()
        firmware.take(NAMES, HOME)
        braking = is_brake(firmware.step(HOME), A1.scene.robot)
        assert braking == (firmware.mode is not FirmwareMode.FOLLOWING)
        return firmware.mode.value

    assert mode_after(lambda: None) == "following"
    assert mode_after(lambda: firmware.damp(True)) == "damp"
    assert mode_after(lambda: None) == "damp"
    assert mode_after(lambda: firmware.damp(False)) == "following"
    assert mode_after(firmware.estop) == "estop"
    assert mode_after(lambda: firmware.damp(True)) == "estop"
    assert mode_after(lambda: firmware.damp(False)) == "estop"
    assert mode_after(firmware.reset) == "following"
    firmware.damp(True)
    assert mode_after(firmware.reset) == "damp"  # the agent still asks for it


def test_reset_forgets_the_last_command():
    firmware = firmware_of(A1)
    firmware.take(NAMES, HOME)
    firmware.reset()
    firmware.step(HOME)
    assert firmware.mode is FirmwareMode.WATCHDOG_DAMP


def test_a_drive_without_a_velocity_gain_is_left_without_effort():
    firmware = firmware_of(CARTPOLE)
    firmware.take(("slider",), [5.0])
    assert firmware.step(np.zeros(2)).effort.tolist() == [5.0]
    firmware.estop()
    drive = firmware.step(np.zeros(2))
    assert (drive.effort.tolist(), drive.kp.tolist(), drive.kd.tolist()) == ([0.0], [0.0], [0.0])


@given(parts=st.lists(st.tuples(st.integers(1, 40), st.floats(-0.4, 0.4)), min_size=1, max_size=8))
@settings(max_examples=40)
def test_a_velocity_set_point_moves_on_by_the_time_each_command_was_held(parts):
    """Commands come off the beat of the control period: the set-point is the integral of what was commanded."""
    firmware = firmware_of(PANDA)
    arm = PANDA.spec.action.joints
    expected = PANDA_HOME[0]
    for held_steps, speed in parts:
        firmware.take(arm, [speed, *[0.0] * 6])
        for _ in range(held_steps):
            joints = PANDA_HOME.copy()
            joints[0] = expected  # the joint follows
            drive = firmware.step(joints)
            assert drive.position[0] == pytest.approx(expected, abs=1e-9)
            assert drive.velocity[0] == pytest.approx(speed)
            expected += speed * STEP_S


def test_a_held_velocity_command_does_not_wind_a_blocked_joint_up():
    firmware = firmware_of(PANDA, watchdog_s=10.0)
    firmware.take(PANDA.spec.action.joints, [2.0] * 7)
    lead = np.array([joint.limits.effort / joint.kp for joint in PANDA.scene.robot.joints])[:7]  # rad at full effort
    for _ in range(20 * PANDA.spec.physics_steps):
        drive = firmware.step(PANDA_HOME)
        # Never further ahead than the motor can pull, and what one control period adds.
        assert (drive.position[:7] - PANDA_HOME[:7] <= lead + 2.0 * PANDA.spec.control_period_s + 1e-9).all()


def test_after_damping_a_velocity_set_point_begins_where_the_joint_is():
    firmware = firmware_of(PANDA)
    arm, moved = PANDA.spec.action.joints, PANDA_HOME + 0.02
    for _ in range(30):
        firmware.take(arm, [1.0] * 7)
        firmware.step(PANDA_HOME)
    firmware.damp(True)
    firmware.step(PANDA_HOME)
    firmware.damp(False)
    firmware.take(arm, [0.5] * 7)
    np.testing.assert_array_equal(firmware.step(moved).position[:7], moved[:7])
