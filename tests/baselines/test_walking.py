"""The walking criterion on traces with known speeds."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robot_wm.baselines.walking import heading_rad, judge, trial_steps

RATE_HZ = 50.0


def trace(forward=0.5, sideways=0.0, turn=0.0, *, start=0.0, run_up=None, seconds=6.0):
    """Positions [T+1, 2] and headings [T+1] of constant speeds in the robot's axes; ``run_up`` is that of second 1."""
    steps = round(seconds * RATE_HZ)
    heading = start + turn * np.arange(steps + 1) / RATE_HZ
    speed = np.full(steps, forward)
    if run_up is not None:
        speed[: round(RATE_HZ)] = run_up
    middle = (heading[1:] + heading[:-1]) / 2
    ahead = np.stack([np.cos(middle), np.sin(middle)], axis=1)
    left = np.stack([-np.sin(middle), np.cos(middle)], axis=1)
    moved = (speed[:, None] * ahead + sideways * left) / RATE_HZ
    return np.concatenate([np.zeros((1, 2)), np.cumsum(moved, axis=0)]), heading


def judged(*speeds, fell=False, **changes):
    return judge(*trace(*speeds, **changes), rate_hz=RATE_HZ, fell=fell)


@pytest.mark.parametrize(
    ("speeds", "walks"),
    [
        ((0.5, 0.0, 0.0), True),
        ((0.46, 0.14, 0.19), True),
        ((0.46, -0.14, -0.19), True),
        ((0.44, 0.0, 0.0), False),  # too slow
        ((0.0, 0.0, 0.0), False),  # stands
        ((-0.5, 0.0, 0.0), False),  # backwards
        ((0.5, 0.16, 0.0), False),  # drifts to the left
        ((0.5, -0.16, 0.0), False),
        ((0.5, 0.0, 0.21), False),  # goes in a circle
        ((0.5, 0.0, -0.21), False),
        ((0.0, 0.5, 0.0), False),  # walks sideways
    ],
)
def test_walking_is_ahead_fast_enough_and_straight_on(speeds, walks):
    walk = judged(*speeds)
    assert walk.walks is walks
    assert walk[1:4] == pytest.approx(speeds, abs=1e-9)
    assert walk.lasted_s == 6.0


def test_a_fall_is_no_walk_however_late_and_neither_is_a_short_trace():
    assert not judged(0.5, 0.0, 0.0, fell=True).walks
    short = judged(0.5, 0.0, 0.0, seconds=5.98)
    assert not short.walks
    assert math.isnan(short.forward_m_s)
    assert short.lasted_s == pytest.approx(5.98)


def test_the_run_up_is_not_judged_and_cannot_make_up_for_the_rest():
    assert judged(0.5, run_up=-0.3).walks
    assert judged(0.5, run_up=-0.3).forward_m_s == pytest.approx(0.5)
    assert not judged(0.4, run_up=3.0).walks


def test_what_comes_after_the_judged_time_does_not_matter():
    position, heading = trace(0.5, seconds=8.0)
    position[trial_steps(RATE_HZ) + 1 :] -= 9.0
    assert judge(position, heading, rate_hz=RATE_HZ, fell=False).forward_m_s == pytest.approx(0.5)


@example(0.5, 0.05, 0.1, 3.0, (0.0, 0.0))  # turns on over the heading's jump at half a turn
@given(
    st.floats(-0.2, 0.7),
    st.floats(-0.3, 0.3),
    st.floats(-0.4, 0.4),
    st.floats(-math.pi, math.pi),
    st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
)
def test_it_is_the_same_wherever_the_robot_stands_and_looks(forward, sideways, turn, start, where):
    here = judged(forward, sideways, turn)
    position, heading = trace(forward, sideways, turn, start=start)
    wrapped = np.arctan2(np.sin(heading), np.cos(heading))  # as a quaternion tells it
    there = judge(position + where, wrapped, rate_hz=RATE_HZ, fell=False)
    assert there[1:4] == pytest.approx(here[1:4], abs=1e-6)


@given(st.floats(-3.1, 3.1))
def test_heading_is_the_turn_about_the_vertical(yaw):
    assert heading_rad((0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))) == pytest.approx(yaw, abs=1e-9)


def test_heading_does_not_see_a_roll():
    assert heading_rad((math.sin(0.2), 0.0, 0.0, math.cos(0.2))) == pytest.approx(0.0)
