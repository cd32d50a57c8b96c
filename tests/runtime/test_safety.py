"""Mode and fallback tick by tick, and the property that matters: no input whatever breaks a limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_wm.errors import UserError
from robot_wm.runtime.modes import Event, Mode
from robot_wm.runtime.safety import Safety, SafetyConfig, SurpriseMonitor
from robot_wm.spec import ActionSpec, JointLimits

FAULT = 1
QUICK = SafetyConfig(soft_start_s=0.06, hold_s=0.04, recover_ticks=2)  # 3 and 2 ticks at 50 Hz
REQUESTS = [Event.ENABLE, Event.DISABLE, Event.ESTOP, Event.RESET]


def joints(mode, limits=(), **changes):
    unit = {"position": "rad", "velocity": "rad/s", "effort": "N·m"}[mode]
    return ActionSpec(mode=mode, joints=("shoulder", "elbow"), unit=unit, limits=limits, **changes)


def driving(safety, target, measured=None):
    """Enable and tick until the policy drives; returns the commands on the way."""
    safety.request(Event.ENABLE)
    commands = []
    while safety.mode is not Mode.ACTIVE:
        commands.append(safety.decide(target, 0, measured).copy())
    return commands


def test_a_soft_start_goes_from_where_the_robot_is_to_the_policy(make_spec):
    safety = Safety(make_spec(action=joints("position")), QUICK)
    measured, target = np.float32([0.5, -0.5]), np.float32([1.0, 0.5])
    assert safety.damp
    commands = driving(safety, target, measured)
    np.testing.assert_allclose(commands, [[0.625, -0.25], [0.75, 0], [0.875, 0.25], [1, 0.5]], atol=1e-6)
    assert not safety.damp


def test_without_a_soft_start_the_policy_drives_at_once(make_spec):
    safety = Safety(make_spec(action=joints("effort")), SafetyConfig(soft_start_s=0))
    safety.request(Event.ENABLE)
    np.testing.assert_array_equal(safety.decide(np.float32([0.3, -0.3]), 0, None), np.float32([0.3, -0.3]))
    assert safety.mode is Mode.ACTIVE


@pytest.mark.parametrize(("mode", "held"), [("position", [0.3, -0.3]), ("velocity", [0, 0]), ("effort", [0, 0])])
def test_hold_then_damp_then_only_an_operator(make_spec, mode, held):
    safety = Safety(make_spec(action=joints(mode)), QUICK)
    measured = np.float32([0, 0]) if mode == "position" else None
    driving(safety, np.float32([0.3, -0.3]), measured)
    for expected in (Mode.HOLD, Mode.HOLD, Mode.DAMP, Mode.DAMP):
        np.testing.assert_allclose(safety.decide(None, FAULT, None), held, atol=1e-6)
        assert safety.mode is expected
        assert safety.damp is (expected is Mode.DAMP)
    for _ in range(10):
        safety.decide(np.float32([1, 1]), 0, measured)
        assert safety.mode is Mode.DAMP
    assert safety.request(Event.ENABLE) is Mode.SOFT_START
    # Nothing has said where the robot is since: only position commands depend on it.
    np.testing.assert_array_equal(safety.decide(None, 0, None), [0, 0])
    assert safety.damp is (mode == "position")


@pytest.mark.parametrize("mode", ["position", "velocity", "effort"])
def test_dead_sensors_release_no_brake(make_spec, mode):
    safety = Safety(make_spec(action=joints(mode)), QUICK)
    measured = np.float32([0.2, 0.1]) if mode == "position" else None
    for enabled_from in (Mode.INACTIVE, Mode.DAMP):
        assert safety.mode is enabled_from
        safety.request(Event.ENABLE)
        for expected in (Mode.HOLD, Mode.HOLD, Mode.DAMP):
            safety.decide(None, FAULT, measured)
            assert (safety.mode, safety.damp) == (expected, True)
    safety.request(Event.ENABLE)
    safety.decide(None, FAULT, measured)
    safety.decide(np.float32([0, 0]), 0, measured)
    assert (safety.mode, safety.damp) == (Mode.HOLD, False)


def test_until_the_first_sound_tick_a_position_command_follows_a_robot_that_is_still_braked(make_spec):
    safety = Safety(make_spec(action=joints("position")), QUICK)
    safety.request(Event.ENABLE)
    for place in (0.2, 0.4, 0.3):  # pushed by hand, while a camera is silent
        np.testing.assert_allclose(safety.decide(None, FAULT, np.float32([place, 0])), [place, 0], atol=1e-6)


def test_a_short_fault_ends_in_a_new_soft_start(make_spec):
    safety = Safety(make_spec(action=joints("position")), QUICK)
    driving(safety, np.float32([0.3, -0.3]), np.float32([0, 0]))
    modes = []
    for faults in (FAULT, 0, FAULT, 0, 0, 0, 0, 0, 0):
        safety.decide(np.float32([0.4, -0.3]), faults, None)
        modes.append(safety.mode.value)
    assert modes == ["hold"] * 4 + ["soft_start"] * 4 + ["active"]


def test_faulty_ticks_between_sound_ones_still_add_up_to_damp(make_spec):
    safety = Safety(make_spec(action=joints("effort")), QUICK)
    driving(safety, np.float32([0, 0]))
    for faults in (FAULT, 0, FAULT, 0, FAULT):
        safety.decide(np.float32([0, 0]), faults, None)
    assert safety.mode is Mode.DAMP


def test_damp_follows_the_limb_so_that_enabling_does_not_pull(make_spec):
    limits = (JointLimits(position=(-1, 1), velocity=5.0),) * 2  # 0.1 a tick
    safety = Safety(make_spec(action=joints("position", limits)), SafetyConfig(soft_start_s=0, hold_s=0))
    driving(safety, np.float32([0, 0]), np.float32([0, 0]))
    safety.decide(None, FAULT, None)
    assert safety.mode is Mode.DAMP
    sagged = np.float32([0.25, -9.0])
    rows = [safety.decide(None, 0, sagged).copy() for _ in range(12)]
    np.testing.assert_allclose(rows[0], [0.1, -0.1], atol=1e-6)
    np.testing.assert_allclose(rows[-1], [0.25, -1.0], atol=1e-6)


def test_estop_latches_until_reset(make_spec):
    safety = Safety(make_spec(action=joints("velocity")), QUICK)
    driving(safety, np.float32([0.5, 0.5]))
    safety.request(Event.ESTOP)
    assert safety.damp
    for event in (Event.ENABLE, Event.DISABLE, Event.ESTOP):
        assert safety.request(event) is Mode.ESTOP
        np.testing.assert_array_equal(safety.decide(np.float32([1, 1]), 0, None), [0, 0])
    assert safety.request(Event.RESET) is Mode.INACTIVE
    safety.decide(np.float32([1, 1]), 0, None)
    assert safety.mode is Mode.INACTIVE


def test_until_the_robot_was_measured_the_command_is_damp(make_spec):
    """A position to hold is not known yet: following the rest position would be a jump."""
    safety = Safety(make_spec(action=joints("position")), QUICK)
    safety.request(Event.ENABLE)
    safety.decide(None, FAULT, None)
    assert safety.mode is Mode.HOLD
    assert safety.damp
    safety.decide(np.float32([0, 0]), 0, np.float32([0.7, 0.7]))
    assert not safety.damp
    np.testing.assert_array_equal(safety.command, np.float32([0.7, 0.7]))


def test_a_choice_stays_one_of_the_choices(make_spec):
    action = ActionSpec(mode="discrete", joints=("left", "right", "stay"), unit="1")
    spec = make_spec(action=action, observations=make_spec().observations[1:2])
    safety = Safety(spec, SafetyConfig(soft_start_s=0))
    safety.request(Event.ENABLE)
    np.testing.assert_array_equal(safety.decide(np.float32([-1, 0.2, 0.1]), 0, None), [0, 1, 0])
    np.testing.assert_array_equal(safety.decide(np.float32([np.nan, 0, 1]), 0, None), [0, 1, 0])
    np.testing.assert_array_equal(safety.decide(None, FAULT, None), [0, 1, 0])


def test_surprise_must_last(make_spec):
    monitor = SurpriseMonitor(2.0, 3)
    assert [monitor.update(s) for s in (9, 9, 2, 9, 9, 9, 9, 1)] == [False] * 5 + [True, True, False]
    assert not monitor.update(9.0, is_first=True)
    assert [monitor.update(math.nan) for _ in range(3)] == [False, False, True]
    assert not any(SurpriseMonitor(None, 1).update(s) for s in (1e9, 0.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"soft_start_s": -1},
        {"hold_s": math.nan},
        {"soft_start_s": math.inf},
        {"recover_ticks": 0},
        {"surprise_ticks": 0},
        {"following_s": 0},
        {"surprise_limit": 0.0},
        {"deadline_s": -0.1},
    ],
)
def test_bad_patience_is_refused_by_name(changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        SafetyConfig(**changes)


def test_the_least_patience_is_one_tick(make_spec):
    """Of 50 Hz: one faulty tick ends a hold of 0 s, and one sound tick one that lasts."""
    config = SafetyConfig(soft_start_s=0, hold_s=0.02, recover_ticks=1, surprise_ticks=1)
    safety = Safety(make_spec(action=joints("effort")), config)
    driving(safety, np.float32([0, 0]))
    modes = []
    for faults in (FAULT, 0, FAULT, FAULT):
        safety.decide(np.float32([0, 0]), faults, None)
        modes.append(safety.mode)
    assert modes == [Mode.HOLD, Mode.SOFT_START, Mode.HOLD, Mode.DAMP]


def test_patience_that_nobody_sets_is_half_a_second_and_five_ticks(make_spec):
    safety = Safety(make_spec(action=joints("effort")))
    driving(safety, np.float32([0, 0]))
    safety.decide(np.float32([0, 0]), FAULT, None)
    for expected in [Mode.HOLD] * 4 + [Mode.SOFT_START]:
        safety.decide(np.float32([0, 0]), 0, None)
        assert safety.mode is expected
    driving(safety, np.float32([0, 0]))
    for expected in [Mode.HOLD] * 25 + [Mode.DAMP]:
        safety.decide(np.float32([0, 0]), FAULT, None)
        assert safety.mode is expected
    assert SafetyConfig().surprise_ticks == 5


VALUES = st.floats(width=32)
TICKS = st.lists(
    st.tuples(
        st.none() | hnp.arrays(np.float32, 2, elements=VALUES),  # the policy's target
        st.sampled_from([0, 0, 0, FAULT]),
        st.none() | hnp.arrays(np.float32, 2, elements=VALUES),  # measured position
        st.none() | st.sampled_from(REQUESTS),
    ),
    max_size=60,
)


@st.composite
def actions(draw):
    """Every mode, with and without each kind of limit."""
    mode = draw(st.sampled_from(["position", "velocity", "effort"]))
    limits = st.builds(
        JointLimits,
        position=st.none()
        | st.tuples(st.floats(-10, 10), st.floats(0.01, 10)).map(lambda pair: (pair[0], pair[0] + pair[1])),
        velocity=st.none() | st.floats(0.1, 100),
        effort=st.none() | st.floats(0.1, 100),
        rate=st.none() | st.floats(0.1, 100),
    )
    return joints(
        mode,
        draw(st.just(()) | st.tuples(limits, limits)),
        scale=draw(st.tuples(st.floats(0.1, 3), st.floats(-3, -0.1))),
        offset=draw(st.tuples(st.floats(-2, 2), st.floats(-2, 2))),
        clip=draw(st.floats(0.5, 4)),
    )


def assert_within(spec, command, last):
    """The spec's own numbers, in double precision; ``last`` is None where no command came before."""
    action = spec.action
    assert np.isfinite(command).all()
    for i, value in enumerate(command.astype(float)):
        limit = action.limits[i] if action.limits else JointLimits()
        bound = {"position": None, "velocity": limit.velocity, "effort": limit.effort}[action.mode]
        gain, offset = abs(action.scale[i]) * action.clip, action.offset[i]
        if action.mode == "position":
            low, high = limit.position or (offset - gain, offset + gain)
        elif bound is not None:
            low, high = -bound, bound
        else:
            low, high = min(offset - gain, 0), max(offset + gain, 0)
        assert low <= value <= high
        rates = [limit.rate, limit.velocity if action.mode == "position" else None]
        fastest = min((rate for rate in rates if rate is not None), default=math.inf)
        if last is not None:
            assert abs(value - float(last[i])) * spec.control_rate_hz <= fastest


@given(actions(), TICKS)
def test_no_sequence_of_anything_breaks_a_limit(make_spec, action, ticks):
    spec = make_spec(action=action)
    safety = Safety(spec, QUICK)
    last = None
    stopped = False
    for target, faults, measured, request in ticks:
        if request is Event.ENABLE and safety.mode in (Mode.INACTIVE, Mode.DAMP):
            last = None  # nobody drove: the next command starts from where the robot is
        if request is not None:
            safety.request(request)
            stopped = (stopped or request is Event.ESTOP) and request is not Event.RESET
        if action.mode != "position":
            measured = None
        elif last is None and (measured is None or not np.isfinite(measured).all()):
            assert_within(spec, safety.decide(target, faults, measured), None)
            assert safety.damp  # where the robot is nobody has said yet, so nothing should follow this
            continue
        command = safety.decide(target, faults, measured)
        assert_within(spec, command, last)
        assert (safety.mode is Mode.ESTOP) is stopped
        last = command.copy()
