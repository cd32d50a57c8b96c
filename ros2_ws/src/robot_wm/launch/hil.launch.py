"""A simulated robot, the agent, and a probe that logs the latency between them, all on this computer.

    ros2 launch robot_wm hil.launch.py bundle:=agent.rwm task:=a1_velocity seconds:=60 out:=hil

The robot stands where its task starts until the agent is active; whatever starts first waits for the other.
For figures with a bare echo beside them, and for an agent on another computer: ``robot-wm hil``.
"""

from __future__ import annotations

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

# Arguments that are handed on to agent.launch.py as they are.
FOR_THE_AGENT = (
    "params_file",
    "base_params_file",
    "namespace",
    "bundle",
    "public_key",
    "allow_unsigned",
    "robot_config",
    "engine",
    "precision",
    "planner",
    "planner_budget_ms",
    "planner_simulations",
    "record",
    "autostart",
    "guardian",
)


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what depends on their values."""
    default_file = PathJoinSubstitution([FindPackageShare("robot_wm"), "config", "hil.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("bundle", description="path of the agent's bundle"),
            DeclareLaunchArgument("task", description="task whose robot is simulated, such as a1_velocity"),
            DeclareLaunchArgument(
                "params_file", default_value="", description="parameters of all nodes, laid over base_params_file"
            ),
            DeclareLaunchArgument(
                "base_params_file", default_value=default_file, description="what params_file is laid over"
            ),
            DeclareLaunchArgument("namespace", default_value="", description="of all nodes and topics"),
            DeclareLaunchArgument("faults", default_value="", description="path of a fault schedule (YAML)"),
            DeclareLaunchArgument("seconds", default_value="0.0", description="s to measure; 0: until Ctrl-C"),
            DeclareLaunchArgument("out", default_value="", description="folder for hil.json; empty: only the log"),
            DeclareLaunchArgument("autostart", default_value="true", description="activate the agent"),
            DeclareLaunchArgument("guardian", default_value="false", description="see agent.launch.py"),
            DeclareLaunchArgument(
                "allow_unsigned",
                default_value="true",
                description="run a bundle without a public_key: nothing can break",
            ),
            *(
                DeclareLaunchArgument(name, default_value="", description="see agent.launch.py")
                for name in (
                    "public_key",
                    "robot_config",
                    "engine",
                    "precision",
                    "planner",
                    "planner_budget_ms",
                    "planner_simulations",
                    "record",
                )
            ),
            OpaqueFunction(function=bring_up),
        ]
    )


def bring_up(context: LaunchContext) -> list:
    """Robot, probe and agent."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ("task", "faults", "bundle", "out")}
    seconds = ParameterValue(LaunchConfiguration("seconds"), value_type=float)
    common = {"package": "robot_wm", "namespace": LaunchConfiguration("namespace"), "output": "both"}
    names = ("base_params_file", "params_file")
    files = [path for path in (LaunchConfiguration(name).perform(context) for name in names) if path]
    robot = Node(
        executable="sim_robot",
        name="sim_robot",
        parameters=[*files, {name: values[name] for name in ("task", "faults") if values[name]}],
        **common,
    )
    probe = Node(
        executable="latency_probe",
        name="hil_probe",
        parameters=[*files, {"bundle": values["bundle"], "out": values["out"], "seconds": seconds}],
        **common,
    )
    agent = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("robot_wm"), "launch", "agent.launch.py"])
        ),
        launch_arguments=[(name, LaunchConfiguration(name)) for name in FOR_THE_AGENT],
    )
    return [ends_with(robot, "the simulated robot"), ends_with(probe, "the measurement"), robot, probe, agent]


def ends_with(node: Node, what: str) -> RegisterEventHandler:
    """Once ``node`` has ended there is nothing left to do; whoever supervises this launch sees how it ended."""

    def end(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
        if context.is_shutdown:  # everything ends anyway; launch would stumble over a second request
            return None
        if event.returncode:
            raise RuntimeError(f"{what} has ended with exit code {event.returncode}")  # ends the launch, exit code 1
        return Shutdown(reason=f"{what} has ended")

    return RegisterEventHandler(OnProcessExit(target_action=node, on_exit=end))
