"""ODrive Pro, S1 and Micro (firmware 0.6): flat JSON, one file a joint, for ``odrivetool restore-config FILE``.

The axis counts turns of the motor (pos_vel_mapper.config.scale stays 1), and so do all its limits and gains; the host's
driver multiplies by the gear ratio. With gear ratio g (angle, speed and torque of the motor: g·q, g·q', τ/g):

=============================================  =================================================================
property                                       from the joint, SI
=============================================  =================================================================
controller.config.vel_limit                    g · limit / 2π, turn/s; an error ends motion at vel_limit_tolerance
config.torque_soft_min, torque_soft_max        ∓ effort / g
config.motor.current_soft_max                  effort / (g · torque constant)
config.motor.current_hard_max                  current limit, at whose crossing the axis lets go
controller.config.vel_gain                     2π · kd / g², N·m/(turn/s)
controller.config.pos_gain                     kp / kd, 1/s: the cascade's torque is vel_gain·(pos_gain·Δpos − vel)
config.watchdog_timeout                        watchdog; the axis then lets go, it cannot damp
motor.motor_thermistor.config.temp_limit_*     limit of the motor, which needs a thermistor: the inverter's own
                                               limit cannot be set outside the drive's developer mode
min_endstop, max_endstop                       position limits, as switches: the drive has no other
=============================================  =================================================================

Sources: the API reference as the key list names it; docs.odriverobotics.com, "Control Structure" and "Control Modes".
A joint without gains (kp = kd = 0) is driven by torque. There the drive bounds torque by (vel_limit − vel) · vel_gain
(Firmware/MotorControl/controller.cpp of the open 0.5 line), so vel_gain is set to leave the whole torque below 90 % of
the velocity limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.drives.keys import DriveValues, KeyList, Number, load_keys
from robot_wm.firmware.drives.kind import DriveKind

_NAMED = (
    "position_limits",
    "min_endstop_gpio",
    "max_endstop_gpio",
    "thermistor_gpio",
    "thermistor_r25_ohm",
    "thermistor_beta_k",
    "temperature_margin_c",
    "vel_limit_tolerance",
)
_PASSTHROUGH = 1  # input_mode: commands act at once
_TORQUE_BAND = 0.1  # of the velocity limit, over which torque fades in torque mode; our choice


def render_odrive(robot: str, joints: Sequence[JointDrive]) -> dict[str, str]:
    """One JSON file a joint, named after it; UserError for what the drive cannot be told."""
    keys = load_keys("odrive")
    return {f"odrive_{joint.name}.json": _text(keys, _values(keys, joint)) for joint in joints}


def _values(keys: KeyList, joint: JointDrive) -> dict[str, Number]:
    if joint.direction != 1:
        raise joint.error(
            "direction", "-1: an ODrive axis turns as its encoder does; change the sign in the host's driver"
        )
    values = DriveValues(keys, joint)
    put = values.put
    gear = joint.gear_ratio
    put("axis0.config.can.node_id", joint.bus_id, "bus_id")
    put("axis0.config.motor.pole_pairs", joint.pole_pairs, "pole_pairs")
    put("axis0.config.motor.torque_constant", joint.torque_constant_nm_per_a, "torque_constant_nm_per_a")
    put("axis0.config.motor.current_soft_max", joint.effort_current_a, "effort_limit", "below")
    put("axis0.config.motor.current_hard_max", joint.current_limit_a, "current_limit_a", "below")
    put("axis0.config.torque_soft_min", -joint.effort_limit / gear, "effort_limit", "above")
    put("axis0.config.torque_soft_max", joint.effort_limit / gear, "effort_limit", "below")
    velocity = joint.motor_velocity_limit / math.tau
    put("axis0.controller.config.vel_limit", velocity, "velocity_limit", "below")
    tolerance = joint.number("vel_limit_tolerance", "ratio", "overspeed that is an error", 1.2)
    if tolerance <= 1.0:
        raise joint.error("settings.vel_limit_tolerance", f"{tolerance:g}: must be above 1")
    put("axis0.controller.config.vel_limit_tolerance", tolerance, "settings.vel_limit_tolerance", "below")
    for flag in ("enable_vel_limit", "enable_overspeed_error", "enable_torque_mode_vel_limit"):
        put(f"axis0.controller.config.{flag}", 1, "velocity_limit")
    put("axis0.controller.config.input_mode", _PASSTHROUGH, "kp")
    put("axis0.controller.config.pos_gain", _position_gain(joint), "kp")
    put("axis0.controller.config.vel_gain", _velocity_gain(joint), "kd")
    put("axis0.controller.config.vel_integrator_gain", 0.0, "kd")
    put("axis0.config.enable_watchdog", 1, "watchdog_s")
    put("axis0.config.watchdog_timeout", joint.watchdog_s, "watchdog_s", "below")
    _put_thermistor(values, joint)
    _put_endstops(values, joint)
    values.put_settings(_NAMED)
    return values.values


def _position_gain(joint: JointDrive) -> float:
    if joint.kp == 0:
        return 0.0
    if joint.kd == 0:
        raise joint.error(
            "kd", "0 N·m·s/rad: an ODrive has position gain only through its velocity loop (pos_gain = kp/kd)"
        )
    return joint.kp / joint.kd


def _velocity_gain(joint: JointDrive) -> float:
    gear = joint.gear_ratio
    if joint.kd == 0:
        return joint.effort_limit / gear / (_TORQUE_BAND * joint.motor_velocity_limit / math.tau)
    return math.tau * joint.kd / gear**2


def _put_thermistor(values: DriveValues, joint: JointDrive) -> None:
    config = "axis0.motor.motor_thermistor.config"
    why = "an ODrive stops at a temperature only by a motor thermistor"
    gpio = joint.number("thermistor_gpio", "GPIO number", why)
    margin = joint.number("temperature_margin_c", "°C", "how long before the limit current falls", 20.0)
    if margin <= 0:
        raise joint.error("settings.temperature_margin_c", f"{margin:g} °C: must be positive")
    values.put(f"{config}.gpio_pin", gpio, "settings.thermistor_gpio")
    values.put(f"{config}.r_ref", joint.number("thermistor_r25_ohm", "Ω", "at 25 °C"), "settings.thermistor_r25_ohm")
    values.put(f"{config}.t_ref", 25.0, "settings.thermistor_r25_ohm")
    values.put(f"{config}.beta", joint.number("thermistor_beta_k", "K", "beta"), "settings.thermistor_beta_k")
    values.put(f"{config}.temp_limit_lower", joint.temperature_limit_c - margin, "temperature_limit_c", "below")
    values.put(f"{config}.temp_limit_upper", joint.temperature_limit_c, "temperature_limit_c", "below")
    values.put(f"{config}.enabled", 1, "temperature_limit_c")


def _put_endstops(values: DriveValues, joint: JointDrive) -> None:
    if joint.position_limits is None or joint.is_stopped_mechanically:
        return
    for end in ("min", "max"):
        why = "an ODrive keeps position limits only by end switches, or say position_limits: mechanical"
        gpio = joint.number(f"{end}_endstop_gpio", "GPIO number", why)
        values.put(f"axis0.{end}_endstop.config.gpio_num", gpio, f"settings.{end}_endstop_gpio")
        values.put(f"axis0.{end}_endstop.config.enabled", 1, "position_limits")


def _text(keys: KeyList, values: dict[str, Number]) -> str:
    body = {key: bool(value) if keys.keys[key].type == "bool" else value for key, value in values.items()}
    return json.dumps(body, indent=2, allow_nan=False) + "\n"


ODRIVE = DriveKind(
    render_odrive,
    how_to_apply="odrivetool restore-config FILE with this drive alone on USB, then calibrate (PyPI: odrive)",
)
