"""Messages that a command can be, each found by its name as command_type."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robot_wm.spec import ActionSpec

_TRAJECTORY_ARRAYS = {"position": "positions", "velocity": "velocities", "effort": "effort"}


class CommandMessage:
    """One message, which is written anew for each command. Made from the action, the joints and the control period.

    ``values`` [A] gets each command, finite, SI, in the controller's joint order; ``write`` then brings them into
    ``message``, which is published on ``<controller>/<topic>``.
    """

    topic: ClassVar[str]
    is_ordered: ClassVar[bool] = True  # nothing but their order says which value is which joint's
    message: Any
    values: NDArray[np.float64]  # [A]

    def __init__(self, action: ActionSpec, joints: tuple[str, ...], period_s: float) -> None:
        self.values = np.zeros(len(joints))

    def write(self) -> None:
        """Bring ``values`` into ``message``; nothing to do where they are its own memory."""


class ArrayCommand(CommandMessage):
    """std_msgs/Float64MultiArray, for a forward_command_controller: exactly its own joints in its own order."""

    topic = "commands"

    def __init__(self, action: ActionSpec, joints: tuple[str, ...], period_s: float) -> None:
        self.message = Float64MultiArray(data=[0.0] * len(joints))
        self.values = np.frombuffer(self.message.data)


class TrajectoryCommand(CommandMessage):
    """trajectory_msgs/JointTrajectory of one point, due a control period from now: a stamp of zero means now."""

    topic = "joint_trajectory"
    is_ordered = False

    def __init__(self, action: ActionSpec, joints: tuple[str, ...], period_s: float) -> None:
        array = _TRAJECTORY_ARRAYS[action.mode]
        point = JointTrajectoryPoint(**{array: [0.0] * len(joints)})
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(round(period_s * 1e9), 1_000_000_000)
        self.message = JointTrajectory(joint_names=list(joints), points=[point])
        self.values = np.frombuffer(getattr(point, array))
