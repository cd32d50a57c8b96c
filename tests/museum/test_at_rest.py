"""Exhibits that a robot shows while nothing moves: it is refused before the first tick. Threads: README.md."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from museum_rig import Fault, Museum, Told, changed, zoo_bundle

from robot_wm.runtime.live.check import LiveConfig
from robot_wm_sim.frames import multiply
from robot_wm_sim.sensing.sample import Sample

STAND = {"command": "0,0,0", "backend": "mujoco"}  # the quicker engine


def of_field(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    def observation(told: Told) -> Told:
        return told | {name: change(told[name]).astype(np.float32)}

    return Fault(observation=observation)


def turned_imu(quaternion: tuple[float, float, float, float]) -> Fault:
    """An IMU that is mounted so (x, y, z, w, from its axes to the trunk's), which nobody told the driver."""

    def sample(reading: Sample) -> Sample:
        x, y, z, w = quaternion
        conjugate = (-x, -y, -z, w)

        def seen(vector: np.ndarray) -> np.ndarray:
            return np.array(multiply(multiply(conjugate, (*vector, 0.0)), quaternion))[:3]

        return changed(
            reading,
            orientation=np.array(multiply(reading.orientation, quaternion)),
            angular_velocity=seen(reading.angular_velocity),
            linear_acceleration=seen(reading.linear_acceleration),
        )

    return Fault(sample=sample)


def require_refused(fault: Fault, *words: str, live: LiveConfig | None = None, tilted: bool = False) -> None:
    """Lying where it fell, the robot is found out by looking, and damped from the first tick on."""
    with Museum(zoo_bundle("a1_velocity"), fault, options=STAND, live=live) as museum:
        if tilted:
            museum.tilt_deg(pitch=15.0)
        else:
            museum.settle(1.0)
        found = "; ".join(museum.look())
        for word in words:
            assert word in found, found
        outcome = museum.drive()
        outcome.require_stopped(*words)
        assert outcome.ticks == 0
        assert museum.controller.refusal()  # nor does it begin when it is enabled again


def test_joint_positions_in_degrees():
    require_refused(of_field("joint_position", np.degrees), "joint_position: ", "rad, out of its range")


@pytest.mark.parametrize(
    ("mounting", "quaternion"),
    [
        ("upside down", (1.0, 0.0, 0.0, 0.0)),
        ("on its side", (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))),
        ("nose up", (0.0, -math.sqrt(0.5), 0.0, math.sqrt(0.5))),
        ("60 degrees nose up", (0.0, -0.5, 0.0, math.sqrt(0.75))),
    ],
)
def test_an_imu_in_another_frame(mounting, quaternion):
    require_refused(turned_imu(quaternion), "projected_gravity: points along", "the IMU's mounting")


def test_gravity_that_points_up():
    require_refused(of_field("projected_gravity", np.negative), "projected_gravity: points along", "gravity's sign")


def test_gravity_in_metres_per_second_squared():
    require_refused(
        of_field("projected_gravity", lambda value: 9.81 * value), "projected_gravity: its length is 9.8", "expected 1"
    )


@pytest.mark.parametrize("heading_deg", [0.0, 40.0, 90.0, -120.0])
def test_a_quaternion_with_its_real_part_first(heading_deg):
    half = math.radians(heading_deg) / 2

    def sample(reading: Sample) -> Sample:
        x, y, z, w = multiply((0.0, 0.0, math.sin(half), math.cos(half)), reading.orientation)
        return changed(reading, orientation=np.array([w, x, y, z]))

    require_refused(Fault(sample=sample), "projected_gravity: points along", "the order of a quaternion")


@pytest.mark.parametrize("turn", [90.0, 180.0, -90.0])
def test_an_imu_turned_about_the_vertical_shows_on_a_robot_that_is_tilted_on_purpose(turn):
    half = math.radians(turn) / 2
    told = LiveConfig(rest_gravity=(math.sin(math.radians(15.0)), 0.0, -math.cos(math.radians(15.0))))
    fault = turned_imu((0.0, 0.0, math.sin(half), math.cos(half)))
    require_refused(fault, "projected_gravity: points along", "of rest_gravity", live=told, tilted=True)


def test_a_robot_that_is_tilted_as_told_is_not_refused():
    told = LiveConfig(rest_gravity=(math.sin(math.radians(15.0)), 0.0, -math.cos(math.radians(15.0))))
    with Museum(zoo_bundle("a1_velocity"), options=STAND, live=told) as museum:
        museum.tilt_deg(pitch=15.0)
        assert museum.look() == []


@pytest.mark.parametrize("rate", [0.5, 4.0])
def test_ticks_at_another_rate(rate):
    require_refused(Fault(rate=rate), f"control_rate_hz: ticks come at {50 * rate:g} Hz", "trained at 50 Hz")


def test_speeds_in_place_of_which_positions_are_sent():
    def observation(told: Told) -> Told:
        return told | {"joint_velocity": told["joint_position"]}

    require_refused(Fault(observation=observation), "joint_velocity: ", "at rest, expected")


def test_a_gyroscope_that_was_never_calibrated():
    bias = np.array([0.0, 0.6, 0.0])
    require_refused(of_field("angular_velocity", lambda value: value + bias), "angular_velocity: y reads 0.6 rad/s")


def test_a_tool_pose_in_millimetres():
    with Museum(zoo_bundle("panda_reach"), of_field("tool_position", lambda value: 1e3 * value)) as museum:
        assert "tool_position: " in museum.look()[0]
        museum.drive().require_stopped("tool_position: ", "the training data have")
