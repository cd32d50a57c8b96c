"""From a robot's file to its drives' own settings files."""

from __future__ import annotations

from robot_wm.firmware.drives import HOW_TO_APPLY, RENDERERS
from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.rendered import RenderedFile
from robot_wm.firmware.robot_model import RobotConfig


def render_drives(robot: RobotConfig) -> list[RenderedFile]:
    """Settings of every drive in its maker's format; nothing for closed drives."""
    texts = RENDERERS[robot.drive_type](robot.name, joint_drives(robot))
    purpose = f"settings of the {robot.drive_type} drives"
    return [RenderedFile(name, text, HOW_TO_APPLY[robot.drive_type], purpose) for name, text in texts.items()]


def joint_drives(robot: RobotConfig) -> list[JointDrive]:
    """The joints as their drives see them, in order; none for closed drives, which nobody can set up."""
    if robot.drive_type == "closed":
        return []
    return [
        JointDrive(
            name=name,
            bus=joint.bus,
            bus_id=joint.bus_id,
            gear_ratio=joint.gear_ratio,
            position_limits=joint.limits.position,
            velocity_limit=joint.limits.velocity,
            effort_limit=joint.limits.effort,
            kp=joint.kp,
            kd=joint.kd,
            current_limit_a=joint.current_limit_a,
            temperature_limit_c=joint.temperature_limit_c,
            watchdog_s=robot.watchdog_s(name),
            torque_constant_nm_per_a=joint.torque_constant_nm_per_a,
            pole_pairs=joint.pole_pairs,
            direction=joint.direction,
            settings=joint.settings,
        )
        for name, joint in robot.joints.items()
    ]
