"""The launch files and their parameter files, by their text."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.exceptions import ParameterUninitializedException
from rclpy.node import Node
from rclpy.parameter import Parameter

from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.render import render_all
from robot_wm.firmware.shipped import known
from robot_wm_ros import parameters
from robot_wm_ros.hil.probe import Probe
from robot_wm_ros.sim_parameters import SimParameters

PACKAGE = Path(__file__).resolve().parents[2] / "ros2_ws/src/robot_wm"
ARGUMENTS = {
    "agent": {"params_file", "base_params_file", "namespace", "use_sim_time", "autostart", "bundle", "planner",
              "engine", "precision", "record", "public_key", "allow_unsigned", "robot_config", "security", "log_level",
              "guardian", "controller", "command_type", "joint_states_topic", "imu_topic", "odom_topic",
              "cmd_vel_topic", "estop_topic", "remap", "planner_budget_ms", "planner_simulations"},
    "hil": {"params_file", "base_params_file", "namespace", "autostart", "bundle", "planner", "engine", "precision",
            "record", "public_key", "allow_unsigned", "robot_config", "guardian", "task", "faults", "seconds", "out",
            "planner_budget_ms", "planner_simulations"},
}  # fmt: skip


def tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / f"launch/{name}.launch.py").read_text())


def calls(module: ast.Module, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def constant(module: ast.Module, name: str) -> Any:
    (value,) = (n.value for n in module.body if isinstance(n, ast.Assign) and n.targets[0].id == name)
    return ast.literal_eval(value)


def declared_arguments(module: ast.Module) -> set[str]:
    """Names of all launch arguments, those of loops over constants and tuples too."""
    names: set[str] = set()
    for call in calls(module, "DeclareLaunchArgument"):
        if isinstance(call.args[0], ast.Constant):
            names.add(call.args[0].value)
    for loop in (n for n in ast.walk(module) if isinstance(n, ast.GeneratorExp)):
        if any(loop.elt is call for call in calls(module, "DeclareLaunchArgument")):
            source = loop.generators[0].iter
            is_dict = isinstance(source, ast.Call)  # CONSTANT.items()
            names |= set(constant(module, source.func.value.id) if is_dict else ast.literal_eval(source))
    return names


def parameters_of(node: Node) -> dict[str, Any]:
    """Every parameter that the node declared, and its value; None for an array without one."""
    found = {}
    for name in node.get_parameters_by_prefix(""):
        try:
            found[name] = node.get_parameter(name).value
        except ParameterUninitializedException:
            found[name] = None
    return found


@pytest.fixture
def context(domain) -> Iterator[None]:
    rclpy.init(args=["--ros-args", "-p", "hil_probe:rate_hz:=50.0"])  # without a bundle it must be given one
    yield
    rclpy.try_shutdown()


@pytest.fixture
def agent_parameters(context) -> dict[str, Any]:
    node = Node("agent")
    of_any_node = parameters_of(node).keys()
    parameters.declare_all(node)
    return {name: value for name, value in parameters_of(node).items() if name not in of_any_node}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_arguments_are_those_that_are_promised(name):
    assert declared_arguments(tree(name)) == ARGUMENTS[name]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_launch_file_needs_only_ros(name):
    # `ros2` runs in the system's Python, which may know nothing of the node's own.
    modules = {
        (n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).split(".")[0]
        for n in ast.walk(tree(name))
        if isinstance(n, (ast.Import, ast.ImportFrom))
    }
    assert modules <= {"__future__", "os", "re", "launch", "launch_ros", "lifecycle_msgs"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_executables_are_there(name):
    wanted = {
        keyword.value.value
        for call in calls(tree(name), "Node", "LifecycleNode")
        for keyword in call.keywords
        if keyword.arg == "executable"
    }
    assert wanted
    for executable in wanted:
        assert os.access(PACKAGE / "scripts" / executable, os.X_OK)


def test_what_the_launch_file_overrides_has_the_parameters_type(agent_parameters):
    for name in constant(tree("agent"), "OVERRIDES"):
        assert isinstance(agent_parameters[name], str), name
    whole = constant(tree("agent"), "WHOLE")
    for name in constant(tree("agent"), "NUMBERS"):
        assert type(agent_parameters[name]) is (int if name in whole else float), name
    assert set(constant(tree("hil"), "FOR_THE_AGENT")) <= ARGUMENTS["agent"]


def test_agent_yaml_has_every_parameter_with_its_default(agent_parameters):
    text = (PACKAGE / "config/agent.yaml").read_text()
    given = yaml.safe_load(text)["/**/agent"]["ros__parameters"]
    for name, value in given.items():
        assert (type(value), value) == (type(agent_parameters[name]), agent_parameters[name]), name
    # An empty list has no type, so what defaults to one is there as a comment.
    commented = set(re.findall(r"^    # (\w+): \[", text, re.M))
    assert commented == {name for name, value in agent_parameters.items() if value is None}
    assert set(given) | commented == set(agent_parameters)


def test_every_value_has_a_comment_with_its_meaning():
    for name in ("agent.yaml", "hil.yaml"):
        for line in (PACKAGE / "config" / name).read_text().splitlines():
            if re.match(r"^    \w", line):
                assert "#" in line, line


def test_hil_yaml_gives_parameters_that_the_nodes_have(agent_parameters):
    robot = Node("sim_robot", parameter_overrides=[Parameter("task", value="cartpole_balance")])
    SimParameters.declare(robot)
    probe = Probe()
    declared = {
        "/**/agent": agent_parameters,
        "/**/sim_robot": parameters_of(robot),
        "/**/hil_probe": parameters_of(probe.node),
    }
    given = yaml.safe_load((PACKAGE / "config/hil.yaml").read_text())
    assert set(given) == set(declared)
    for node, body in given.items():
        for name, value in body["ros__parameters"].items():
            assert type(value) is type(declared[node][name]), f"{node} {name}"
    assert given["/**/agent"]["ros__parameters"]["trace"]
    assert given["/**/sim_robot"]["ros__parameters"]["trace"]


@pytest.mark.parametrize("board", known("boards"))
@pytest.mark.parametrize("robot", ["a1", "cartpole", "panda"])
def test_what_is_rendered_for_a_robot_are_parameters_that_the_node_takes(agent_parameters, robot, board):
    files = {file.name: file.text for file in render_all(load_robot(robot), load_board(board))}
    given = yaml.safe_load(files["agent.yaml"])["/**/agent"]["ros__parameters"]
    for name, value in given.items():
        assert type(value) is type([] if agent_parameters[name] is None else agent_parameters[name]), name
    arrays = {name: () for name, value in agent_parameters.items() if value is None}
    taken = parameters.AgentParameters.of(agent_parameters | arrays | given)
    assert taken.public_key
    assert not taken.allow_unsigned
    assert taken.precision == load_board(board).engine.precision
    assert "autostart:=configure" in files["start-agent"].split()


@pytest.fixture
def numbers() -> Callable[..., dict[str, float]]:
    """The launch file's own function of that name, where no `ros2 launch` is: ``numbers(argument="text")``."""
    module = tree("agent")
    wanted = [n for n in module.body if getattr(n, "name", "") == "numbers"]
    wanted += [n for n in module.body if isinstance(n, ast.Assign) and n.targets[0].id in ("NUMBERS", "WHOLE")]
    for node in wanted:
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            node.args.args[0].annotation = None
    given: dict[str, str] = {}
    scope = {"LaunchConfiguration": lambda name: SimpleNamespace(perform=lambda _: given.get(name, ""))}
    exec(compile(ast.Module(wanted, []), "agent.launch.py", "exec"), scope)

    def ask(**arguments: str) -> dict[str, float]:
        given.update(arguments)
        return scope["numbers"](None)

    return ask


def test_numbers_reach_the_node_as_numbers_of_its_type(numbers):
    assert numbers() == {}
    found = numbers(planner_budget_ms="4", planner_simulations="16")
    assert [(name, type(value), value) for name, value in found.items()] == [
        ("planner_budget_ms", float, 4.0),
        ("planner_simulations", int, 16),
    ]


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        ({"planner_budget_ms": "fast"}, "planner_budget_ms:=fast is no number"),
        ({"planner_simulations": "1.5"}, "planner_simulations:=1.5 is no whole number"),
    ],
)
def test_what_is_no_number_is_told_at_once(numbers, arguments, naming):
    with pytest.raises(RuntimeError, match=naming):
        numbers(**arguments)
