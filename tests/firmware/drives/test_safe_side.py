"""Whatever the limits: what a drive is told is never looser than the joint's limit, and within one step of it."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.firmware.drives.keys import Key

TAU = math.tau
FLOAT32 = 2.0**-23  # relative distance of two neighbouring float32
DOUBLE = 1e-12  # what going there and back in double costs


def number(low, high):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


LIMITS = st.fixed_dictionaries(
    {
        "position_limits": st.tuples(number(-3.0, -0.01), number(0.01, 3.0)),
        "velocity_limit": number(0.5, 20.0),
        "effort_limit": number(0.1, 3.0),
        "gear_ratio": number(1.0, 12.0),
        "torque_constant_nm_per_a": number(0.05, 2.0),
        "temperature_limit_c": number(35.0, 75.0),
        "watchdog_s": number(0.021, 1.0),
        "current_limit_a": number(61.0, 90.0),
    }
)


def tight(told, limit, step):
    """``told`` is at most ``limit``, and less by at most one ``step``."""
    assert limit - step * (1 + DOUBLE) - abs(limit) * DOUBLE <= told <= limit + abs(limit) * DOUBLE, (told, limit, step)


def tight_float(told, limit):
    tight(told, limit, abs(limit) * FLOAT32)


@given(limits=LIMITS)
@settings(max_examples=40, deadline=None)
def test_moteus(bench, limits):
    v = bench.read_moteus(bench.render("moteus", bench.joint("moteus", **limits))["moteus_knee.cfg"])
    low, high = limits["position_limits"]
    tight_float(v["servopos.position_max"] * TAU, high)
    tight_float(-v["servopos.position_min"] * TAU, -low)
    tight_float(v["servo.max_velocity"] * TAU, limits["velocity_limit"])
    torque = v["servo.max_current_A"] * limits["torque_constant_nm_per_a"] * limits["gear_ratio"]
    tight_float(torque, limits["effort_limit"])
    tight_float(v["servo.timeout_max_torque_Nm"], limits["effort_limit"])
    tight_float(v["servo.fault_temperature"], limits["temperature_limit_c"])
    tight_float(v["servo.default_timeout_s"], limits["watchdog_s"])
    assert v["servo.default_timeout_s"] > 0


@given(limits=LIMITS)
@settings(max_examples=40, deadline=None)
def test_odrive(bench, limits):
    v = bench.read_odrive(bench.render("odrive", bench.joint("odrive", **limits))["odrive_knee.json"])
    gear = limits["gear_ratio"]
    tight_float(v["axis0.controller.config.vel_limit"] * TAU / gear, limits["velocity_limit"])
    tight_float(v["axis0.config.torque_soft_max"] * gear, limits["effort_limit"])
    tight_float(-v["axis0.config.torque_soft_min"] * gear, limits["effort_limit"])
    torque = v["axis0.config.motor.current_soft_max"] * limits["torque_constant_nm_per_a"] * gear
    tight_float(torque, limits["effort_limit"])
    tight_float(v["axis0.config.motor.current_hard_max"], limits["current_limit_a"])
    tight_float(v["axis0.config.watchdog_timeout"], limits["watchdog_s"])
    tight_float(v["axis0.motor.motor_thermistor.config.temp_limit_upper"], limits["temperature_limit_c"])
    assert v["axis0.config.motor.current_soft_max"] <= v["axis0.config.motor.current_hard_max"]


@given(limits=LIMITS)
@settings(max_examples=25, deadline=None)
def test_vesc(bench, limits):
    files = bench.render("vesc", bench.joint("vesc", settings={"timeout_brake_current_a": 0}, **limits))
    v = bench.read_vesc(files["vesc_knee_motor.xml"], "MCConfiguration")
    gear = limits["gear_ratio"]
    for key, sign in (("l_max_erpm", 1), ("l_min_erpm", -1)):
        tight_float(sign * v[key] * TAU / 60 / 7 / gear, limits["velocity_limit"])
    for key, sign in (("l_current_max", 1), ("l_current_min", -1)):
        tight_float(sign * v[key] * limits["torque_constant_nm_per_a"] * gear, limits["effort_limit"])
    tight_float(v["l_abs_current_max"], limits["current_limit_a"])
    tight(v["l_temp_fet_end"], limits["temperature_limit_c"], 1.0)
    assert v["l_temp_fet_start"] < v["l_temp_fet_end"]
    app = bench.read_vesc(files["vesc_knee_app.xml"], "APPConfiguration")
    assert app["timeout_msec"] >= 1  # 0 is off
    tight(app["timeout_msec"] / 1000 + 0.01, limits["watchdog_s"], 0.001)


@given(limits=LIMITS)
@settings(max_examples=40, deadline=None)
def test_dynamixel(bench, limits):
    # Currents that the servo's table has; the other limits are free.
    limits = limits | {"gear_ratio": 1.0, "torque_constant_nm_per_a": 1.78, "velocity_limit": limits["velocity_limit"]}
    writes = bench.read_dynamixel(bench.render("dynamixel", bench.joint("dynamixel", **limits))["dynamixel_dxl.csv"])
    v = {item: int.from_bytes(data, "little") for _, _, data, item in writes}
    count = TAU / 4096
    low, high = limits["position_limits"]
    tight((v["Max Position Limit"] - 2048) * count, high, count)
    tight(-(v["Min Position Limit"] - 2048) * count, -low, count)
    rpm = TAU / 60
    tight(v["Velocity Limit"] * 0.229 * rpm, limits["velocity_limit"], 0.229 * rpm)
    tight(v["Current Limit"] * 0.00269 * 1.78, limits["effort_limit"], 0.00269 * 1.78)
    stall = bench.settings["dynamixel"]["stall_torque_nm"]
    tight(v["PWM Limit"] / 885 * stall, limits["effort_limit"], stall / 885)
    tight(v["Temperature Limit"], limits["temperature_limit_c"], 1.0)
    tight(v["Bus Watchdog"] * 0.02, limits["watchdog_s"], 0.02)
    assert v["Bus Watchdog"] >= 1


@given(value=number(-1e6, 1e6), key=st.sampled_from([{"type": "float32"}, {"type": "fixed16", "step": 0.1}]))
@settings(max_examples=300, deadline=None)
def test_a_number_as_it_is_written_keeps_to_its_side(value, key):
    # Before any drive rounds it: a tool may compare the text with a limit, in double.
    assert Key(**key).fit(value, "below") <= value + (1 + abs(value)) * DOUBLE
    assert Key(**key).fit(value, "above") >= value - (1 + abs(value)) * DOUBLE
