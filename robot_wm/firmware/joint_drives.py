"""From a robot's file to its drives' own settings files."""

from __future__ import annotations

from typing import Any

from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.rendered import RenderedFile
from robot_wm.firmware.robot_model import RobotConfig

# What a RobotJoint and a JointDrive call by one name.
_AS_THEY_ARE = (
    "bus",
    "bus_id",
    "gear_ratio",
    "kp",
    "kd",
    "current_limit_a",
    "temperature_limit_c",
    "torque_constant_nm_per_a",
    "pole_pairs",
    "direction",
    "settings",
)


def render_drives(robot: RobotConfig) -> list[RenderedFile]:
    """Settings of every drive in its maker's format; nothing for closed drives."""
    drives = robot.drive_kind
    texts = drives.render(robot.name, joint_drives(robot))
    purpose = f"settings of the {robot.drive_type} drives"
    return [RenderedFile(name, text, drives.how_to_apply, purpose) for name, text in texts.items()]


def joint_drives(robot: RobotConfig) -> list[JointDrive]:
    """The joints as their drives see them, in order; none for closed drives, which nobody can set up."""
    if not robot.drive_kind.is_open:
        return []
    return [JointDrive(**_drive(robot, name)) for name in robot.joints]


def _drive(robot: RobotConfig, name: str) -> dict[str, Any]:
    """Fields of a JointDrive; RobotConfig has seen to it that an open drive lacks none."""
    joint = robot.joints[name]
    return {key: getattr(joint, key) for key in _AS_THEY_ARE} | {
        "name": name,
        "position_limits": joint.limits.position,
        "velocity_limit": joint.limits.velocity,
        "effort_limit": joint.limits.effort,
        "watchdog_s": robot.watchdog_s(name),
    }
