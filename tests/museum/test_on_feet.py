"""Exhibits that show once a robot on its feet leans a little: numbers that all agree with each other, and not with the
floor. Threads: README.md. No policy has driven the robot by then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from museum_rig import Fault, Museum, changed, zoo_bundle
from test_at_rest import turned_imu

from robot_wm.firmware.loading import load_robot
from robot_wm.runtime.modes import Mode
from robot_wm_sim.sensing.sample import Sample

SPEC = zoo_bundle("a1_velocity").spec
NAMES = SPEC.action.joints
HOME = np.array(SPEC.action.offset, dtype=np.float32)  # [A] rad
LEANS = load_robot("a1").leans
SECONDS = 14.0  # to the start pose, and twice both leans
WALK = {"command": "0.5,0,0", "backend": "mujoco"}


def renamed(*pairs: tuple[str, str]) -> Fault:
    """Legs that stand for each other in commands and measurements alike, as in a driver's one list of joints."""
    other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    order = [NAMES.index(other[name[:2]] + name[2:]) for name in NAMES]

    def sample(reading: Sample) -> Sample:
        return changed(
            reading, joint_position=reading.joint_position[order], joint_velocity=reading.joint_velocity[order]
        )

    return Fault(sample=sample, command=lambda command: command[order])


def turned(degrees: float) -> Fault:
    half = math.radians(degrees) / 2
    return turned_imu((0.0, 0.0, math.sin(half), math.cos(half)))


def driven(fault: Fault | None, **options: str) -> tuple[Sequence[Mode], str, str]:
    """Modes, what was found, and what passed."""
    with Museum(
        zoo_bundle("a1_velocity"), fault, options=WALK | options, check_on_feet=True, leans=LEANS, soft_start_s=0.2
    ) as museum:
        museum.settle(1.5, HOME)
        assert museum.look() == []  # at rest there is nothing to be seen
        outcome = museum.drive(SECONDS)
        assert museum.controller.live is not None
        return outcome.modes, outcome.detail, museum.controller.live.passed


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(renamed(("FR", "FL"), ("RR", "RL")), "it is mirrored", id="right and left legs"),
        pytest.param(turned(180.0), "it is off by 1", id="an IMU that looks backwards"),
    ],
)
def test_what_agrees_with_itself_and_not_with_the_floor_is_refused_before_a_policy_drives(fault, words):
    modes, found, passed = driven(fault)
    assert found.startswith("projected_gravity: turned along")
    assert words in found
    assert "legs that are swapped in commands and measurements alike" in found
    assert passed == ""
    assert modes[-1] is Mode.DAMP
    assert Mode.ACTIVE not in modes


def test_a_sound_robot_leans_and_then_walks():
    modes, found, passed = driven(None)
    assert found == ""
    assert passed.startswith("check on its feet passed: gravity turned along")
    assert modes[-1] is Mode.ACTIVE
