"""Joints that mimic another: in the drive's arithmetic, through the import, and in both engines."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imported_robots import arm, run_import, written

from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec, JointLimits
from robot_wm_sim.drive import CommandDrive
from robot_wm_sim.robot import Joint, Mimic, Robot
from robot_wm_sim.scene import Scene

PERIOD_S = 0.05
GRIP = ActionSpec(mode="position", joints=("left_finger",), unit="m")


def gripper(description, **mimic) -> Robot:
    drives = {"kp": 4000.0, "kd": 120.0, "limits": JointLimits(position=(0.0, 0.04), velocity=0.2, effort=200.0)}
    return Robot(
        name="grip",
        description=description,
        joints=(
            Joint(name="left_finger", **drives),
            Joint(name="right_finger", mimics=Mimic(joint="left_finger", **mimic), **drives),
        ),
        firmware="grip",
        fixed_base=True,
        gravity_compensation=True,
    )


def described(tmp_path, mimic='<mimic joint="left_finger"/>'):
    text = [part.replace('<mimic joint="left_finger"/>', mimic) for part in arm()]
    return written(tmp_path, text)


@given(
    where=st.lists(st.floats(0.0, 0.04), min_size=2, max_size=2),
    multiplier=st.floats(-2, 2),
    offset=st.floats(-0.02, 0.02),
)
def test_a_follower_s_set_point_is_where_its_leader_is_measured_and_moves_as_that_moved(where, multiplier, offset):
    commands = CommandDrive(gripper("none.urdf", multiplier=multiplier, offset=offset), GRIP, period_s=PERIOD_S)
    first, second = (np.clip(multiplier * place + offset, 0.0, 0.04) for place in where)
    commands.reset(np.array([where[0], 0.0]))
    assert commands.drive.position[1] == pytest.approx(first)
    assert commands.drive.velocity[1] == 0.0
    drive = commands.update(np.array([0.01]), np.array([where[1], 0.03]))
    assert drive.position[0] == 0.01  # the command is the leader's
    assert drive.position[1] == pytest.approx(second)
    end = np.clip(multiplier * (2 * where[1] - where[0]) + offset, 0.0, 0.04)
    assert drive.position[1] + PERIOD_S * drive.velocity[1] == pytest.approx(end, abs=1e-9)


def test_one_that_is_commanded_itself_does_as_told():
    both = ActionSpec(mode="position", joints=("left_finger", "right_finger"), unit="m")
    commands = CommandDrive(gripper("none.urdf"), both, period_s=PERIOD_S)
    commands.reset(np.zeros(2))
    assert commands.update(np.array([0.01, 0.03]), np.zeros(2)).position.tolist() == [0.01, 0.03]


def test_both_engines_hold_it_while_the_leader_moves(tmp_path, build_sim):
    robot = gripper(described(tmp_path), multiplier=-0.5, offset=0.03)
    sim = build_sim(Scene(robot=robot, physics_rate_hz=500.0, ground=False))
    commands = CommandDrive(robot, GRIP, period_s=PERIOD_S)
    sim.place(joint_position=np.array([0.0, 0.03]))
    commands.reset(sim.state.joint_position)
    led, errors = [], []
    for tick in range(80):
        told = np.array([0.02 - 0.02 * np.cos(2 * np.pi * tick / 40)])
        sim.run(commands.update(told, sim.state.joint_position), 25)
        leader, follower = sim.state.joint_position
        led.append(leader)
        errors.append(abs(follower - (0.03 - 0.5 * leader)))
    assert np.ptp(led) > 0.03  # m
    assert max(errors) < 0.002


def imported(tmp_path, mimic, *arguments):
    code = run_import(described(tmp_path, mimic), *arguments, "--out", tmp_path / "out")
    return code, (tmp_path / "out/src/bot/robot.py").read_text() if code == 0 else ""


def test_the_import_writes_what_it_follows_and_where_that_puts_it_at_home(tmp_path):
    code, text = imported(tmp_path, '<mimic joint="left_finger" multiplier="-0.5" offset="0.03"/>')
    assert code == 0
    finger = text.split('name="right_finger"')[1]
    assert 'mimics=Mimic(joint="left_finger", multiplier=-0.5, offset=0.03)' in finger
    assert re.search(r"home=0\.03,", finger)
    assert "import Joint, Mimic, Robot" in text


def test_a_chain_of_mimics_is_one_of_the_joint_at_its_end(tmp_path):
    """elbow = 0.5 * (2 * pan + 0.5) + 0.75 = pan + 1"""
    parts = [
        part.replace("</joint>", '<mimic joint="lift" multiplier="0.5" offset="0.75"/></joint>')
        if 'name="elbow"' in part
        else part.replace("</joint>", '<mimic joint="pan" multiplier="2" offset="0.5"/></joint>')
        if 'name="lift"' in part
        else part
        for part in arm()
    ]
    assert run_import(written(tmp_path, parts), "--kind", "empty", "--out", tmp_path / "out") == 0
    text = (tmp_path / "out/src/bot/robot.py").read_text()
    assert 'mimics=Mimic(joint="pan", multiplier=1.0, offset=1.0)' in text.split('name="elbow"')[1].split("Joint(")[0]


@pytest.mark.parametrize(
    ("mimic", "said"),
    [
        (
            '<mimic joint="left_finger" multiplier="half"/>',
            "joint right_finger: <mimic multiplier> is 'half', no finite",
        ),
        ('<mimic joint="left_finger" offset="inf"/>', "joint right_finger: <mimic offset> is 'inf', no finite number"),
        ('<mimic joint="left_finger" offset="0.1"/>', "which puts it at 0.1 m at home; its limits are 0 to 0.04 m"),
    ],
)
def test_what_cannot_be_followed_is_told_with_the_joint(tmp_path, capsys, mimic, said):
    assert imported(tmp_path, mimic)[0] == 2
    assert said in capsys.readouterr().err


def test_what_mimics_a_joint_that_nothing_drives_is_driven_by_nothing(tmp_path, capsys):
    assert imported(tmp_path, '<mimic joint="left_finger"/>', "--passive", "left_finger")[0] == 0
    told = capsys.readouterr().err
    assert "joint right_finger: moves freely, nothing drives it" in told
    assert "which it follows" not in told


def test_a_robot_without_the_joint_that_is_mimicked_is_refused(tmp_path):
    robot = gripper(described(tmp_path))
    alone = Robot(name="grip", description=robot.description, joints=robot.joints[1:], firmware="grip")
    with pytest.raises(UserError, match="right_finger mimics 'left_finger', which is not its joint"):
        alone.require_joints({"left_finger", "right_finger"})
