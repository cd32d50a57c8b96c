"""VESC motor controllers: the XML that VESC Tool loads, a motor and an app configuration for each controller.

``vesc_tool --setMcConf FILE`` and ``--setAppConf FILE`` read the controller's configuration, change what the file names
and write it back. A controller's id may carry one motor and one servo (``settings.output: servo``). With gear ratio g,
pole pairs p and I = l_current_max:

======================  =======================================================================================
parameter               from the joint, SI
======================  =======================================================================================
l_current_max, _min     ± effort / (g · torque constant)
l_abs_current_max       current limit, at whose crossing a fault stops the motor
l_max_erpm, l_min_erpm  ± limit · g · p · 60 / 2π
s_pid_kp                kd · 20 · 2π / (60 · p · g² · torque constant · I), where kp is 0: the speed loop's current is
                        I · s_pid_kp / 20 · Δerpm
p_pid_kp, p_pid_kd_proc (kp, kd) · π / (180 · g · torque constant · I), where kp is not 0: the position loop's current
                        is I · (p_pid_kp · Δ° − p_pid_kd_proc · °/s), in degrees of the joint by p_pid_ang_div = g
l_temp_fet_start, _end  limit of the power stage, and ``temperature_margin_c`` before it
timeout_msec            watchdog − 10 ms, the period in which the controller looks; then it brakes with
                        timeout_brake_current, as it cannot damp
si_motor_poles          2 · p
======================  =======================================================================================

Sources: configparams.cpp of VESC Tool for the format; of github.com/vedderb/bldc, commit
ce3699aad3d01f14106365ebd85d1a1ba79b85ba (6.06), motor/foc_math.c (foc_run_pid_control_speed, _pos), mcpwm_foc.c and
timeout.c for the formulas. A current is the amplitude of a phase. The speed loop's ramp is off: targets act at once. Of
a servo the controller only makes the pulses.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.drives.keys import DriveValues, KeyList, Number, load_keys, reject_strangers
from robot_wm.firmware.drives.kind import DriveKind

_MOTOR_NAMED = (
    "output",
    "position_limits",
    "timeout_brake_current_a",
    "temperature_margin_c",
    "motor_temperature_limit_c",
)
_SERVO_NAMED = ("output", "position_limits")
_FOC = 2  # motor_type
_TIMEOUT_PERIOD_MS = 10


def render_vesc(robot: str, joints: Sequence[JointDrive]) -> dict[str, str]:
    """Two XML files a controller, named after its motor's joint; UserError for what it cannot be told."""
    motor_keys, app_keys = load_keys("vesc_mcconf"), load_keys("vesc_appconf")
    files = {}
    controllers: dict[tuple[str, int], list[JointDrive]] = {}
    for joint in joints:
        controllers.setdefault((joint.bus, joint.bus_id), []).append(joint)
    for members in controllers.values():
        motor, servo = _motor_and_servo(members)
        files[f"vesc_{motor.name}_motor.xml"] = _xml("MCConfiguration", _motor_values(motor_keys, app_keys, motor))
        files[f"vesc_{motor.name}_app.xml"] = _xml("APPConfiguration", _app_values(motor_keys, app_keys, motor, servo))
    return files


def _motor_and_servo(members: Sequence[JointDrive]) -> tuple[JointDrive, JointDrive | None]:
    outputs: dict[str, JointDrive] = {}
    for joint in members:
        output = str(joint.settings.get("output", "motor"))
        if output not in ("motor", "servo"):
            raise joint.error("settings.output", f"{output!r}: must be 'motor' or 'servo'")
        if output in outputs:
            other = outputs[output].name
            raise joint.error("bus_id", f"{joint.bus_id} on {joint.bus} has a {output} already: {other}")
        outputs[output] = joint
    if "motor" not in outputs:
        raise members[0].error(
            "settings.output", f"'servo': no motor has bus_id {members[0].bus_id} on {members[0].bus}"
        )
    return outputs["motor"], outputs.get("servo")


def _motor_values(keys: KeyList, app_keys: KeyList, joint: JointDrive) -> dict[str, Number]:
    _require_stops(joint)
    values = DriveValues(keys, joint)
    put = values.put
    put("motor_type", _FOC, "settings.output")
    put("m_invert_direction", int(joint.direction < 0), "direction")
    put("l_current_max", joint.effort_current_a, "effort_limit", "below")
    put("l_current_min", -joint.effort_current_a, "effort_limit", "above")
    put("l_abs_current_max", joint.current_limit_a, "current_limit_a", "below")
    erpm = joint.motor_velocity_limit * joint.pole_pairs * 60.0 / math.tau
    put("l_max_erpm", erpm, "velocity_limit", "below")
    put("l_min_erpm", -erpm, "velocity_limit", "above")
    _put_temperatures(values, joint)
    _put_gains(values, joint, float(values.values["l_current_max"]))
    put("si_motor_poles", 2 * joint.pole_pairs, "pole_pairs")
    put("si_gear_ratio", joint.gear_ratio, "gear_ratio")
    values.put_settings(_MOTOR_NAMED, belongs=app_keys.keys)
    return values.values


