"""systemd units: the agent under real-time scheduling, stopped so that it can damp its robot first.

How a unit ends matters more than how it starts. `ros2 launch` forwards SIGINT to its nodes but not SIGTERM, hence
KillSignal=SIGINT; with KillMode=control-group the node would get it twice (from systemd and from launch), with
KillMode=process it would outlive a launch that was killed: mixed signals launch alone and kills what is left.
"""

from __future__ import annotations

from robot_wm.firmware import paths
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.controllers import Controller
from robot_wm.firmware.rendered import RenderedFile, fill_template
from robot_wm.firmware.robot_model import RobotConfig

# launch waits 5 s after SIGINT before it sends its nodes SIGTERM, and another 5 s before SIGKILL.
STOP_TIMEOUT_S = 15
# Distributions with Fast DDS 2, which reads its profiles' path from a variable that Fast DDS 3 complains about.
_FAST_DDS_2 = ("humble", "jazzy")


def render_systemd(robot: RobotConfig, board: BoardConfig, controller: Controller) -> list[RenderedFile]:
    """Units of agent and guardian, the scripts that they start, the agent's parameters and the CPUs' drop-in."""
    values = {
        "robot": robot,
        "board": board,
        "controller": controller,
        "paths": paths,
        "stop_timeout_s": STOP_TIMEOUT_S,
        "fastdds_2": board.ros_distro in _FAST_DDS_2,
    }
    rendered = [
        RenderedFile(
            paths.AGENT_UNIT,
            fill_template("agent.service", **values),
            f"/etc/systemd/system/{paths.AGENT_UNIT}",
            "starts the agent at boot, under SCHED_FIFO",
        ),
        RenderedFile(
            "start-agent",
            fill_template("start-agent.bash", is_guardian=False, **values),
            paths.START_AGENT,
            "sources ROS 2 and becomes ros2 launch",
            executable=True,
        ),
        RenderedFile(
            paths.GUARDIAN_UNIT,
            fill_template("guardian.service", **values),
            f"/etc/systemd/system/{paths.GUARDIAN_UNIT}",
            "damps the robot when the agent falls silent, hung or killed",
        ),
        RenderedFile(
            "start-guardian",
            fill_template("start-agent.bash", is_guardian=True, **values),
            paths.START_GUARDIAN,
            "sources ROS 2 and becomes the guardian",
            executable=True,
        ),
        RenderedFile(
            "agent.yaml",
            fill_template("agent.yaml", **values),
            paths.AGENT_PARAMETERS,
            "parameters of the agent node",
        ),
    ]
    if board.cpu.isolated:
        rendered.append(
            RenderedFile(
                "robot-wm-cpus.conf",
                fill_template("cpus.conf", **values),
                "/etc/systemd/system.conf.d/robot-wm-cpus.conf",
                "keeps every other service off the agent's CPUs",
            )
        )
    return rendered
