"""Run an agent on a robot: the lifecycle node, brought up as far as it is asked to be.

    ros2 launch robot_wm agent.launch.py bundle:=/var/lib/robot_wm/bundles/current

An argument that is left empty is what the parameter file says; what that file leaves out is what config/agent.yaml
says. This file imports ROS only: ``ros2`` may run in another Python than the node. SIGINT (Ctrl-C) stops the node,
which damps the robot before it goes. The node is never respawned, and activated once at the most: a robot that stopped
for a reason, and one whose agent somebody configures by hand, do not start to move by themselves.
"""

from __future__ import annotations

import os
import re

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

from launch import LaunchContext, LaunchDescription

# Launch arguments that are parameters of the node: name -> what it is.
OVERRIDES = {
    "bundle": "path of the agent's bundle: a folder agent.rwm, an agent.rwm.zip, or the link `current` of the store",
    "public_key": "PEM Ed25519 public key that must have signed the bundle",
    "robot_config": "name or path of the robot's firmware YAML that the bundle must fit",
    "engine": "what computes the policy: onnx (CPU) or tensorrt (GPU)",
    "precision": "of the policy's graph: fp32, fp16 or int8",
    "planner": "what looks ahead before acting: none, the bundle's kind (dreamer, muzero), or auto",
    "record": "folder for a recording of every tick (MCAP)",
    "controller": "commands go to <controller>/commands or .../joint_trajectory",
    "command_type": "message of a command: float64_multi_array, joint_trajectory, or another distribution's",
}

# Those that are numbers, and which of these are whole.
NUMBERS = {
    "planner_budget_ms": "ms of one search; 0: what the planner was exported for",
    "planner_simulations": "of a planner that is a tree, which must be what it was exported with",
}
WHOLE = ("planner_simulations",)

# Launch arguments that name a topic: argument -> what the agent calls it.
TOPICS = {
    "joint_states_topic": ("joint_states",),
    "imu_topic": ("imu/data", "imu", "imu/data_raw"),
    "odom_topic": ("odom", "odometry"),
    "cmd_vel_topic": ("cmd_vel",),
    "estop_topic": ("estop",),
}
_NAME = re.compile(r"[~/]?[A-Za-z_{][\w/{}]*")


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what depends on their values."""
    default_file = PathJoinSubstitution([FindPackageShare("robot_wm"), "config", "agent.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file", default_value="", description="parameters of the node, laid over base_params_file"
            ),
            DeclareLaunchArgument(
                "base_params_file", default_value=default_file, description="what params_file is laid over"
            ),
            DeclareLaunchArgument("namespace", default_value="", description="of the node and all its topics"),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="take the time from /clock"),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="true: configure and activate, the robot begins to move; configure: no more than that;"
                " false: nothing (ros2 lifecycle set)",
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
            DeclareLaunchArgument(
                "security",
                default_value="false",
                description="SROS 2: false; true (enclave <namespace>/agent); or the name of an enclave, such as"
                " /robot/agent. Keys: ROS_SECURITY_KEYSTORE",
            ),
            DeclareLaunchArgument(
                "allow_unsigned",
                default_value="",
                description="true: run a bundle without a public_key; never on a robot",
            ),
            DeclareLaunchArgument(
                "guardian",
                default_value="true",
                description="true: beside the agent a process that damps the robot when the agent hangs; false:"
                " somebody else starts it, or nobody",
            ),
            *(DeclareLaunchArgument(name, default_value="", description=text) for name, text in OVERRIDES.items()),
            *(DeclareLaunchArgument(name, default_value="", description=text) for name, text in NUMBERS.items()),
            *(
                DeclareLaunchArgument(
                    name, default_value="", description=f"the robot's topic for {names[0]}; empty: in the namespace"
                )
                for name, names in TOPICS.items()
            ),
            DeclareLaunchArgument(
                "remap",
                default_value="",
                description="other names of topics and services, from:=to with blanks between, such as"
                " 'target_pose:=/goal camera/image_raw:=/front/image'",
            ),
            OpaqueFunction(function=bring_up),
        ]
    )


def bring_up(context: LaunchContext) -> list:
    """The node, and what brings it to life."""
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    given = {name: value for name, value in given.items() if value}
    given |= numbers(context)
    use_sim_time = is_true(LaunchConfiguration("use_sim_time").perform(context))
    if allow_unsigned := LaunchConfiguration("allow_unsigned").perform(context):
        given["allow_unsigned"] = is_true(allow_unsigned)
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    full_name = "/" + "/".join(part for part in (namespace, "agent") if part)
    remappings = renamed(context)
    environment, enclave = security(LaunchConfiguration("security").perform(context), full_name)
    node = LifecycleNode(
        package="robot_wm",
        executable="agent",
        name="agent",
        namespace=namespace,
        parameters=[*parameter_files(context), {"use_sim_time": use_sim_time, **given}],
        remappings=remappings,
        ros_arguments=["--log-level", LaunchConfiguration("log_level"), *enclave],
        output="both",
        emulate_tty=True,
        respawn=False,
    )
    if given.get("bundle") and not os.path.exists(given["bundle"]):
        raise RuntimeError(f"bundle:={given['bundle']}: no such file or folder")
    autostart = LaunchConfiguration("autostart").perform(context).lower()
    if autostart not in ("true", "configure", "false"):
        raise RuntimeError(f"autostart:={autostart} is not true, configure or false")
    guardian = Node(
        package="robot_wm",
        executable="guardian",
        name="guardian",
        namespace=namespace,
        remappings=remappings,  # it says the agent's e-stop and commands in its place
        output="both",
        respawn=True,  # unlike an agent it moves nothing by itself
        respawn_delay=1.0,
    )
    has_guardian = is_true(LaunchConfiguration("guardian").perform(context))
    configure = Transition.TRANSITION_CONFIGURE
    return [
        *environment,
        ends_with(node, "the agent"),
        *activated_once(node, full_name, wanted=autostart == "true"),
        on_failure(node, "configuring", "unconfigured", f"ros2 lifecycle set {full_name} configure"),
        on_failure(node, "activating", "inactive", f"ros2 lifecycle set {full_name} activate"),
        *([guardian] if has_guardian else []),
        node,
        *([EmitEvent(event=change(node, configure))] if autostart != "false" else []),
    ]


def numbers(context: LaunchContext) -> dict[str, float]:
    """The arguments that are numbers, of those that were given; RuntimeError for what is none."""
    given: dict[str, float] = {}
    for name in NUMBERS:
        if text := LaunchConfiguration(name).perform(context):
            try:
                given[name] = int(text) if name in WHOLE else float(text)
            except ValueError:
                raise RuntimeError(f"{name}:={text} is no {'whole ' if name in WHOLE else ''}number") from None
    return given


def renamed(context: LaunchContext) -> list[tuple[str, str]]:
    """What the agent calls a topic, and what the robot does; RuntimeError for what is no name."""
    pairs = []
    for argument, names in TOPICS.items():
        if wanted := LaunchConfiguration(argument).perform(context):
            pairs += [(argument, name, wanted) for name in names]
    for item in LaunchConfiguration("remap").perform(context).split():
        name, _, wanted = item.partition(":=")
        pairs.append((f"remap:={name}", name, wanted))
    for argument, name, wanted in pairs:
        if not (_NAME.fullmatch(name) and _NAME.fullmatch(wanted)):
            raise RuntimeError(f"{argument}:={wanted}: a topic is named by letters, digits, _ and /")
    return [(name, wanted) for _, name, wanted in pairs]


def parameter_files(context: LaunchContext) -> list[str]:
    """Paths, the later ones laid over the earlier; RuntimeError for one that is not there."""
    names = ("base_params_file", "params_file")
    files = [(name, LaunchConfiguration(name).perform(context)) for name in names]
    for name, path in files:
        if path and not os.path.isfile(path):
            raise RuntimeError(f"{name}:={path}: no such file")
    return [path for _, path in files if path]


def activated_once(node: LifecycleNode, full_name: str, *, wanted: bool) -> list[RegisterEventHandler]:
    """Activate ``node`` when this launch's own configure has succeeded, and never again: all else is asked by hand."""
    is_due = wanted

    def configured(_: LaunchContext) -> list:
        nonlocal is_due
        activation = [EmitEvent(event=change(node, Transition.TRANSITION_ACTIVATE))] if is_due else []
        is_due = False
        return [LogInfo(msg=f"{full_name} is configured"), *activation]

    def failed(_: LaunchContext) -> None:
        nonlocal is_due
        is_due = False

    return [
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                goal_state=goal,
                start_state="configuring" if goal == "inactive" else None,
                entities=[OpaqueFunction(function=then)],
            )
        )
        for goal, then in (("inactive", configured), ("unconfigured", failed))
    ]


