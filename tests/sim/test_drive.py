"""CommandDrive: what each command mode tells the motors, and that set-points stay inside the limits."""

from dataclasses import replace

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.spec import ActionSpec, JointLimits
from robot_wm_sim.drive import CommandDrive
from robot_wm_sim.robots.cartpole import CARTPOLE
from robot_wm_sim.robots.panda import ARM, PANDA
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.spaces import command_bounds

PERIOD_S = 0.05
HOME = np.array([joint.home for joint in PANDA.joints])  # [J]
VELOCITY = ActionSpec(mode="velocity", joints=ARM, unit="rad/s", limits=PANDA.limits(ARM))


def test_a_position_command_is_the_set_point_of_the_joint_it_names():
    action = ActionSpec(mode="position", joints=(ARM[3], ARM[0]), unit="rad")
    drive = CommandDrive(PANDA, action, period_s=PERIOD_S).update(np.array([-1.0, 0.5]), HOME)
    expected = HOME.copy()
    expected[[3, 0]] = -1.0, 0.5
    np.testing.assert_array_equal(drive.position, expected)
    np.testing.assert_array_equal(drive.velocity, 0.0)
    np.testing.assert_array_equal(drive.kp, [joint.kp for joint in PANDA.joints])


def test_an_effort_command_switches_the_gains_of_its_joints_off():
    action = ActionSpec(mode="effort", joints=(ARM[2],), unit="N·m")
    drive = CommandDrive(PANDA, action, period_s=PERIOD_S).update(np.array([4.0]), HOME)
    assert drive.effort.tolist() == [0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert (drive.kp == 0).tolist() == (drive.kd == 0).tolist() == [i == 2 for i in range(9)]
    cart = CommandDrive(CARTPOLE, ActionSpec(mode="effort", joints=("slider",), unit="N"), period_s=PERIOD_S)
    assert cart.update(np.array([2.0]), np.zeros(2)).effort.tolist() == [2.0]


def test_a_velocity_command_moves_the_set_point_on_from_where_it_stood():
    commands = CommandDrive(PANDA, VELOCITY, period_s=PERIOD_S)
    commands.reset(HOME)
    speeds = np.linspace(-0.3, 0.3, 7)
    for tick in range(3):
        drive = commands.update(speeds, HOME + 0.01)  # the joints lag or lead a little
        np.testing.assert_allclose(drive.position[:7], HOME[:7] + tick * PERIOD_S * speeds)
        np.testing.assert_allclose(drive.velocity[:7], speeds)
    stopped = commands.update(np.zeros(7), HOME)
    np.testing.assert_allclose(stopped.position[:7], HOME[:7] + 3 * PERIOD_S * speeds)
    np.testing.assert_array_equal(stopped.velocity, 0.0)


def test_a_blocked_joint_does_not_wind_its_set_point_up():
    commands = CommandDrive(PANDA, VELOCITY, period_s=PERIOD_S)
    commands.reset(HOME)
    for _ in range(100):
        drive = commands.update(np.full(7, 0.5), HOME)
    np.testing.assert_array_less(drive.kp[:7] * (drive.position - HOME)[:7], drive.limit[:7] * (1 + 1e-9))


def test_a_coupling_drives_all_its_motors():
    action = ActionSpec(mode="velocity", joints=("steering", "drive"), unit="rad/s")
    drive = CommandDrive(RACECAR, action, period_s=PERIOD_S).update(np.array([1.0, 20.0]), np.zeros(6))
    np.testing.assert_allclose(drive.velocity, [20.0, 20.0, 20.0, 20.0, 1.0, 1.0])


@given(
    commands=hnp.arrays(np.float64, (12, 7), elements=st.floats(-3.0, 3.0)),
    joints=hnp.arrays(np.float64, (12, 9), elements=st.floats(-4.0, 4.0)),
)
def test_no_velocity_command_takes_a_set_point_beyond_the_position_limits(commands, joints):
    drives = CommandDrive(PANDA, VELOCITY, period_s=PERIOD_S)
    drives.reset(HOME)
    low, high = np.array([PANDA.joint(name).limits.position for name in ARM]).T
    for command, position in zip(commands, joints, strict=True):
        drive = drives.update(command, position)
        for end in (drive.position[:7], drive.position[:7] + drive.velocity[:7] * PERIOD_S):
            assert (low - 1e-9 <= end).all()
            assert (end <= high + 1e-9).all()


@pytest.mark.parametrize(
    ("mode", "expected"), [("position", (-0.1, 0.3)), ("velocity", (-0.2, 0.2)), ("effort", (-0.3, 0.3))]
)
def test_command_bounds_are_cut_by_the_limit_of_the_mode_and_never_rounded_beyond_it(mode, expected):
    limits = JointLimits(position=(-0.1, 0.3), velocity=0.2, effort=0.3)
    action = ActionSpec(mode=mode, joints=("a", "b"), unit="1", scale=(5.0, 0.01), clip=2.0, limits=(limits, limits))
    low, high = command_bounds(action)
    assert (low[0], high[0]) == pytest.approx(expected)
    assert (low[1], high[1]) == pytest.approx((-0.02, 0.02))
    assert float(low[0]) >= expected[0]
    assert float(high[0]) <= expected[1]


def test_the_profile_names_the_gains_of_the_joints_in_the_order_asked_for():
    profile = replace(PANDA, firmware="other").profile((ARM[6], ARM[0]))
    assert (profile.name, profile.kp, profile.kd) == ("other", (50.0, 600.0), (15.0, 50.0))
