"""What nothing watches is told with the joints that it is about, and no joint without cause."""

from __future__ import annotations

import pytest

from robot_wm.runtime.following import FollowingMonitor
from robot_wm.runtime.unwatched import unwatched
from robot_wm.spec import ActionSpec, JointLimits, ObservationField

RANGED, FREE = JointLimits(position=(-1, 1), velocity=4.0), JointLimits(velocity=4.0)


@pytest.fixture
def lines(make_spec):
    """``lines(limits, placed=)``: what is said of velocity commands where no field tells any speed."""

    def of(limits, *, placed=(), mode="velocity", unit="rad/s"):
        joints = tuple(f"j{index}" for index in range(len(limits)))
        fields = [ObservationField(name="gyro", shape=(3,), unit="rad/s")]
        if placed:
            q = ObservationField(name="q", shape=(len(placed),), unit="rad", labels=placed, role="joint_position")
            fields.append(q)
        action = ActionSpec(mode=mode, joints=joints, unit=unit, limits=limits if mode == "velocity" else ())
        spec = make_spec(action=action, observations=tuple(fields))
        return unwatched(spec, FollowingMonitor(spec, following_s=0.1))

    return of


def test_up_to_three_joints_are_named_and_of_more_the_first(lines):
    (few,) = lines((FREE,) * 3)
    assert few.startswith("nothing watches whether j0, j1, j2 will do as told: no field with the role joint_velocity,")
    (many,) = lines((FREE,) * 4)
    assert many.startswith("nothing watches whether j0 and 3 others will do as told:")


def test_only_a_joint_that_has_a_range_and_no_place_can_leave_it(lines):
    following, ends = lines((RANGED, FREE, RANGED), placed=("j0",))
    assert following.startswith("nothing watches whether j1, j2 will")
    assert ends == "only the drives can keep j2 from the ends of the range: no field with the role joint_position"
    assert lines((RANGED,) * 2, placed=("j0", "j1")) == ()


def test_of_a_choice_there_is_nothing_to_watch(lines):
    assert lines((FREE,) * 2, mode="discrete", unit="1") == ()
