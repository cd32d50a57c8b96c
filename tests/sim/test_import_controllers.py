"""controllers.yaml: order, interface and rate of what commands the robot, as ros2_control has them."""

from __future__ import annotations

import json

import pytest
from imported_robots import arm, car, run_import, written

from robot_wm.errors import UserError
from robot_wm_sim.importing.rates import control_rate_hz
from robot_wm_sim.importing.ros2_control import read_controllers

YAML = """
controller_manager:
  ros__parameters:
    update_rate: 125
    joint_state_broadcaster: {type: joint_state_broadcaster/JointStateBroadcaster}
    gripper_controller: {type: forward_command_controller/ForwardCommandController}
    arm_controller: {type: joint_trajectory_controller/JointTrajectoryController}
    diff: {type: diff_drive_controller/DiffDriveController}
diff:
  ros__parameters: {left_wheel_names: [l], right_wheel_names: [r], wheel_radius: 0.1, wheel_separation: 0.4}
gripper_controller:
  ros__parameters: {joints: [left_finger], interface_name: effort}
arm_controller:
  ros__parameters:
    joints: [elbow, pan, lift]
    command_interfaces: [position, velocity]
    state_interfaces: [position, velocity]
"""


@pytest.fixture
def controllers(tmp_path):
    """``controllers(text)``: the path of a file."""

    def write(text: str = YAML):
        path = tmp_path / "controllers.yaml"
        path.write_text(text)
        return path

    return write


def test_the_agent_commands_by_the_controller_with_most_joints(controllers):
    found = read_controllers(controllers())
    assert (found.controller, found.joints, found.interface) == ("arm_controller", ("elbow", "pan", "lift"), "position")
    assert found.update_rate_hz == 125.0
    assert found.has_velocities
    assert found.passed_over == (
        "gripper_controller (forward_command_controller/ForwardCommandController)",
        "diff (diff_drive_controller/DiffDriveController)",
    )


def test_or_by_the_one_that_is_named(controllers):
    found = read_controllers(controllers(), "gripper_controller")
    assert (found.joints, found.interface) == (("left_finger",), "effort")
    with pytest.raises(UserError, match=r"--controller hand: .*yaml has gripper_controller, arm_controller, diff"):
        read_controllers(controllers(), "hand")


def test_namespaces_are_seen_through(controllers):
    text = "\n".join(f"  {line}" for line in YAML.splitlines())
    assert read_controllers(controllers(f"/**:{text}")).joints == ("elbow", "pan", "lift")
    named = YAML.replace("\ncontroller_manager:", "\n/left/controller_manager:")
    assert read_controllers(controllers(named)).update_rate_hz == 125.0


def test_a_group_controller_has_its_interface_in_its_name(controllers):
    text = YAML.replace(
        "joint_trajectory_controller/JointTrajectoryController", "velocity_controllers/JointGroupVelocityController"
    )
    assert read_controllers(controllers(text)).interface == "velocity"


BROADCASTER = "joint_state_broadcaster:\n  ros__parameters: {joints: JOINTS, interfaces: INTERFACES}\n"
BAD = {
    "no manager": ("a: 1", "no controller_manager with ros__parameters"),
    "no rate": (
        YAML.replace("update_rate: 125", "rate: 125"),
        "controller_manager.update_rate is None, Hz; 10 to 5000",
    ),
    "too slow": (YAML.replace("125", "1"), "controller_manager.update_rate is 1, Hz; 10 to 5000 are needed"),
    "nobody": (YAML.split("    gripper")[0], "no controller that takes joints' commands"),
    "no joints": (YAML.replace("joints: [elbow, pan, lift]", "joints: []"), "arm_controller.joints is []"),
    "twice": (YAML.replace("[elbow, pan, lift]", "[pan, pan]"), "arm_controller.joints is ['pan', 'pan']"),
    "text": (YAML.replace("[elbow, pan, lift]", "pan"), "arm_controller.joints is 'pan'; a list of names is needed"),
    "interface": (
        YAML.replace("[position, velocity]\n    state", "[force]\n    state"),
        "arm_controller.command_interfaces is 'force'",
    ),
    "untold": (
        YAML + BROADCASTER.replace("JOINTS", "[pan]").replace("INTERFACES", "[]"),
        "joint elbow is commanded by arm_controller, but no",
    ),
    "no position": (
        YAML + BROADCASTER.replace("JOINTS", "[]").replace("INTERFACES", "[velocity]"),
        "joint_state_broadcaster.interfaces is velocity",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_says_too_little_is_told_with_file_and_key(name, controllers):
    text, said = BAD[name]
    path = controllers(text)
    with pytest.raises(UserError) as caught:
        read_controllers(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "update_hz", "rate_hz"),
    [
        ("arm", None, 20.0),
        ("legged", None, 50.0),
        ("arm", 100.0, 20.0),
        ("arm", 150.0, 15.0),
        ("arm", 10.0, 10.0),
        ("legged", 200.0, 50.0),
        ("arm", 127.0, 127.0 / 7),  # no whole number of Hz divides 127
    ],
)
def test_the_managers_rate_is_a_whole_multiple_of_the_agents(kind, update_hz, rate_hz):
    assert control_rate_hz(kind, update_hz) == pytest.approx(rate_hz)


def test_order_interface_and_rate_reach_the_package(tmp_path, controllers, capsys):
    path = controllers(YAML.replace("125", "100"))
    assert run_import(written(tmp_path, arm()), "--controllers", path, "--out", tmp_path / "out", "--json") == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["commands"], result["by"]) == ("elbow, pan, lift", "position, 20 Hz")
    assert (
        "controller gripper_controller (forward_command_controller/ForwardCommandController): passed over" in shown.err
    )
    firmware = (tmp_path / "out/src/bot/firmware.yaml").read_text()
    assert "action_mode: position" in firmware


