"""A joint that does not do as it is told is a fault, after a stated error and a stated time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.following import FollowingMonitor
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import ActionSpec, FirmwareProfile, JointLimits, ObservationField

PERIOD_S = 0.02
NAMES = ("shoulder", "elbow")
UNITS = {"position": "rad", "velocity": "rad/s", "effort": "N·m"}


def arm(make_spec, *, mode="position", kp=(), kd=(), limits, roles=None):
    """An arm whose fields have the role that tells what its mode commands, or other roles."""
    action = ActionSpec(mode=mode, joints=NAMES, unit=UNITS[mode], limits=limits)
    roles = (f"joint_{mode}",) if roles is None else roles
    fields = [
        ObservationField(name=role, shape=(2,), unit=UNITS[role.removeprefix("joint_")], labels=NAMES, role=role)
        for role in roles
    ]
    gyro = make_spec().observations[1]
    firmware = FirmwareProfile(name="arm", kp=kp, kd=kd)
    return make_spec(action=action, firmware=firmware, observations=(*fields, gyro))


def judging(monitor):
    """Feeds the monitor (told, does) of the elbow, pair by pair; returns whether each was a fault."""

    def judged(*pairs):
        return [bool(monitor.judge(np.float32([0, told]), np.float32([0, does]))) for told, does in pairs]

    return judged


LIMITS = JointLimits(position=(-1, 1), velocity=4.0, effort=20.0)
NARROW, FAST = JointLimits(position=(-0.2, 1), effort=20.0), JointLimits(velocity=40.0, effort=20.0)


@pytest.mark.parametrize(
    ("mode", "gains", "limits", "borne"),
    [
        ("position", {"kp": (20.0, 20.0)}, LIMITS, 0.5),  # half of 20 N·m / 20 N·m/rad
        ("position", {}, LIMITS, 0.5),  # a quarter of 2 rad
        ("position", {}, NARROW, 0.3),
        ("velocity", {"kd": (5.0, 5.0)}, FAST, 2.0),  # half of 20 N·m / 5 N·m·s/rad
        ("velocity", {"kd": (5.0, 5.0)}, LIMITS, 1.0),  # a quarter of 4 rad/s
        ("velocity", {}, LIMITS, 1.0),
        ("effort", {"kp": (20.0, 20.0), "kd": (5.0, 5.0)}, LIMITS, 5.0),  # a quarter of 20 N·m
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_error_must_last_without_a_break(make_spec, mode, gains, limits, borne, sign):
    spec = arm(make_spec, mode=mode, limits=(limits, limits), **gains)
    monitor = FollowingMonitor(spec, following_s=0.1)  # 5 ticks
    judged = judging(monitor)
    far, near = (sign * (borne + 0.01), 0), (sign * borne, 0)
    assert monitor.unwatched == ()
    assert judged(*[near] * 20) == [False] * 20
    assert judged(*[far] * 5, near, *[far] * 5) == [False] * 11
    monitor.forget()
    assert judged(*[far] * 7) == [False] * 5 + [True] * 2
    # It stands until the robot is damped: a joint that is told nothing more follows that.
    assert judged(*[(0, 0)] * 20) == [True] * 20
    monitor.forget()
    assert judged(far) == [False]


def test_what_is_told_to_and_fro_faster_than_it_can_turn_is_not_stuck(make_spec):
    judged = judging(FollowingMonitor(arm(make_spec, mode="velocity", limits=(LIMITS,) * 2), following_s=0.1))
    assert not any(judged(*([(4.0, 0.0)] * 4 + [(-4.0, 0.0)] * 4) * 10))


def test_what_gathers_speed_is_not_stuck_however_long_it_takes(make_spec):
    """A heavy wheel, at the error that is borne (1 rad/s) nearer to its 40 every 4 ticks; then it stays where it is."""
    limits = (JointLimits(velocity=4.0), JointLimits(velocity=4.0))
    judged = judging(FollowingMonitor(arm(make_spec, mode="velocity", limits=limits), following_s=0.1))
    assert not any(judged(*[(40.0, 0.26 * tick) for tick in range(100)]))
    assert judged(*[(40.0, 26.0)] * 10)[-1]
    judged = judging(FollowingMonitor(arm(make_spec, mode="velocity", limits=limits), following_s=0.1))
    assert any(judged(*[(40.0, -0.26 * tick) for tick in range(100)]))  # it gathers speed the other way


def test_a_joint_of_which_nothing_is_known_is_not_watched_and_named(make_spec):
    free = (JointLimits(), LIMITS)
    monitor = FollowingMonitor(arm(make_spec, limits=free), following_s=0.02)
    assert monitor.unwatched == ("shoulder",)
    assert [monitor.judge(np.float32([9, 0]), np.float32([0, 0])) for _ in range(9)] == [""] * 9
    for mode, roles in (
        ("position", ()),
        ("position", ("joint_velocity",)),
        ("velocity", ()),
        ("effort", ("joint_position", "joint_velocity")),
    ):
        unread = FollowingMonitor(arm(make_spec, mode=mode, limits=(LIMITS,) * 2, roles=roles), following_s=0.02)
        assert unread.unwatched == NAMES
        assert not any(judging(unread)(*[(99.0, math.nan)] * 9))
    by_position = arm(make_spec, mode="velocity", limits=(LIMITS,) * 2, roles=("joint_position",))
    assert FollowingMonitor(by_position, following_s=0.02).unwatched == ()
    assert FollowingMonitor(by_position, following_s=math.inf).unwatched == NAMES


def test_a_turn_is_no_error_of_a_position_and_one_of_a_speed(make_spec):
    turning = (JointLimits(effort=1.0, velocity=4.0),) * 2
    judged = judging(FollowingMonitor(arm(make_spec, kp=(5.0, 5.0), limits=turning), following_s=0.02))
    assert judged(*[(3.1, -3.1)] * 9) == [False] * 9
    assert judged(*[(1.0, -1.0)] * 3) == [False, True, True]
    judged = judging(FollowingMonitor(arm(make_spec, mode="velocity", limits=turning), following_s=0.02))
    assert judged(*[(3.1, -3.1)] * 3) == [False, True, True]


def test_a_robot_may_state_errors_of_its_own(make_spec):
    monitor = FollowingMonitor(arm(make_spec, limits=(LIMITS, JointLimits())), 0.02, {"elbow": 0.1})
    assert monitor.unwatched == ()
    assert judging(monitor)(*[(0.11, 0)] * 2) == [False, True]
    monitor.forget()
    assert judging(monitor)(*[(0.09, 0)] * 9) == [False] * 9
    assert monitor.judge(np.float32([0.49, 0]), np.float32([0, 0])) == ""  # the shoulder's is the spec's: 0.5 rad
    with pytest.raises(UserError, match="following_errors: that of elbow must be positive"):
        SafetyConfig(following_errors={"elbow": 0.0})


@pytest.fixture
def drive(make_agent):
    """``drive(spec, frame, ticks)``: a controller that was enabled, its modes and faults while it sees that frame."""
    config = SafetyConfig(soft_start_s=0.0, hold_s=0.1, recover_ticks=1, following_s=0.2)

    def run(spec, frame, ticks=40):
        controller = Controller(make_agent(spec), config=config)
        controller.activate()
        controller.enable()
        modes, faults = [], []
        for tick in range(ticks):
            command = controller.step(frame, tick * PERIOD_S)
            modes.append(command.mode)
            faults.append(command.faults)
        return controller, command, modes, faults

    return run


GYRO = {"gyro": np.float32([0, 0, 0])}


def test_drives_without_power_end_in_damp_and_enabling_starts_from_where_they_are(drive, make_spec):
    """The stand-in asks the elbow, which lies at -0.9 rad, for -0.35 rad; it bears half of 20 N·m / 25 N·m/rad."""
    limits = (JointLimits(position=(-1, 1), velocity=50.0, effort=20.0),) * 2
    spec = make_spec(
        action=ActionSpec(mode="position", joints=NAMES, unit="rad", limits=limits),
        firmware=FirmwareProfile(name="arm", kp=(25.0, 25.0)),
    )
    lying = {"joint_position": np.float32([-0.2, -0.9])} | GYRO
    controller, command, modes, faults = drive(spec, lying)
    with controller:
        assert Fault.FOLLOWING in faults
        assert modes[:11] == [Mode.ACTIVE] * 11  # one tick to begin, ten in which it might still come
        assert modes[-1] is Mode.DAMP
        np.testing.assert_allclose(command.command, [-0.2, -0.9], atol=1e-6)
        assert controller.refusal() == ""
        assert controller.enable() is Mode.SOFT_START
        assert controller.step(lying, 40 * PERIOD_S).faults == Fault.NONE


@pytest.mark.parametrize(
    ("mode", "roles", "stuck"),
    [
        ("velocity", ("joint_velocity",), {"joint_velocity": np.float32([0.9, -0.9])}),
        ("velocity", ("joint_position",), {"joint_position": np.float32([0.9, -0.9])}),
        ("effort", ("joint_effort",), {"joint_effort": np.float32([0.9, -0.9])}),
    ],
)
def test_speeds_and_efforts_that_never_come_end_in_damp_though_a_hold_asks_for_none(
    drive, make_agent, make_spec, mode, roles, stuck
):
    """The stand-in asks for what it sees, 0.9, times 4; velocity 3.6 of a limit of 4 rad/s, effort 3.6 of 4 N·m."""
    limits = (JointLimits(velocity=4.0, effort=4.0),) * 2
    spec = arm(make_spec, mode=mode, limits=limits, roles=roles)
    spec = spec.model_copy(update={"action": spec.action.model_copy(update={"scale": (4.0,)})})
    controller, _, modes, faults = drive(spec, stuck | GYRO)
    with controller:
        assert controller.unwatched == ()
        assert faults[:11] == [Fault.NONE] * 11
        assert Fault.FOLLOWING in faults
        assert modes[-1] is Mode.DAMP
        assert controller.enable() is Mode.SOFT_START


def test_what_nothing_watches_is_told_in_words(make_agent, make_spec):
    for mode, roles, words in (
        ("position", ("joint_position",), ()),
        ("velocity", ("joint_position",), ()),
        ("effort", ("joint_position",), ("nothing watches whether shoulder, elbow will do as told",)),
        ("velocity", (), ("will do as told", "only the drives can keep shoulder, elbow from the ends")),
    ):
        with Controller(make_agent(arm(make_spec, mode=mode, limits=(LIMITS,) * 2, roles=roles))) as controller:
            assert len(controller.unwatched) == len(words)
            assert all(word in line for word, line in zip(words, controller.unwatched, strict=True))


def test_a_time_that_is_none_is_refused():
    with pytest.raises(UserError, match="following_s"):
        SafetyConfig(following_s=0.0)
