"""Exhibits that show only once the robot moves: it is damped before the trunk has gone 50 mm. Threads: README.md."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from museum_rig import Fault, Museum, Told, changed, zoo_bundle

from robot_wm_sim.frames import multiply
from robot_wm_sim.sensing.sample import Sample

WALK = {"command": "0.5,0,0", "backend": "mujoco"}
HOME = np.array(zoo_bundle("a1_velocity").spec.action.offset, dtype=np.float32)  # [A] rad
# On its feet, but crouched: the way to the start pose lifts the trunk by some centimetres.
CROUCH = HOME + np.array([0.0, 0.2, -0.35] * 4, dtype=np.float32)


def of_field(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    def observation(told: Told) -> Told:
        return told | {name: change(told[name]).astype(np.float32)}

    return Fault(observation=observation)


def test_a_sound_robot_stands_up_and_walks():
    with Museum(zoo_bundle("a1_velocity"), options=WALK) as museum:
        museum.settle(1.2, CROUCH)
        assert museum.look() == []
        outcome = museum.drive(6.0)
        assert outcome.detail == ""
        assert outcome.moved_m > 0.5


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("degrees a second", np.degrees),
        ("the wrong sign", np.negative),
        ("legs in another order", lambda value: np.roll(value, 3)),
        ("joints in another order", lambda value: value.reshape(4, 3)[:, ::-1].ravel()),
        ("nothing", np.zeros_like),
    ],
)
def test_joint_velocities_show_on_a_stand(what, change):
    with Museum(zoo_bundle("a1_velocity"), of_field("joint_velocity", change), on_stand=True) as museum:
        museum.settle(0.6)  # the legs hang, and have a way to go
        museum.look()  # some show already while the legs still swing
        outcome = museum.drive()
        outcome.require_stopped("joint_velocity: of F", "does not agree with joint_position")
        assert outcome.moved_m < 1e-3


GYROSCOPES = [
    ("degrees a second", np.degrees),
    ("the wrong sign", np.negative),
    ("turned about the vertical, as the orientation is not", lambda value: value[[1, 0, 2]] * (1, -1, 1)),
    ("nothing", np.zeros_like),
]


@pytest.mark.parametrize(("what", "change"), GYROSCOPES)
def test_a_gyroscope_shows_in_the_hands_of_who_brings_the_robot(what, change):
    with Museum(zoo_bundle("a1_velocity"), of_field("angular_velocity", change), options=WALK) as museum:
        assert "angular_velocity: does not agree with projected_gravity" in "; ".join(museum.rock())
        outcome = museum.drive()
        outcome.require_stopped("angular_velocity: does not agree with projected_gravity")
        assert outcome.ticks == 0


def test_a_quaternion_with_its_real_part_first_at_the_one_heading_where_it_looks_level():
    def sample(reading: Sample) -> Sample:
        x, y, z, w = multiply((0.0, 0.0, 1.0, 0.0), reading.orientation)
        return changed(reading, orientation=np.array([w, x, y, z]))

    with Museum(zoo_bundle("a1_velocity"), Fault(sample=sample), options=WALK) as museum:
        museum.settle(1.0)
        assert museum.look() == []
        assert "angular_velocity: does not agree with projected_gravity" in "; ".join(museum.rock())


def test_a_sound_robot_may_be_rocked():
    with Museum(zoo_bundle("a1_velocity"), options=WALK) as museum:
        assert museum.rock() == []


@pytest.mark.parametrize(("what", "change"), GYROSCOPES)
def test_a_gyroscope_that_nobody_tried_before_is_found_out_on_the_way_up(what, change):
    with Museum(zoo_bundle("a1_velocity"), of_field("angular_velocity", change), options=WALK) as museum:
        museum.settle(1.0)  # it lies
        museum.look()
        museum.drive(6.0).require_stopped("angular_velocity: ")


class Frozen:
    """A sensor that stands still from its first sample on, stamps going on."""

    def __init__(self, *names: str) -> None:
        self._names, self._first = names, dict[str, np.ndarray]()

    def __call__(self, told: Told) -> Told:
        for name in self._names:
            self._first.setdefault(name, told[name].copy())
        return told | self._first


def test_a_camera_that_is_frozen():
    with Museum(zoo_bundle("racecar_goal"), Fault(observation=Frozen("camera"))) as museum:
        assert museum.look() == []
        museum.drive().require_stopped("camera: is frozen", "while the robot moved")


def test_an_imu_that_is_frozen():
    frozen = Frozen("angular_velocity", "projected_gravity")
    with Museum(zoo_bundle("a1_velocity"), Fault(observation=frozen), options=WALK) as museum:
        museum.settle(1.0)
        museum.look()
        museum.drive().require_stopped("projected_gravity: is frozen")
