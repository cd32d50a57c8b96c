"""A node that looks at its robot before it drives it: the binding's part of the misdeployment museum (tests/museum)."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from agent_rig import ACTIVATE, CONFIGURE, AgentRig
from diagnostic_msgs.msg import DiagnosticArray

from robot_wm.runtime.command import Command
from robot_wm.runtime.modes import Mode
from robot_wm.zoo.catalog import Zoo
from robot_wm_ros.event_log import EventLog

HOME = [0.0, 0.8, -1.5] * 4  # rad, near the start pose
UPRIGHT = (0.0, 0.0, 0.0, 1.0)  # x, y, z, w
REAL_PART_FIRST = (1.0, 0.0, 0.0, 0.0)  # the same, by a driver that has w, x, y, z
ON_ITS_SIDE = (0.7071, 0.0, 0.0, 0.7071)  # an IMU that is mounted so


@contextmanager
def configured(domain, **parameters):
    """The zoo's A1, with all that a robot's agent does by default; entered within the test, as its log is."""
    given = {"hold_s": 0.2, "start_speed": 2.0} | parameters
    with AgentRig(Zoo.shipped().bundle("a1_velocity"), domain, namespace="", **given) as rig:
        reports = []
        rig.peer.create_subscription(DiagnosticArray, "/diagnostics", reports.append, 10)
        rig.told = lambda: next((r.status[0].message for r in reversed(reports) if r.status[0].name == "agent"), "")
        assert rig.change(CONFIGURE), rig.lines
        yield rig


@pytest.mark.parametrize("orientation", [REAL_PART_FIRST, ON_ITS_SIDE])
def test_an_agent_whose_imu_tells_of_another_frame_is_not_activated(domain, orientation):
    with configured(domain) as rig:
        rig.sense(200.0, orientation=orientation)
        rig.until(lambda: "not ready: projected_gravity: points along" in rig.told())
        assert not rig.change(ACTIVATE)
        assert rig.state() == "inactive"
        line = rig.wait_for_line(
            "activate failed: the robot is not as the agent knows it: projected_gravity: points along"
        )
        assert "the IMU's mounting, gravity's sign, or the order of a quaternion" in line
        assert rig.commands == []


def test_one_that_was_activated_before_its_sensors_came_stays_damped_and_says_why(domain):
    with configured(domain) as rig:
        assert rig.change(ACTIVATE)
        rig.sense(200.0, orientation=REAL_PART_FIRST)
        rig.wait_for_line("hold -> damp")
        assert "LIVE_CHECK" in rig.wait_for_line("-> hold")
        assert "projected_gravity: points along" in rig.wait_for_line("-> hold")
        assert False not in rig.damp
        answer = rig.enable()
        assert not answer.success
        assert "projected_gravity" in answer.message


def test_one_whose_robot_is_sound_drives(domain):
    with configured(domain) as rig:
        assert rig.change(ACTIVATE)
        rig.sense(200.0, orientation=UPRIGHT)
        rig.until(lambda: False in rig.damp, "the agent to let go of the brake")
        assert not any("LIVE_CHECK" in line for line in rig.lines)


def test_on_a_stand_a_joint_that_does_not_answer_is_named_and_no_policy_drives(domain):
    with configured(domain, check_on_stand=True) as rig:
        rig.sense(200.0, at={joint: position for joint, position in zip(rig.spec.action.joints, HOME, strict=True)})
        rig.listen(1.0)
        assert rig.change(ACTIVATE), rig.lines
        line = rig.wait_for_line("go_to_start -> hold")
        assert "LIVE_CHECK: joint_position: FR_hip_joint moved by" in line
        assert "a motor without power" in line
        rig.wait_for_line("hold -> damp")
        assert not any("-> active" in each for each in rig.lines)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"live_check": False, "check_on_stand": True}, "check_on_stand: judges nothing without live_check"),
        ({"live_check": False, "check_on_feet": True}, "check_on_feet: judges nothing without live_check"),
        ({"check_on_feet": True}, "leans: which joints lean the robot forward is not known; its robot_config says so"),
        ({"check_on_stand": True, "start_speed": 0.0}, "check_on_stand: only joints that take positions"),
        ({"rest_gravity": [0.0, 0.0]}, "rest_gravity must be a direction of three numbers"),
    ],
)
def test_what_makes_no_sense_is_refused_at_configure(domain, given, reason):
    bundle = Zoo.shipped().bundle("a1_velocity")
    with AgentRig(bundle, domain, namespace="", **given) as rig:
        assert not rig.change(CONFIGURE)
        assert reason in rig.wait_for_line("configure failed")


def test_a_check_that_was_passed_is_told_with_the_change_of_mode():
    lines = []
    log = EventLog(SimpleNamespace(info=lines.append, warning=lines.append))
    zeros = np.zeros(1, dtype=np.float32)
    for mode, detail in ((Mode.GO_TO_START, ""), (Mode.INACTIVE, "check on a stand passed: 12 joints")):
        log.add(Command(command=zeros, action=zeros, raw_action=zeros, mode=mode, detail=detail), "", 0.0)
    assert lines == ["inactive -> go_to_start", "go_to_start -> inactive: check on a stand passed: 12 joints"]
