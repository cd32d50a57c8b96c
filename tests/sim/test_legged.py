"""Legs in closed form, and what a velocity task makes of another robot's size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm_sim.importing.joints import MovingJoint
from robot_wm_sim.importing.legs import Foot, Leg
from robot_wm_sim.legged.fields import proprio_fields
from robot_wm_sim.tasks.a1 import LEGGED

HIP = np.array([0.2, 0.1, 0.0])  # m
LEFT = np.array([0.0, 1.0, 0.0])
LENGTHS = st.floats(0.1, 0.5)  # m
ANGLES = st.floats(-1.5, 1.5)  # rad


def turned(vector, angle):
    """About the left, rad."""
    x, y, z = vector
    return np.array([math.cos(angle) * x + math.sin(angle) * z, y, -math.sin(angle) * x + math.cos(angle) * z])


def hinge(name, stops=None):
    return MovingJoint(name, "above", "below", "rad", stops, 20.0, 10.0)


def leg(thigh, shin, *, thigh_at=0.0, shin_at=0.0, turns=(1.0, 1.0, 1.0), stops=(None, None), ankle=False):
    """A leg that hangs at these angles when its joints are at zero; with an ankle the foot is 5 cm ahead of that."""
    knee = HIP + turned((0, 0, -thigh), thigh_at)
    end = knee + turned((0, 0, -shin), shin_at)
    points = (HIP, knee, end, end + np.array([0.05, 0.0, 0.0])) if ankle else (HIP, knee, end)
    names = ("hip", "knee", "ankle") if ankle else ("hip", "knee")
    hinges = tuple(hinge(name, stop) for name, stop in zip(names, (*stops, None), strict=False))
    return Leg(hinges, turns[: len(names)], LEFT, points, Foot("foot", np.zeros(3), 0.02))


def foot_at(one, homes):
    """Forward kinematics: where the end of the shin and of the foot are with the hinges at these homes, m."""
    place, angle = HIP, 0.0
    reached = []
    for number, joint in enumerate(one.hinges):
        angle += one.turns[number] * homes[joint.name]
        place = place + turned(one.points[number + 1] - one.points[number], angle)
        reached.append(place)
    return reached


@given(LENGTHS, LENGTHS, ANGLES, ANGLES, st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3), st.booleans())
def test_a_foot_comes_straight_below_its_hip_with_the_knee_behind(thigh, shin, thigh_at, shin_at, turns, ankle):
    one = leg(thigh, shin, thigh_at=thigh_at, shin_at=shin_at, turns=turns, ankle=ankle)
    homes = one.bent(0.75)
    if abs(thigh - shin) >= 0.75 * (thigh + shin):
        assert homes == {}
        return
    knee, end, *foot = foot_at(one, homes)
    np.testing.assert_allclose(end, HIP - (0, 0, 0.75 * (thigh + shin)), atol=1e-9)
    assert knee[0] < HIP[0]
    if ankle:  # the foot points as it did
        np.testing.assert_allclose(foot[0] - end, (0.05, 0, 0), atol=1e-9)
    assert all(abs(home) <= math.pi for home in homes.values())


@pytest.mark.parametrize(
    ("stops", "ahead"),
    [((-2.0, 2.0), False), ((-2.0, -0.1), False), ((0.1, 2.0), True)],
)
def test_a_knee_bends_the_other_way_where_only_that_lies_within_its_stops(stops, ahead):
    one = leg(0.2, 0.2, stops=(None, stops))  # positive turns take what hangs backwards
    knee, _ = foot_at(one, one.bent(0.75))
    assert (knee[0] > HIP[0]) == ahead


def test_a_leg_that_cannot_bend_stays_as_it_was():
    assert leg(0.2, 0.2, stops=(None, (-0.1, 0.1))).bent(0.75) == {}
    assert leg(0.4, 0.05).bent(0.75) == {}  # the shin is too short to bring the foot up there
    assert replace(leg(0.2, 0.2), hinges=()).bent(0.75) == {}


def test_costs_of_torque_and_heights_of_steps_go_with_a_robots_size():
    """A body that is scaled by s has s³ of the weight and s⁴ of its torques; all that it does is worth the same."""
    scaled = replace(LEGGED, mass_kg=8 * LEGGED.mass_kg, leg_m=2 * LEGGED.leg_m)
    assert LEGGED.torque_scale == 1.0
    assert scaled.torque_scale * (16 * 33.5) ** 2 == pytest.approx(33.5**2)
    assert LEGGED.clearance_m == pytest.approx(0.06)
    assert scaled.clearance_m == pytest.approx(0.12)


def test_what_no_robot_has_is_refused():
    with pytest.raises(UserError, match=r"robot a1: leg_m is 0\.0, but must be above 0"):
        replace(LEGGED, leg_m=0.0)
    with pytest.raises(UserError, match="robot a1: 1 scales of 12 actions"):
        replace(LEGGED, scale=(0.25,))
    with pytest.raises(UserError, match="robot a1: 1 foot_centres of 4 feet"):
        replace(LEGGED, foot_centres=((0.0, 0.0, 0.1),))


def test_drives_that_take_speeds_rest_at_none_and_tell_none_where_nobody_measures_it():
    legged = replace(LEGGED, mode="velocity")
    action = legged.action()
    assert (action.unit, set(action.offset)) == ("rad/s", {0.0})
    fields = {one.name: one for one in proprio_fields(legged, max_age_s=0.06, has_velocities=False)}
    assert "joint_velocity" not in fields
    assert fields["last_action"].unit == "rad/s"
    assert fields["joint_position"].offset == tuple(LEGGED.home)