def _put_temperatures(values: DriveValues, joint: JointDrive) -> None:
    margin = joint.number("temperature_margin_c", "°C", "how long before the limit current falls", 15.0)
    if margin <= 0:
        raise joint.error("settings.temperature_margin_c", f"{margin:g} °C: must be positive")
    values.put("l_temp_fet_start", joint.temperature_limit_c - margin, "temperature_limit_c", "below")
    values.put("l_temp_fet_end", joint.temperature_limit_c, "temperature_limit_c", "below")
    if "motor_temperature_limit_c" in joint.settings:
        field = "settings.motor_temperature_limit_c"
        limit = joint.number(
            "motor_temperature_limit_c", "°C", "temperature at which the motor's sensor stops the drive"
        )
        values.put("l_temp_motor_start", limit - margin, field, "below")
        values.put("l_temp_motor_end", limit, field, "below")


def _put_gains(values: DriveValues, joint: JointDrive, current_a: float) -> None:
    effort = joint.gear_ratio * joint.torque_constant_nm_per_a * current_a  # N·m at the joint of a loop's output of 1
    if joint.kp > 0:
        values.put("p_pid_kp", math.radians(joint.kp) / effort, "kp")
        values.put("p_pid_ki", 0.0, "kp")
        values.put("p_pid_kd", 0.0, "kd")
        values.put("p_pid_kd_proc", math.radians(joint.kd) / effort, "kd")
        values.put("p_pid_ang_div", joint.gear_ratio, "gear_ratio")
    elif joint.kd > 0:
        erpm_per_speed = joint.gear_ratio * joint.pole_pairs * 60.0 / math.tau  # erpm per rad/s of the joint
        values.put("s_pid_kp", 20.0 * joint.kd / (effort * erpm_per_speed), "kd")
        values.put("s_pid_ki", 0.0, "kd")
        values.put("s_pid_kd", 0.0, "kd")
        values.put("s_pid_allow_braking", 1, "kd")
        values.put("s_pid_ramp_erpms_s", -1.0, "kd")


def _app_values(motor_keys: KeyList, keys: KeyList, motor: JointDrive, servo: JointDrive | None) -> dict[str, Number]:
    values = DriveValues(keys, motor)
    values.put("controller_id", motor.bus_id, "bus_id")
    watchdog_s = motor.watchdog_s if servo is None else min(motor.watchdog_s, servo.watchdog_s)
    timeout_ms = 1000.0 * watchdog_s - _TIMEOUT_PERIOD_MS
    if timeout_ms < 1.0:  # 0 would turn the watchdog off
        raise motor.error("watchdog_s", f"{watchdog_s:g} s: a VESC looks every 10 ms, so 0.011 s is its least")
    values.put("timeout_msec", timeout_ms, "watchdog_s", "below")
    brake_a = motor.number("timeout_brake_current_a", "A", "how hard to brake when the watchdog runs out; 0: roll on")
    if brake_a > motor.effort_current_a:
        raise motor.error(
            "settings.timeout_brake_current_a",
            f"{brake_a:g} A: more than the {motor.effort_current_a:.4g} A of the effort limit",
        )
    values.put("timeout_brake_current", brake_a, "settings.timeout_brake_current_a", "below")
    values.put("servo_out_enable", int(servo is not None), "settings.output")
    if servo is not None:
        _require_stops(servo)
        reject_strangers(servo, _SERVO_NAMED)
    values.put_settings(_MOTOR_NAMED, belongs=motor_keys.keys)
    return values.values


def _require_stops(joint: JointDrive) -> None:
    if joint.position_limits is not None and not joint.is_stopped_mechanically:
        raise joint.error(
            "position_limits",
            f"{joint.position_limits} rad: a VESC keeps none; say position_limits: mechanical in settings if stops do",
        )


def _xml(root: str, values: dict[str, Number]) -> str:
    tree = ElementTree.Element(root)
    for key, value in values.items():
        ElementTree.SubElement(tree, key).text = repr(value)
    ElementTree.indent(tree)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(tree, encoding="unicode") + "\n"


VESC = DriveKind(
    render_vesc,
    how_to_apply="after motor detection: vesc_tool --vescPort PORT --setMcConf MOTOR_XML, then --setAppConf APP_XML",
    shares_ids=True,  # a VESC drives a motor and a servo under one id
)
