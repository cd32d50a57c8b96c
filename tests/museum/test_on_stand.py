"""Exhibits that show once the joints of a robot on a stand are moved a little, one after the other. Threads: README.md.

The trunk is fixed in the air: whatever is found is found before it has moved at all.
"""

from __future__ import annotations

import numpy as np
import pytest
from museum_rig import Fault, Museum, changed, with_gains, zoo_bundle

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.modes import Mode
from robot_wm_sim.drive import Drive
from robot_wm_sim.sensing.sample import Sample

SPEC = zoo_bundle("a1_velocity").spec
NAMES = SPEC.action.joints
HOME = np.array(SPEC.action.offset, dtype=np.float32)  # [A] rad


def swapped_legs() -> list[int]:
    """Where each joint's number stands if right and left legs were taken for each other."""
    other = {"FR": "FL", "FL": "FR", "RR": "RL", "RL": "RR"}
    return [NAMES.index(other[name[:2]] + name[2:]) for name in NAMES]


def require_found(fault: Fault, *words: str, bundle: Bundle | None = None) -> None:
    with Museum(bundle or zoo_bundle("a1_velocity"), fault, on_stand=True) as museum:
        museum.settle(0.4, HOME)
        assert museum.look() == []  # at rest there is nothing to be seen
        outcome = museum.drive(20.0)
        outcome.require_stopped(*words)
        assert outcome.moved_m < 1e-3
        assert outcome.modes[-1] is Mode.DAMP
        assert Mode.ACTIVE not in outcome.modes  # the policy never drove


def test_a_sound_robot_passes_and_the_policy_does_not_drive_it_there():
    with Museum(zoo_bundle("a1_velocity"), on_stand=True) as museum:
        museum.settle(0.4, HOME)
        assert museum.look() == []
        outcome = museum.drive(20.0)
        assert outcome.detail == ""
        assert outcome.modes[-1] is Mode.INACTIVE
        assert Mode.ACTIVE not in outcome.modes
        assert museum.controller.live is not None
        assert "12 joints moved by 0.9" in museum.controller.live.passed


def test_left_and_right_legs_swapped_in_the_commands():
    order = swapped_legs()
    require_found(
        Fault(command=lambda command: command[order]),
        "joint_position: FR_hip_joint was moved and FL_hip_joint followed instead",
        "legs are swapped",
    )


def test_left_and_right_legs_swapped_in_the_measurements():
    order = swapped_legs()

    def sample(reading: Sample) -> Sample:
        return changed(
            reading, joint_position=reading.joint_position[order], joint_velocity=reading.joint_velocity[order]
        )

    require_found(Fault(sample=sample), "joint_position: FR_", "followed instead", "legs are swapped")


def test_a_dead_motor():
    joint = "FR_lower_joint"

    def drives(drive: Drive) -> None:
        for gain in (drive.kp, drive.kd):
            gain[NAMES.index(joint)] = 0.0

    require_found(Fault(drives=drives), f"joint_position: {joint} moved by", "a motor without power")


def test_a_motor_that_holds_and_hears_nothing():
    def command(told: np.ndarray) -> np.ndarray:
        deaf = told.copy()
        deaf[2] = HOME[2]
        return deaf

    require_found(Fault(command=command), "joint_position: FR_lower_joint moved by", "commands that reach no drive")


def test_a_joint_that_is_commanded_with_the_wrong_sign():
    def command(told: np.ndarray) -> np.ndarray:
        turned = told.copy()
        turned[0] = 2 * HOME[0] - told[0]
        return turned

    require_found(Fault(command=command), "joint_position: FR_hip_joint moved by -", "its sign is wrong")


def test_an_action_scale_that_is_applied_twice():
    scale = np.array(SPEC.action.scale, dtype=np.float32)  # [A] rad a policy unit
    # A driver that believes it gets policy units: 0.125 or 0.25 of each joint's way from home arrives.
    require_found(
        Fault(command=lambda told: HOME + scale * (told - HOME)),
        "joint_position: FR_hip_joint moved by 0.1",
        "a scale that is applied twice",
    )


def test_a_drive_that_does_half_of_what_it_is_told():
    def command(told: np.ndarray) -> np.ndarray:
        return np.where([name.endswith("upper_joint") for name in NAMES], HOME + 0.5 * (told - HOME), told)

    require_found(Fault(command=command), "joint_position: FR_upper_joint moved by 0.4", "of what it was told")


@pytest.mark.parametrize("offset", [0.2, -0.2])
def test_a_joint_whose_zero_is_off(offset):
    def sample(reading: Sample) -> Sample:
        off = reading.joint_position.copy()
        off[NAMES.index("FR_upper_joint")] += offset
        return changed(reading, joint_position=off)

    require_found(
        Fault(sample=sample), "joint_position: FR_upper_joint rests", "rad from where it was told to", "its zero is off"
    )


def test_sensors_that_are_late_and_stamped_when_they_come():
    require_found(Fault(ticks_late=6), "joint_position: is 1", "ms later behind commands", "are delayed")


def test_gains_that_stand_in_another_order():
    kd = np.array([3.0, 0.5, 0.5] * 4)  # as trained, N·m·s/rad; hip, thigh, calf

    def drives(drive: Drive) -> None:
        drive.kd[:] = kd.reshape(4, 3)[:, [1, 0, 2]].ravel()

    trained = with_gains(zoo_bundle("a1_velocity"), SPEC.firmware.kp, tuple(kd.tolist()))
    require_found(Fault(drives=drives), "joint_position: F", "_joint lags by", "its gains are others", bundle=trained)
