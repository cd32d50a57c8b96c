"""A kind of drive that another distribution brings: its robot is rendered as ours are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from foreign import install as install_foreign

from robot_wm.errors import UserError
from robot_wm.firmware.loading import load_board, load_robot, robot_yaml
from robot_wm.firmware.render import render_all

MODULE = """
from robot_wm.firmware.drives.kind import DriveKind


def render(robot, joints):
    return {"theirs.txt": "\\n".join(f"{joint.name} {joint.effort_current_a:g} A" for joint in joints)}


THEIRS = DriveKind(render, "give it to them", shares_ids=True)
"""
ENTRIES = (
    "theirs = theirdrives:THEIRS\nodd = theirdrives:render\nbroken = theirdrives:NOTHING\nvesc = theirdrives:THEIRS\n"
)


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``robot(drive_type)``: the robot of moteus drives with others, where that distribution is installed."""
    (tmp_path / "theirdrives.py").write_text(MODULE)
    install_foreign(tmp_path, "theirdrives", "3.1", {"robot_wm.drives": ENTRIES})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirdrives", raising=False)

    def make(drive_type: str):
        body = yaml.safe_load(robot_yaml(load_robot("quadruped_moteus"))) | {"drive_type": drive_type}
        for number, joint in enumerate(body["joints"].values()):
            joint["bus_id"] = 1 + number % 2  # theirs may share a number
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(body, sort_keys=False))
        return load_robot(path)

    return make


def test_their_files_are_rendered_beside_ours(robot):
    theirs = robot("theirs")
    files = {file.name: file for file in render_all(theirs, load_board("x86"))}
    lines = files["theirs.txt"].text.splitlines()
    assert [line.split()[0] for line in lines] == list(theirs.joints)
    joint = next(iter(theirs.joints.values()))
    amperes = joint.limits.effort / (joint.gear_ratio * joint.torque_constant_nm_per_a)
    assert float(lines[0].split()[1]) == pytest.approx(amperes, rel=1e-5)
    assert files["theirs.txt"].purpose == "settings of the theirs drives"
    assert "give it to them" in files["README.md"].text


@pytest.mark.parametrize(
    ("drive_type", "told"),
    [
        ("odd", "drive_type: robot_wm.drives 'odd' of theirdrives 3.1: theirdrives:render is .*, not a DriveKind"),
        ("broken", "drive_type: robot_wm.drives 'broken' of theirdrives 3.1 cannot be imported"),
        ("none", "'none' is no drive of the group robot_wm.drives; known: broken, closed, .*, theirs, vesc"),
        ("moteus", "joints.*bus_id: .* has number 1 on"),  # ours share none
    ],
)
def test_what_is_no_drive_is_refused_with_the_file_and_whose_it_is(robot, drive_type, told):
    with pytest.raises(UserError, match=rf"robot\.yaml: .*{told}"):
        robot(drive_type)


def test_ours_keep_their_names(robot):
    assert load_robot("racecar_vesc").drive_kind.render.__module__ == "robot_wm.firmware.drives.vesc"