def is_true(text: str) -> bool:
    """A launch argument as a yes or no; RuntimeError for neither."""
    if text.lower() not in ("true", "1", "false", "0"):
        raise RuntimeError(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "1")


def security(wanted: str, full_name: str) -> tuple[list, list[str]]:
    """Environment and ROS arguments of a node that talks to nobody without a key (SROS 2), or none."""
    if wanted.lower() in ("false", "0", ""):
        return [], []
    keystore = os.environ.get("ROS_SECURITY_KEYSTORE", "")
    if not os.path.isdir(keystore):
        raise RuntimeError(
            f"security:={wanted} needs ROS_SECURITY_KEYSTORE, the folder of the keys; it is {keystore!r}"
        )
    enclave = full_name if wanted.lower() in ("true", "1") else wanted
    if not os.path.isdir(os.path.join(keystore, "enclaves", enclave.strip("/"))):
        raise RuntimeError(f"{keystore} has no enclave {enclave}: ros2 security create_enclave {keystore} {enclave}")
    # For this process, too: it has to reach the node's services.
    environment = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}
    return [SetEnvironmentVariable(name, value) for name, value in environment.items()], ["--enclave", enclave]


def change(node: LifecycleNode, transition: int) -> ChangeState:
    """The request for a transition of ``node``."""
    return ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)


def on_failure(node: LifecycleNode, start: str, goal: str, command: str) -> RegisterEventHandler:
    """Say that a transition failed, and how to try again."""
    text = f"{start} failed: the agent's last error says why. Once that is mended: {command}"
    return RegisterEventHandler(
        OnStateTransition(target_lifecycle_node=node, start_state=start, goal_state=goal, entities=[LogInfo(msg=text)])
    )


def ends_with(node: LifecycleNode, what: str) -> RegisterEventHandler:
    """Once ``node`` has ended there is nothing left to do; whoever supervises this launch sees how it ended."""

    def end(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
        if context.is_shutdown:  # everything ends anyway; launch would stumble over a second request
            return None
        if event.returncode:
            raise RuntimeError(f"{what} has ended with exit code {event.returncode}")  # ends the launch, exit code 1
        return Shutdown(reason=f"{what} has ended")

    return RegisterEventHandler(OnProcessExit(target_action=node, on_exit=end))
