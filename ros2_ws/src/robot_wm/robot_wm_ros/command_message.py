"""Messages that a command can be, each found by its name as command_type."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec

_TRAJECTORY_ARRAYS = {"position": "positions", "velocity": "velocities", "effort": "effort"}


class CommandRoute(BaseModel):
    """To whom commands go, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    controller: str = Field(description='"" stands for forward_<mode>_controller')
    command_type: str = Field(description="name of a CommandMessage")
    controller_joints: tuple[str, ...] = Field(description="in the controller's order; none stands for the spec's")
    period_s: float = Field(gt=0, description="control period, in which commands follow each other")
    wheel_radius: float = Field(default=0.0, ge=0, description="m, of a base whose controller takes a twist")
    wheel_separation: float = Field(default=0.0, ge=0, description="m, between its left and its right wheels")


class CommandMessage:
    """One message, which is written anew for each command. Made from the action, the joints and the route.

    ``values`` [A] gets each command, finite, SI, in the controller's joint order; ``write`` then brings them into
    ``message``, which is published on ``<controller>/<topic>``.
    """

    topic: ClassVar[str]
    is_ordered: ClassVar[bool] = True  # nothing but their order says which value is which joint's
    message: Any
    values: NDArray[np.float64]  # [A]

    def __init__(self, action: ActionSpec, joints: tuple[str, ...], route: CommandRoute) -> None:
        self.values = np.zeros(len(joints))

    def write(self) -> None:
        """Bring ``values`` into ``message``; nothing to do where they are its own memory."""


class ArrayCommand(CommandMessage):
    """std_msgs/Float64MultiArray, for a forward_command_controller: exactly its own joints in its own order."""

    topic = "commands"

    def __init__(self, action: ActionSpec, joints: tuple[str, ...], route: CommandRoute) -> None:
        self.message = Float64MultiArray(data=[0.0] * len(joints))
        self.values = np.frombuffer(self.message.data)


class TrajectoryCommand(CommandMessage):
    """trajectory_msgs/JointTrajectory of one point, due a control period from now: a stamp of zero means now."""

    topic = "joint_trajectory"
    is_ordered = False

    def __init__(self, action: ActionSpec, joints: tuple[str, ...], route: CommandRoute) -> None:
        array = _TRAJECTORY_ARRAYS[action.mode]
        point = JointTrajectoryPoint(**{array: [0.0] * len(joints)})
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(round(route.period_s * 1e9), 1_000_000_000)
        self.message = JointTrajectory(joint_names=list(joints), points=[point])
        self.values = np.frombuffer(getattr(point, array))


class TwistCommand(CommandMessage):
    """geometry_msgs/TwistStamped, for a diff_drive_controller, from the speeds of the left and the right wheels, rad/s.

    With radius r and separation d: linear.x = r (left + right) / 2, angular.z = r (right - left) / d, from which that
    controller makes the same speeds again. A header's stamp of zero means now.
    """

    topic = "cmd_vel"

    def __init__(self, action: ActionSpec, joints: tuple[str, ...], route: CommandRoute) -> None:
        if action.mode != "velocity" or len(joints) != 2:
            raise UserError(
                f"command_type twist_stamped: needs two velocities, of the left and of the right wheels, in this order;"
                f" the agent commands {action.mode} of {', '.join(joints)}"
            )
        for name in ("wheel_radius", "wheel_separation"):
            if not getattr(route, name) > 0.0:
                raise UserError(f"command_type twist_stamped: needs {name}, m, that of the diff_drive_controller")
        super().__init__(action, joints, route)
        self.message = TwistStamped()
        self._mean, self._turn = route.wheel_radius / 2.0, route.wheel_radius / route.wheel_separation

    def write(self) -> None:
        """Wheels' speeds as the base's."""
        left, right = self.values.tolist()
        self.message.twist.linear.x = self._mean * (left + right)
        self.message.twist.angular.z = self._turn * (right - left)
