"""The controllers.yaml of the page "From zero to ros2 launch": read by our import, with a time-out that counts."""

from __future__ import annotations

import json

import pytest
import yaml
from imported_robots import arm, run_import, written
from shown import pages

from robot_wm_sim.importing.ros2_control import read_controllers

PAGE = "ros2_ws/src/robot_wm/README.md"


@pytest.fixture
def controllers(tmp_path):
    """The file as the page has it."""
    section = pages()[PAGE].split("## From zero to `ros2 launch`")[1].split("\n## ")[0]
    (text,) = (part.split("```")[0] for part in section.split("```yaml\n")[1:])
    path = tmp_path / "controllers.yaml"
    path.write_text(text)
    return path


def test_an_arm_is_imported_with_it_as_the_page_says(tmp_path, controllers, capsys):
    arguments = ("--name", "my_robot", "--controllers", controllers, "--out", tmp_path / "my_robot", "--json")
    assert run_import(written(tmp_path, arm()), *arguments) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["task"], result["commands"], result["by"]) == (
        "my_robot_reach", "pan, lift, elbow", "position, 20 Hz",
    )  # fmt: skip
    assert "controller forward_effort_controller (forward_command_controller/ForwardCommandController)" in shown.err
    found = read_controllers(controllers, "forward_effort_controller")
    assert (found.joints, found.interface, found.has_velocities) == (("left_finger",), "effort", True)


def test_every_controller_has_its_parameters_and_the_time_out_counts(controllers):
    body = yaml.safe_load(controllers.read_text())
    manager = body.pop("controller_manager")["ros__parameters"]
    assert set(manager) - {"update_rate"} == set(body)
    trajectory = body["joint_trajectory_controller"]["ros__parameters"]
    assert trajectory["cmd_timeout"] > trajectory["constraints"]["goal_time"]
    assert set(trajectory["command_interfaces"]) <= set(trajectory["state_interfaces"])
    told = body["joint_state_broadcaster"]["ros__parameters"]["joints"]
    assert set(trajectory["joints"]) < set(told)
