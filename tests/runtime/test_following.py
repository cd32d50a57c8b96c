"""A joint that does not go where it is told is a fault, after a stated error and a stated time."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.following import FollowingMonitor
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import ActionSpec, FirmwareProfile, JointLimits

PERIOD_S = 0.02


def arm(make_spec, *, kp=(), limits):
    action = ActionSpec(mode="position", joints=("shoulder", "elbow"), unit="rad", limits=limits)
    return make_spec(action=action, firmware=FirmwareProfile(name="arm", kp=kp))


@pytest.mark.parametrize(
    ("kp", "limits", "borne"),
    [
        ((20.0, 20.0), JointLimits(position=(-1, 1), effort=20.0), 0.5),  # half of 20 N·m / 20 N·m/rad
        ((), JointLimits(position=(-1, 1), effort=20.0), 0.5),  # a quarter of 2 rad
        ((), JointLimits(position=(-0.2, 1), effort=20.0), 0.3),
    ],
)
def test_the_error_must_last_without_a_break(make_spec, kp, limits, borne):
    monitor = FollowingMonitor(arm(make_spec, kp=kp, limits=(limits, limits)), following_s=0.1)  # 5 ticks

    def judged(*errors):
        return [bool(monitor.judge(np.float32([0, error]), np.float32([0, 0]))) for error in errors]

    far, near = borne + 0.01, borne - 0.01
    assert judged(*[near] * 20) == [False] * 20
    assert judged(*[far, -far] * 2, far, near) == [False] * 6
    assert judged(*[far] * 7) == [False] * 5 + [True] * 2
    monitor.forget()
    assert judged(far) == [False]


def test_a_joint_of_which_nothing_is_known_is_not_watched_and_a_turn_is_no_error(make_spec):
    monitor = FollowingMonitor(arm(make_spec, limits=(JointLimits(), JointLimits())), following_s=0.02)
    assert [monitor.judge(np.float32([9, 0]), np.float32([0, 0])) for _ in range(9)] == [""] * 9
    turning = JointLimits(effort=1.0)
    monitor = FollowingMonitor(arm(make_spec, kp=(5.0, 5.0), limits=(turning, turning)), following_s=0.02)
    assert [monitor.judge(np.float32([3.1, 0]), np.float32([-3.1, 0])) for _ in range(9)] == [""] * 9
    assert [bool(monitor.judge(np.float32([1.0, 0]), np.float32([-1.0, 0]))) for _ in range(3)] == [False, True, True]


def test_drives_without_power_end_in_damp_and_enabling_starts_from_where_they_are(make_agent, make_spec):
    """The stand-in asks the elbow, which lies at -0.9 rad, for -0.35 rad; it bears half of 20 N·m / 25 N·m/rad."""
    limits = (JointLimits(position=(-1, 1), velocity=50.0, effort=20.0),) * 2
    agent = make_agent(arm(make_spec, kp=(25.0, 25.0), limits=limits))
    config = SafetyConfig(soft_start_s=0.0, hold_s=0.1, recover_ticks=1, following_s=0.2)
    with Controller(agent, config=config) as controller:
        controller.enable()
        lying = {"joint_position": np.float32([-0.2, -0.9]), "gyro": np.float32([0, 0, 0])}
        modes, faults = [], []
        for tick in range(40):
            command = controller.step(lying, tick * PERIOD_S)
            modes.append(command.mode)
            faults.append(command.faults)
        assert Fault.FOLLOWING in faults
        assert modes[:11] == [Mode.ACTIVE] * 11  # one tick to begin, ten in which it might still come
        assert modes[-1] is Mode.DAMP
        np.testing.assert_allclose(command.command, [-0.2, -0.9], atol=1e-6)
        assert controller.refusal() == ""
        assert controller.enable() is Mode.SOFT_START
        assert controller.step(lying, 40 * PERIOD_S).faults == Fault.NONE


def test_a_time_that_is_none_is_refused():
    with pytest.raises(UserError, match="following_s"):
        SafetyConfig(following_s=0.0)
