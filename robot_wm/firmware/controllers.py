"""ros2_control: the controller that takes the agent's commands, with the time-out that stops it.

Position commands go to a JointTrajectoryController: its ``cmd_timeout`` (in Humble, Jazzy and Kilted) holds the joints
where they are once commands stay away. For velocities and efforts ros2_controllers has nothing that times out: a
forward_command_controller repeats its last command for ever, and only the hardware can stop it.
"""

from __future__ import annotations

from dataclasses import dataclass

from robot_wm.errors import UserError
from robot_wm.firmware import paths
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.rendered import RenderedFile, fill_template
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.spec import AgentSpec

_UPDATES_A_PERIOD = 4  # of the controller manager; our choice


@dataclass(frozen=True)
class Controller:
    """Who takes the agent's commands."""

    name: str
    command_type: str  # the agent's parameter of that name
    joints: tuple[str, ...]  # in the controller's order
    timeout_s: float | None  # after the end of a command, a control period, until it holds; None: never

    @property
    def times_out(self) -> bool:
        """Whether it stops by itself when commands stay away."""
        return self.timeout_s is not None


def controller_of(robot: RobotConfig, spec: AgentSpec | None) -> Controller:
    """The controller for a robot's agents; its joints are those of ``spec``, or all of the robot where it is None."""
    coupled = {name for members in robot.couplings.values() for name in members}
    joints = spec.action.joints if spec else (*(j for j in robot.joints if j not in coupled), *robot.couplings)
    if robot.action_mode != "position":
        return Controller(f"forward_{robot.action_mode}_controller", "float64_multi_array", tuple(joints), None)
    timeout_s = robot.command_timeout_s - 1.0 / robot.control_rate_hz
    if timeout_s <= 0.0:
        raise UserError(
            f"robot {robot.name}: command_timeout_s {robot.command_timeout_s:g} s is not longer than a control period,"
            f" {1.0 / robot.control_rate_hz:g} s"
        )
    return Controller("joint_trajectory_controller", "joint_trajectory", tuple(joints), timeout_s)


def render_controllers(robot: RobotConfig, board: BoardConfig, controller: Controller) -> list[RenderedFile]:
    """Parameters of the controller manager and its controllers."""
    text = fill_template(
        "controllers.yaml",
        robot=robot,
        board=board,
        controller=controller,
        paths=paths,
        update_rate_hz=round(_UPDATES_A_PERIOD * robot.control_rate_hz),
        period_s=1.0 / robot.control_rate_hz,
    )
    purpose = "ros2_control's controllers, and what the hardware below them must do"
    return [RenderedFile("controllers.yaml", text, paths.CONTROLLERS, purpose)]
