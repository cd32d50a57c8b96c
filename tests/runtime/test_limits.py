"""Limits: closed forms for the precedence, properties in double precision for any target whatever."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_wm.errors import UserError
from robot_wm.runtime.limits import command_limits, limit_command, require_robot_limits
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField

RATE_HZ = 50.0
ANY_FLOAT32 = st.floats(width=32)  # NaN, infinities and subnormals too


def spec_of(**action):
    return AgentSpec(
        task="t",
        robot="r",
        control_rate_hz=RATE_HZ,
        physics_rate_hz=RATE_HZ,
        observations=(ObservationField(name="q", shape=(1,), unit="rad"),),
        action=ActionSpec(**({"mode": "position", "joints": ("a",), "unit": "rad"} | action)),
        firmware=FirmwareProfile(name="p"),
    )


def test_precedence_is_finite_then_range_then_rate():
    limits = command_limits(spec_of(limits=(JointLimits(position=(-1.0, 1.0), velocity=5.0),)))  # 0.1 a tick
    last = np.float32([0.95])
    assert limit_command(np.float32([np.nan]), last, limits) == last
    assert limit_command(np.float32([-np.inf]), last, limits) == last
    # Range first: 9 is cut to 1, which the rate allows; rate alone would have gone to 1.05.
    assert limit_command(np.float32([9.0]), last, limits) == 1.0
    assert limit_command(np.float32([0.0]), last, limits) == pytest.approx(0.85, abs=1e-6)


@pytest.mark.parametrize(
    ("action", "low", "high", "step"),
    [
        ({"limits": (JointLimits(position=(-1, 2)),), "scale": (9.0,)}, -1, 2, math.inf),
        ({"scale": (-0.5,), "offset": (1.0,), "clip": 4.0}, -1, 3, math.inf),
        ({"limits": (JointLimits(position=(0, 1), velocity=5, rate=2),)}, 0, 1, 0.04),
        ({"limits": (JointLimits(position=(0, 1), velocity=5, rate=20),)}, 0, 1, 0.1),
        ({"mode": "velocity", "limits": (JointLimits(position=(0, 1), velocity=3, rate=10),)}, -3, 3, 0.2),
        ({"mode": "velocity", "scale": (0.5,), "offset": (2.0,)}, 0, 2.5, math.inf),  # widened to hold zero
        ({"mode": "effort", "limits": (JointLimits(effort=7, velocity=1),)}, -7, 7, math.inf),
        ({"mode": "effort", "scale": (4.0,)}, -4, 4, math.inf),
        ({"mode": "effort", "scale": (0.5,), "offset": (-2.0,)}, -2.5, 0, math.inf),
        # Farther than float32 commands can be told apart nobody goes.
        ({"limits": (JointLimits(position=(-1e20, 1e20), rate=1e25),)}, -1e15, 1e15, 1e15),
    ],
)
def test_what_limits_mean_in_each_mode(action, low, high, step):
    limits = command_limits(spec_of(**action))
    np.testing.assert_allclose([limits.low[0], limits.high[0], limits.step[0]], [low, high, step], rtol=1e-5)


def test_each_joint_has_limits_of_its_own():
    limits = command_limits(
        spec_of(
            joints=("a", "b", "c"),
            scale=(0.5, 1.0, 2.0),
            offset=(1.0, 2.0, 3.0),
            limits=(JointLimits(), JointLimits(position=(-3.0, 5.0), rate=50.0), JointLimits(velocity=25.0)),
        )
    )
    np.testing.assert_array_equal(limits.low, np.float32([0.5, -3.0, 1.0]))
    np.testing.assert_array_equal(limits.high, np.float32([1.5, 5.0, 5.0]))
    np.testing.assert_allclose(limits.step, [np.inf, 1.0, 0.5], rtol=1e-6)
    command = limit_command(np.float32([9, 9, 9]), np.float32([1, 0, 2]), limits)
    np.testing.assert_allclose(command, [1.5, 1.0, 2.5], rtol=1e-6)


def test_a_choice_lies_between_zero_and_one_and_may_change_at_once():
    limits = command_limits(spec_of(mode="discrete", joints=("left", "right"), unit="1"))
    for chosen, last in (([0, 1], [1, 0]), ([1, 0], [0, 1])):
        np.testing.assert_array_equal(limit_command(np.float32(chosen), np.float32(last), limits), chosen)
    np.testing.assert_array_equal(limit_command(np.float32([-1, 2]), np.float32([1, 0]), limits), [0, 1])


@given(
    bottom=st.floats(-100, 100),
    width=st.floats(1e-3, 100),
    velocity=st.none() | st.floats(0.05, 1e4),
    rate=st.none() | st.floats(0.05, 1e4),
    targets=hnp.arrays(np.float32, st.integers(1, 30), elements=ANY_FLOAT32),
    start=st.floats(0, 1),
)
def test_no_target_breaks_the_specs_own_numbers(bottom, width, velocity, rate, targets, start):
    joint = JointLimits(position=(bottom, bottom + width), velocity=velocity, rate=rate)
    limits = command_limits(spec_of(limits=(joint,)))
    last = np.clip(np.float32([bottom + start * width]), limits.low, limits.high)
    for target in targets:
        command = limit_command(target.reshape(1), last, limits)
        low, high = joint.position
        assert low <= float(command[0]) <= high
        change_per_s = abs(float(command[0]) - float(last[0])) * RATE_HZ
        assert change_per_s <= min(velocity or math.inf, rate or math.inf)
        last = command


@given(st.floats(0.1, 10), hnp.arrays(np.float32, 1, elements=st.floats(-5, 5, width=32)))
def test_an_allowed_target_is_left_alone(velocity, target):
    limits = command_limits(spec_of(limits=(JointLimits(position=(-6, 6), velocity=velocity),)))
    last = target + np.float32(0.5 * velocity / RATE_HZ)
    np.testing.assert_array_equal(limit_command(target, last, limits), target)


def test_buffers_are_used_and_inputs_kept():
    limits = command_limits(spec_of())
    target, last = np.float32([5.0]), np.float32([0.5])
    out, reach = np.empty(1, np.float32), (np.empty(1, np.float32), np.empty(1, np.float32))
    assert limit_command(target, last, limits, out=out, reach=reach) is out
    assert (out[0], target[0], last[0]) == (1.0, 5.0, 0.5)


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ({"limits": (JointLimits(position=(0.1, math.nextafter(0.1, 1))),)}, "holds no float32"),
        ({"limits": (JointLimits(position=(1e20, 2e20)),)}, "beyond"),
        ({"limits": (JointLimits(position=(-2e20, -1e20)),)}, "beyond"),
        ({"limits": (JointLimits(position=(-1e6, 1e6), rate=1e-3),)}, "too small for float32"),
        ({"scale": (1e-40,)}, "scale"),
        ({"scale": (1e16,)}, "scale"),
        ({"offset": (-1e16,)}, "offset"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused_with_the_joint_named(action, word):
    with pytest.raises(UserError, match=word) as caught:
        command_limits(spec_of(**action))
    assert "a" in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "enough"),
    [
        ("effort", {"effort": 5.0}),
        ("velocity", {"velocity": 5.0}),
        ("position", {"position": (-1.0, 1.0)}),
        ("position", {"velocity": 5.0}),
        ("position", {"rate": 5.0}),
    ],
)
def test_a_robot_has_the_limit_of_its_command_at_every_joint(mode, enough):
    def spec(*limits):
        return spec_of(mode=mode, joints=("a", "b"), limits=limits)

    require_robot_limits(spec(JointLimits(**enough), JointLimits(**enough)))
    others = {"effort": 5.0, "velocity": 5.0, "position": (-1.0, 1.0)} if mode == "effort" else {"effort": 5.0}
    others.pop(mode, None)
    for refused, joint in ((spec(), "a"), (spec(JointLimits(**enough), JointLimits(**others)), "b")):
        with pytest.raises(UserError, match=f"action.limits: {joint} has no {mode} limit"):
            require_robot_limits(refused)


def test_a_choice_needs_no_limit():
    require_robot_limits(spec_of(mode="discrete", joints=("left", "right"), unit="1"))
