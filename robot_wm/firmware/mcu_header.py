"""C header for a microcontroller: joint order, limits, gains and watchdogs as constant tables, C11 and C++11."""

from __future__ import annotations

import numpy as np

from robot_wm.firmware.rendered import RenderedFile, fill_template
from robot_wm.firmware.robot_model import RobotConfig, RobotJoint
from robot_wm.spec import AgentSpec

_UNLIMITED = "FLT_MAX"


def render_mcu_header(robot: RobotConfig, spec: AgentSpec | None = None) -> list[RenderedFile]:
    """``<robot>_firmware.h``; with a bundle's ``spec``, its hash too, which the agent's side can be asked for."""
    name = f"{robot.name}_firmware.h"
    text = fill_template(
        "firmware.h",
        robot=robot,
        guard=f"ROBOT_WM_{robot.name.upper()}_FIRMWARE_H",
        rows=[_row(robot, joint_name, joint) for joint_name, joint in robot.joints.items()],
        literal=float_literal,
        command_timeout_us=microseconds(robot.command_timeout_s),
        spec_hash=spec.content_hash() if spec else "",
    )
    return [RenderedFile(name, text, "the source tree of the MCU's firmware", "limits, gains and watchdogs")]


def float_literal(value: float | None) -> str:
    """A C float literal that reads back as the float32 nearest to ``value``; FLT_MAX, with its sign, for None."""
    if value is None:
        return _UNLIMITED
    text = str(np.float32(value))
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def _row(robot: RobotConfig, name: str, joint: RobotJoint) -> dict[str, str | int]:
    limits = joint.limits
    low, high = limits.position or (None, None)
    return {
        "name": name,
        "unit": joint.unit,
        "position_min": f"-{_UNLIMITED}" if low is None else float_literal(low),
        "position_max": float_literal(high),
        "velocity_max": float_literal(limits.velocity),
        "effort_max": float_literal(limits.effort),
        "rate_max": float_literal(limits.rate),
        "kp": float_literal(joint.kp),
        "kd": float_literal(joint.kd),
        "watchdog_us": microseconds(robot.watchdog_s(name)),
        "direction": joint.direction,
    }


def microseconds(seconds: float) -> int:
    """Whole microseconds, at least one: a watchdog of 0 would mean none on many drives."""
    return max(1, round(seconds * 1e6))
