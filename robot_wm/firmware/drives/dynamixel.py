"""DYNAMIXEL X series (Protocol 2.0): control-table writes as CSV, one file a bus, to be written from top to bottom.

Each row is one write instruction: id, address, size in bytes, value (two's complement, little-endian), and for the
reader item, memory, unit and the worth of one count. Torque goes off first, as the EEPROM takes no write with torque
on, then the watchdog, whose error blocks other writes. RAM (gains, profile, watchdog) is lost at power-off and has to
be written at every start; torque is left off.
Gear ratio and torque constant are those beyond the servo's horn: ``gear_ratio`` is horn turns per joint turn, mostly 1.

=====================  ==========================================================================================
item                   from the joint, SI
=====================  ==========================================================================================
Min, Max Position      2048 + gear · limit · 4096 / 2π, rounded inwards; 0 rad is the middle. Only position mode keeps
                       them
Velocity Limit         gear · limit · 60 / 2π / 0.229 rpm; also Profile Velocity in the position modes, whose 0 is "no
                       limit"
Current Limit          effort / (gear · torque constant) / 2.69 mA. It bounds torque in the current modes only
PWM Limit              885 · effort / (gear · stall torque) in the other modes, where voltage is all there is to bound
                       torque by; it bounds the no-load speed in the same ratio
Temperature Limit      limit, °C
Bus Watchdog           watchdog / 20 ms; the servo then stops. 0 clears the error that follows
Drive Mode             bit 0: direction
=====================  ==========================================================================================

Position and velocity gains of the servo are pure numbers (of PWM or current per count): kp and kd cannot be turned into
them by a formula. Identify them on the robot and give them in ``settings`` under the item's name.
Source: the e-manual pages that the key lists name.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.drives.keys import DriveValues, KeyList, load_keys
from robot_wm.firmware.drives.kind import DriveKind

_MODELS = {
    "XM430-W350": "dynamixel_xm430_w350",
    "XM540-W270": "dynamixel_xm540_w270",
    "XL430-W250": "dynamixel_xl430_w250",
}
_MODES = {"current": 0, "velocity": 1, "position": 3, "current_position": 5}  # Operating Mode
_CURRENT_MODES = ("current", "current_position")
_POSITION_MODES = ("position", "current_position")
_GAINS = {"position": "Position P Gain", "current_position": "Position P Gain", "velocity": "Velocity P Gain"}
_NAMED = ("model", "operating_mode", "stall_torque_nm", "position_limits")
_CENTRE = 2048
_FULL_PWM = 885
COLUMNS = ("id", "address", "size", "value", "item", "memory", "per_count", "unit", "joint")


def render_dynamixel(robot: str, joints: Sequence[JointDrive]) -> dict[str, str]:
    """One CSV file a bus, its joints in order; UserError for what a servo cannot be told."""
    buses: dict[str, list[JointDrive]] = {}
    for joint in joints:
        buses.setdefault(joint.bus, []).append(joint)
    return {f"dynamixel_{bus}.csv": _csv(members) for bus, members in buses.items()}


def _csv(joints: Sequence[JointDrive]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for joint in joints:
        keys = _key_list(joint)
        for item, value in _writes(keys, joint):
            key = keys.keys[item]
            worth = "" if key.per_count is None else f"{key.per_count:.10g}"
            unit = "" if key.unit == "1" else key.unit
            table.writerow((joint.bus_id, key.address, key.size, value, item, key.memory, worth, unit, joint.name))
    return text.getvalue()


def _key_list(joint: JointDrive) -> KeyList:
    model = joint.settings.get("model")
    if model not in _MODELS:
        raise joint.error("settings.model", f"{model!r}: must be one of {', '.join(_MODELS)}")
    return load_keys(_MODELS[str(model)])


def _writes(keys: KeyList, joint: JointDrive) -> list[tuple[str, int]]:
    mode = joint.settings.get("operating_mode")
    if mode not in _MODES:
        raise joint.error("settings.operating_mode", f"{mode!r}: must be one of {', '.join(_MODES)}")
    id_key = keys.keys["ID"]
    if not (id_key.minimum or 0) <= joint.bus_id <= (id_key.maximum or 0):
        raise joint.error("bus_id", f"{joint.bus_id}: outside {id_key.minimum:g} to {id_key.maximum:g}")
    values = DriveValues(keys, joint)
    put = values.put
    put("Torque Enable", 0, "bus_id")
    put("Drive Mode", int(joint.direction < 0), "direction")
    put("Operating Mode", _MODES[str(mode)], "settings.operating_mode")
    put("Temperature Limit", joint.temperature_limit_c, "temperature_limit_c", "below")
    _put_effort(values, keys, joint, str(mode))
    rpm = joint.motor_velocity_limit * 60.0 / math.tau
    put("Velocity Limit", rpm / _worth(keys, "Velocity Limit"), "velocity_limit", "below")
    if joint.position_limits is not None and not joint.is_stopped_mechanically:
        if mode != "position":
            raise joint.error(
                "position_limits",
                f"{joint.position_limits} rad: operating mode {mode} keeps none; say position_limits: mechanical in"
                " settings if stops do",
            )
        per_rad = joint.gear_ratio / _worth(keys, "Max Position Limit")
        low, high = joint.position_limits
        put("Max Position Limit", _CENTRE + high * per_rad, "position_limits", "below")
        put("Min Position Limit", _CENTRE + low * per_rad, "position_limits", "above")
    if mode in _POSITION_MODES:
        put("Profile Velocity", rpm / _worth(keys, "Profile Velocity"), "velocity_limit", "below")
    gain = _GAINS.get(str(mode))
    if gain is not None and gain not in joint.settings:
        raise joint.error(
            "kp" if mode in _POSITION_MODES else "kd",
            f"{joint.kp if mode in _POSITION_MODES else joint.kd:g}: the servo's {gain} has no unit to turn it into;"
            f" identify it and give '{gain}' in settings",
        )
    values.put_settings(_NAMED)
    # Last: from here on, once torque is on, silence on the bus stops the servo.
    put("Bus Watchdog", joint.watchdog_s / _worth(keys, "Bus Watchdog"), "watchdog_s", "below")
    writes = [(item, int(value)) for item, value in _in_order(keys, values).items()]
    return [writes[0], ("Bus Watchdog", 0), *writes[1:]]


def _put_effort(values: DriveValues, keys: KeyList, joint: JointDrive, mode: str) -> None:
    if "Current Limit" in keys.keys:
        counts = joint.effort_current_a / _worth(keys, "Current Limit")
        values.put("Current Limit", counts, "effort_limit", "below")
    elif mode in _CURRENT_MODES:
        raise joint.error("settings.operating_mode", f"{mode!r}: this model does not measure current")
    if mode == "current_position":
        values.put("Goal Current", joint.effort_current_a / _worth(keys, "Goal Current"), "effort_limit", "below")
    if mode not in _CURRENT_MODES:
        stall = joint.number(
            "stall_torque_nm", "N·m", "stall torque of the horn at the supply voltage, for the PWM limit"
        )
        if stall <= 0:
            raise joint.error("settings.stall_torque_nm", f"{stall:g} N·m: must be positive")
        counts = _FULL_PWM * min(joint.effort_limit / (joint.gear_ratio * stall), 1.0)
        values.put("PWM Limit", counts, "effort_limit", "below")


def _worth(keys: KeyList, item: str) -> float:
    per_count = keys.keys[item].per_count
    if per_count is None:
        raise ValueError(f"the key list of {keys.drive} gives no per_count for {item}")
    return per_count


def _in_order(keys: KeyList, values: DriveValues) -> dict[str, float | int]:
    """Torque off, then EEPROM, then RAM, else as put."""
    rank = {"Torque Enable": 0, "Bus Watchdog": 3}
    order = sorted(values.values, key=lambda item: rank.get(item, 1 if keys.keys[item].memory == "eeprom" else 2))
    return {item: values.values[item] for item in order}


DYNAMIXEL = DriveKind(
    render_dynamixel,
    how_to_apply="write each row in order (PyPI: dynamixel-sdk); the rows of memory ram again at every start",
)