def test_speeds_that_nobody_publishes_are_not_observed(tmp_path, controllers):
    path = controllers(YAML + BROADCASTER.replace("JOINTS", "[]").replace("INTERFACES", "[position]"))
    assert run_import(written(tmp_path, arm()), "--controllers", path, "--out", tmp_path / "out") == 0
    assert "velocity_field" not in (tmp_path / "out/src/bot/task.py").read_text()


def test_a_joint_that_the_robot_lacks_is_named(tmp_path, controllers, capsys):
    path = controllers(YAML.replace("[elbow, pan, lift]", "[elbow, pan, wrist]"))
    assert run_import(written(tmp_path, arm()), "--controllers", path, "--out", tmp_path / "out") == 2
    assert "bot.urdf: no joint wrist, which arm_controller commands" in capsys.readouterr().err


def test_wheels_are_commanded_one_by_one_and_what_nobody_commands_rolls_freely(tmp_path, controllers, capsys):
    wheels = "[front_left_wheel, front_right_wheel]"
    text = YAML.replace("[left_finger], interface_name: effort", f"{wheels}, interface_name: velocity")
    arguments = (
        "--controllers",
        controllers(text),
        "--controller",
        "gripper_controller",
        "--effort",
        5,
        "--velocity",
        9,
    )
    assert run_import(written(tmp_path, car()), *arguments, "--out", tmp_path / "out", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["commands"] == "front_left_wheel, front_right_wheel"
    for name in ("back_left_wheel", "back_right_wheel", "caster"):
        assert f"joint {name}: moves freely" in shown.err


BASE = """
controller_manager:
  ros__parameters:
    update_rate: 100
    base: {type: diff_drive_controller/DiffDriveController}
base:
  ros__parameters:
    left_wheel_names: [front_left_wheel, back_left_wheel]
    right_wheel_names: [front_right_wheel, back_right_wheel]
    wheel_separation: 0.4
    wheel_radius: 0.1
"""


def test_a_diff_drive_makes_a_speed_of_each_side(tmp_path, controllers, capsys):
    arguments = (
        "--controllers",
        controllers(BASE),
        "--effort",
        5,
        "--velocity",
        9,
        "--out",
        tmp_path / "out",
        "--json",
    )
    assert run_import(written(tmp_path, car()), *arguments) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result["kind"] == "wheeled (by its base, a diff_drive_controller)"
    assert (result["commands"], result["by"]) == ("left_wheels, right_wheels", "velocity, 20 Hz")
    assert "on the robot: command_type twist_stamped, wheel_radius 0.1, wheel_separation 0.4" in shown.err
    assert "which is the robot's?" not in shown.err
    assert "joint caster: moves freely" in shown.err
    robot = (tmp_path / "out/src/bot/robot.py").read_text()
    assert robot.split('"left_wheels": (')[1].split(")")[0].split() == ['"front_left_wheel",', '"back_left_wheel",']


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("wheel_separation: 0.4", "wheel_separation: 0.8"),
            "wheel_separation is 0.8 m, but here the left wheels are 0.4",
        ),
        (("[front_left_wheel, back_left_wheel]", "[front_left_wheel]"), "as many names of joints on either side"),
        (("back_left_wheel]", "front_right_wheel]"), "as many names of joints on either side, each once, are needed"),
        (("wheel_radius: 0.1", "wheel_radius: 0"), "base.wheel_radius is 0, m; above 0 and below 100 is needed"),
        (("back_left_wheel", "rear_left_wheel"), "no joint rear_left_wheel, which base commands"),
    ],
)
def test_what_a_diff_drive_says_wrongly_is_told_in_a_line(tmp_path, controllers, capsys, change, said):
    path = controllers(BASE.replace(*change))
    arguments = ("--controllers", path, "--effort", 5, "--velocity", 9, "--out", tmp_path / "out")
    assert run_import(written(tmp_path, car()), *arguments) == (0 if "but here" in said else 2)
    assert said in capsys.readouterr().err


def test_a_base_whose_wheels_nothing_drives_is_told(tmp_path, controllers, capsys):
    passive = ("--passive", "back_left_wheel", "--effort", 5, "--velocity", 9)
    assert (
        run_import(written(tmp_path, car()), "--controllers", controllers(BASE), *passive, "--out", tmp_path / "o") == 2
    )
    assert (
        "joint back_left_wheel is a wheel of the diff_drive_controller, but no motor turns it"
        in capsys.readouterr().err
    )
