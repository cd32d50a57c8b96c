"""moteus controllers: `conf set` lines, one file a joint, for ``moteus_tool --target ID --write-config FILE``.

The controller works in revolutions of the output, which is the joint, so gear and direction are its affair:

====================================  ======================================================================
key                                   from the joint, SI
====================================  ======================================================================
servopos.position_min, position_max   limit / 2π, rounded inwards; nan where there is none
servo.pid_position.kp, kd             gain · 2π (N·m per revolution); ki and ilimit 0: a plain PD, as trained
servo.max_velocity                    limit / 2π; power is gone at 1.1 of it (max_velocity_derate)
servo.max_current_A                   effort / (gear · torque constant): the controller has no torque limit that
                                      stays, and max_current_A bounds the torque in every mode
servo.default_timeout_s               watchdog; then timeout_mode 12 damps with kd alone, up to the effort limit
servo.default_velocity_limit,         nan: targets act at once. The controller's own trajectories would put a second
default_accel_limit                   filter between policy and gains
servo.fault_temperature               limit of the power stage; power falls temperature_margin earlier
====================================  ======================================================================

Sources: docs/reference/configuration.md and fw/bldc_servo_control.h (ISR_DoZeroVelocity, limit_q_velocity, the
temperature derating) at the tag that the key list names. A current is the amplitude of a phase, as in the controller's
torque constant 3/2 · 60 / (√3 · 2π · Kv). The motor itself (poles, resistance, Kv, offsets) is the calibration's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.drives.keys import Board, DriveValues, KeyList, Number, load_keys
from robot_wm.firmware.drives.kind import DriveKind

_NAMED = ("board", "motor_temperature_limit_c")
_ZERO_VELOCITY = 12  # timeout_mode: derivative-only position control
_DERATE = 0.1  # of the velocity limit; our choice, the factory's 2 rev/s is more than a leg's whole limit


def render_moteus(robot: str, joints: Sequence[JointDrive]) -> dict[str, str]:
    """One ``conf set`` file a joint, named after it; UserError for what the controller cannot be told."""
    keys = load_keys("moteus")
    return {f"moteus_{joint.name}.cfg": _text(_values(keys, joint)) for joint in joints}


def _values(keys: KeyList, joint: JointDrive) -> dict[str, Number]:
    board = _board(keys, joint)
    values = DriveValues(keys, joint)
    put = values.put
    # First: a file written to the wrong controller renames it, so that the rest fails instead of being kept.
    put("id.id", joint.bus_id, "bus_id")
    put("motor_position.rotor_to_output_ratio", 1.0 / joint.gear_ratio, "gear_ratio")
    put("motor_position.output.sign", joint.direction, "direction")
    if joint.position_limits is None:
        values.put_unset("servopos.position_min", "position_limits")
        values.put_unset("servopos.position_max", "position_limits")
    else:
        low, high = joint.position_limits
        put("servopos.position_min", low / math.tau, "position_limits", "above")
        put("servopos.position_max", high / math.tau, "position_limits", "below")
    put("servo.pid_position.kp", joint.kp * math.tau, "kp")
    put("servo.pid_position.ki", 0.0, "kp")
    put("servo.pid_position.kd", joint.kd * math.tau, "kd")
    put("servo.pid_position.ilimit", 0.0, "kp")
    put("servo.max_velocity", joint.velocity_limit / math.tau, "velocity_limit", "below")
    put("servo.max_velocity_derate", _DERATE * joint.velocity_limit / math.tau, "velocity_limit", "below")
    values.put_unset("servo.default_velocity_limit", "velocity_limit")
    values.put_unset("servo.default_accel_limit", "velocity_limit")
    if joint.effort_current_a > board.max_current_a:
        raise joint.error(
            "effort_limit",
            f"{joint.effort_limit:g} N·m takes {joint.effort_current_a:.4g} A: more than this board's"
            f" {board.max_current_a:g} A",
        )
    put("servo.max_current_A", joint.effort_current_a, "effort_limit", "below")
    if joint.temperature_limit_c > board.fault_temperature_c:
        raise joint.error(
            "temperature_limit_c",
            f"{joint.temperature_limit_c:g} °C: more than this board's {board.fault_temperature_c:g} °C",
        )
    put("servo.fault_temperature", joint.temperature_limit_c, "temperature_limit_c", "below")
    if "motor_temperature_limit_c" in joint.settings:
        limit = joint.number(
            "motor_temperature_limit_c", "°C", "temperature at which the motor's sensor stops the drive"
        )
        put("servo.enable_motor_temperature", 1, "settings.motor_temperature_limit_c")
        put("servo.motor_fault_temperature", limit, "settings.motor_temperature_limit_c", "below")
    put("servo.default_timeout_s", joint.watchdog_s, "watchdog_s", "below")
    put("servo.timeout_mode", _ZERO_VELOCITY, "watchdog_s")
    put("servo.timeout_max_torque_Nm", joint.effort_limit, "effort_limit", "below")
    values.put_settings(_NAMED)
    return values.values


def _board(keys: KeyList, joint: JointDrive) -> Board:
    name = joint.settings.get("board")
    if name not in keys.boards:
        raise joint.error("settings.board", f"{name!r}: must be one of {', '.join(keys.boards)}")
    return keys.boards[str(name)]


def _text(values: dict[str, Number]) -> str:
    # --write-config sends each line as a command, so there are no comments, and the last line makes it stay.
    return "".join(f"conf set {key} {value!r}\n" for key, value in values.items()) + "conf write\n"


MOTEUS = DriveKind(
    render_moteus,
    how_to_apply="moteus_tool --target BUS_ID --write-config FILE, after --calibrate (PyPI: moteus)",
)
