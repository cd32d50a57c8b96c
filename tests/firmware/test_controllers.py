"""controllers.yaml: a controller that stops by itself where there is one, and plain words where there is none."""

import pytest
import yaml

from robot_wm.errors import UserError
from robot_wm.firmware.controllers import controller_of, render_controllers
from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.mcu_header import render_mcu_header
from robot_wm.firmware.render import render_all
from robot_wm.firmware.shipped import known

OPEN_LOOP = {"humble": "open_loop_control", "jazzy": "interpolate_from_desired_state"}


def rendered(robot, board="x86", spec=None):
    (file,) = render_controllers(robot, load_board(board), controller_of(robot, spec))
    return file.text, yaml.safe_load(file.text)


@pytest.mark.parametrize("name", known("robots"))
def test_the_agent_commands_the_controller_that_is_loaded_joint_by_joint(name):
    files = {file.name: file.text for file in render_all(load_robot(name), load_board("x86"))}
    agent = yaml.safe_load(files["agent.yaml"])["/**/agent"]["ros__parameters"]
    controllers = yaml.safe_load(files["controllers.yaml"])
    assert set(controllers) == {"controller_manager", agent["controller"]}
    kind = controllers["controller_manager"]["ros__parameters"][agent["controller"]]["type"]
    is_trajectory = agent["command_type"] == "joint_trajectory"
    assert kind.endswith("JointTrajectoryController" if is_trajectory else "ForwardCommandController")
    assert controllers[agent["controller"]]["ros__parameters"]["joints"] == agent["controller_joints"]


@pytest.mark.parametrize("board", ["orin-nx", "x86"])
@pytest.mark.parametrize("name", [name for name in known("robots") if load_robot(name).action_mode == "position"])
def test_a_position_controller_holds_once_the_robot_s_command_timeout_is_over(name, board):
    robot = load_robot(name)
    _, controllers = rendered(robot, board)
    given = controllers["joint_trajectory_controller"]["ros__parameters"]
    # Counted from the end of a command's trajectory, a control period after its start; ignored unless above goal_time.
    assert given["cmd_timeout"] + 1.0 / robot.control_rate_hz == pytest.approx(robot.command_timeout_s)
    assert given["cmd_timeout"] > given["constraints"]["goal_time"]
    assert given[OPEN_LOOP[load_board(board).ros_distro]] is True
    assert given["command_interfaces"] == ["position"]


@pytest.mark.parametrize("name", known("robots"))
def test_it_says_who_stops_the_robot(name):
    robot = load_robot(name)
    text, _ = rendered(robot)
    assert ("repeats its last command for ever" in text) == (robot.action_mode != "position")
    assert ("engage the brakes" in text) == (robot.when_stopped == "hold_and_brake")
    assert ("brake with kd alone" in text) == (robot.when_stopped == "damp")
    assert f"{robot.command_timeout_s:g} s after the last command" in text
    header = render_mcu_header(robot, None)[0].text
    assert f"#define ROBOT_WM_HOLD_AND_BRAKE {int(robot.when_stopped == 'hold_and_brake')} " in header


def test_the_joints_are_the_bundle_s_in_its_order(specs):
    for name, spec in specs.items():
        assert controller_of(load_robot(name), spec).joints == spec.action.joints
    assert controller_of(load_robot("racecar"), None).joints == ("drive", "steering")


def test_an_arm_that_bears_its_own_weight_is_not_let_go():
    assert {name for name in known("robots") if load_robot(name).when_stopped == "hold_and_brake"} == {
        "panda",
        "arm_dynamixel",
    }


def test_a_timeout_within_a_control_period_is_refused(a1):
    with pytest.raises(UserError, match=r"command_timeout_s 0\.02 s is not longer than a control period, 0\.02 s"):
        controller_of(a1.model_copy(update={"command_timeout_s": 0.02}), None)
