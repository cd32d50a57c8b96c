"""Rendered files, read back by other means, say what the joint says in SI: closed forms and simulated control loops."""

import math

import pytest

NEAR = 1e-6  # a float32 has 24 bits


@pytest.fixture(scope="session")
def moteus(bench):
    def read(**changes):
        return bench.read_moteus(bench.render("moteus", bench.joint("moteus", **changes))["moteus_knee.cfg"])

    return read


@pytest.fixture(scope="session")
def odrive(bench):
    def read(**changes):
        return bench.read_odrive(bench.render("odrive", bench.joint("odrive", **changes))["odrive_knee.json"])

    return read


@pytest.fixture(scope="session")
def vesc(bench):
    def read(**changes):
        files = bench.render("vesc", bench.joint("vesc", **changes))
        return bench.read_vesc(files["vesc_knee_motor.xml"], "MCConfiguration") | bench.read_vesc(
            files["vesc_knee_app.xml"], "APPConfiguration"
        )

    return read


@pytest.fixture(scope="session")
def dynamixel(bench):
    def read(**changes):
        writes = bench.read_dynamixel(
            bench.render("dynamixel", bench.joint("dynamixel", **changes))["dynamixel_dxl.csv"]
        )
        return {item: int.from_bytes(data, "little", signed=item == "Goal Current") for _, _, data, item in writes}

    return read


def test_moteus_works_in_revolutions_of_the_joint(moteus):
    v = moteus()
    assert v["id.id"] == 3
    assert v["motor_position.rotor_to_output_ratio"] == pytest.approx(1 / 6, rel=NEAR)
    assert v["servopos.position_min"] == pytest.approx(-0.1591549, rel=NEAR)  # -1 rad
    assert v["servopos.position_max"] == pytest.approx(0.3183099, rel=NEAR)  # 2 rad
    assert v["servo.pid_position.kp"] == pytest.approx(125.66371, rel=NEAR)  # 20 · 2π
    assert v["servo.pid_position.kd"] == pytest.approx(3.1415927, rel=NEAR)  # 0.5 · 2π
    assert v["servo.pid_position.ki"] == v["servo.pid_position.ilimit"] == 0
    assert v["servo.max_velocity"] == pytest.approx(3.1830989, rel=NEAR)  # 20 rad/s
    assert v["servo.max_current_A"] == pytest.approx(28.571428, rel=NEAR)  # 12 / (6 · 0.07)
    assert v["servo.timeout_max_torque_Nm"] == 12
    assert v["servo.fault_temperature"] == 70
    assert v["servo.default_timeout_s"] == pytest.approx(0.1, rel=NEAR)
    assert v["servo.timeout_mode"] == 12  # kd alone
    # Neither is set: a target acts at once, as in training.
    assert math.isnan(v["servo.default_velocity_limit"])
    assert math.isnan(v["servo.default_accel_limit"])


def test_moteus_turns_for_ever_and_backwards_and_watches_the_motor(moteus):
    v = moteus(position_limits=None, direction=-1, settings={"motor_temperature_limit_c": 90})
    assert math.isnan(v["servopos.position_min"])
    assert math.isnan(v["servopos.position_max"])
    assert v["motor_position.output.sign"] == -1
    assert (v["servo.enable_motor_temperature"], v["servo.motor_fault_temperature"]) == (1, 90)


def test_moteus_names_itself_first_and_saves_last(bench):
    lines = bench.render("moteus", bench.joint("moteus"))["moteus_knee.cfg"].splitlines()
    assert lines[0] == "conf set id.id 3"  # on the wrong controller, all that follows fails
    assert lines[-1] == "conf write"


def test_odrive_cascade_makes_the_joints_gains(odrive):
    v = odrive()
    position, speed = 0.3, -1.7  # rad of error, rad/s
    turns = 6.0 / math.tau  # motor turns per rad of the joint
    gain, damping = v["axis0.controller.config.pos_gain"], v["axis0.controller.config.vel_gain"]
    motor_torque = damping * (gain * position * turns - speed * turns)
    assert motor_torque * 6.0 == pytest.approx(20.0 * position - 0.5 * speed, rel=NEAR)
    assert v["axis0.controller.config.vel_integrator_gain"] == 0


def test_odrive_limits_are_the_motors(odrive):
    v = odrive()
    assert v["axis0.controller.config.vel_limit"] == pytest.approx(19.098593, rel=NEAR)  # 20 · 6 / 2π
    assert v["axis0.config.torque_soft_max"] == 2.0
    assert v["axis0.config.torque_soft_min"] == -2.0
    assert v["axis0.config.motor.current_soft_max"] == pytest.approx(28.571428, rel=NEAR)
    assert v["axis0.config.motor.current_hard_max"] == 60.0
    assert v["axis0.config.enable_watchdog"] is True
    assert v["axis0.config.watchdog_timeout"] == pytest.approx(0.1, rel=NEAR)
    assert v["axis0.motor.motor_thermistor.config.enabled"] is True
    assert v["axis0.motor.motor_thermistor.config.temp_limit_upper"] == 70.0
    assert v["axis0.motor.motor_thermistor.config.temp_limit_lower"] == 50.0
    assert v["axis0.config.can.node_id"] == 3


def test_odrive_in_torque_mode_has_its_whole_torque_below_the_velocity_limit(odrive):
    v = odrive(kp=0.0, kd=0.0)
    limit, gain = v["axis0.controller.config.vel_limit"], v["axis0.controller.config.vel_gain"]
    assert (limit - 0.9 * limit) * gain == pytest.approx(v["axis0.config.torque_soft_max"], rel=NEAR)
    assert v["axis0.controller.config.pos_gain"] == 0


def test_odrive_keeps_position_limits_by_end_switches(odrive):
    v = odrive(settings={"position_limits": None, "min_endstop_gpio": 1, "max_endstop_gpio": 2})
    for end, gpio in (("min", 1), ("max", 2)):
        assert v[f"axis0.{end}_endstop.config.gpio_num"] == gpio
        assert v[f"axis0.{end}_endstop.config.enabled"] is True


def test_vesc_speed_loop_makes_the_joints_damping(vesc):
    v = vesc(kp=0.0)
    error = 2.5  # rad/s
    erpm = error * 6.0 * 7 * 60 / math.tau
    current = erpm * v["s_pid_kp"] / 20.0 * v["l_current_max"]  # foc_run_pid_control_speed
    assert current * 0.07 * 6.0 == pytest.approx(0.5 * error, rel=NEAR)
    assert (v["s_pid_ki"], v["s_pid_kd"], v["s_pid_ramp_erpms_s"]) == (0, 0, -1)
    assert "p_pid_kp" not in v


def test_vesc_position_loop_makes_the_joints_gains(vesc):
    v = vesc()
    position, speed = 0.2, 1.5
    output = v["p_pid_kp"] * math.degrees(position) - v["p_pid_kd_proc"] * math.degrees(speed)
    assert output * v["l_current_max"] * 0.07 * 6.0 == pytest.approx(20.0 * position - 0.5 * speed, rel=NEAR)
    assert (v["p_pid_ang_div"], v["p_pid_ki"], v["p_pid_kd"]) == (6, 0, 0)
    assert "s_pid_kp" not in v


def test_vesc_limits(vesc):
    v = vesc(direction=-1, settings={"motor_temperature_limit_c": 100})
    assert v["l_max_erpm"] == pytest.approx(8021.409, rel=NEAR)  # 20 · 6 · 7 · 60 / 2π
    assert v["l_min_erpm"] == -v["l_max_erpm"]
    assert v["l_current_max"] == pytest.approx(28.571428, rel=NEAR)
    assert v["l_current_min"] == -v["l_current_max"]
    assert v["l_abs_current_max"] == 60
    assert (v["l_temp_fet_start"], v["l_temp_fet_end"]) == (55, 70)
    assert (v["l_temp_motor_start"], v["l_temp_motor_end"]) == (85, 100)
    assert (v["si_motor_poles"], v["si_gear_ratio"], v["m_invert_direction"], v["motor_type"]) == (14, 6, 1, 2)
    assert (v["controller_id"], v["timeout_msec"], v["timeout_brake_current"]) == (3, 90, 5)


def test_a_vesc_drives_a_motor_and_a_servo(bench):
    motor = bench.joint("vesc", kp=0.0)
    servo = bench.joint(
        "vesc", name="steering", watchdog_s=0.05, settings={"output": "servo", "timeout_brake_current_a": None}
    )
    files = bench.render("vesc", motor, servo)
    assert sorted(files) == ["vesc_knee_app.xml", "vesc_knee_motor.xml"]
    app = bench.read_vesc(files["vesc_knee_app.xml"], "APPConfiguration")
    assert app["servo_out_enable"] == 1
    assert app["timeout_msec"] == 40  # the shorter watchdog of the two
    alone = bench.render("vesc", motor)["vesc_knee_app.xml"]
    assert bench.read_vesc(alone, "APPConfiguration")["servo_out_enable"] == 0


def test_dynamixel_counts(dynamixel):
    v = dynamixel()
    assert v["Min Position Limit"] == 1397  # 2048 - 651.9 up
    assert v["Max Position Limit"] == 3351  # 2048 + 1303.8 down
    assert v["Velocity Limit"] == v["Profile Velocity"] == 125  # 28.65 rpm / 0.229 = 125.1
    assert v["Current Limit"] == 417  # 2 / 1.78 / 0.00269 = 417.7
    assert v["PWM Limit"] == 431  # 885 · 2 / 4.1 = 431.7
    assert v["Temperature Limit"] == 70
    assert v["Bus Watchdog"] == 5
    assert (v["Operating Mode"], v["Drive Mode"], v["Position P Gain"]) == (3, 0, 800)
    assert "Goal Current" not in v


def test_dynamixel_goes_by_the_gear_and_turns_backwards(dynamixel):
    v = dynamixel(gear_ratio=2.0, position_limits=(-0.5, 0.5), velocity_limit=1.5, effort_limit=4.0, direction=-1)
    assert (v["Min Position Limit"], v["Max Position Limit"]) == (1397, 2699)  # 2048 ∓ 651.9, inwards
    assert v["Velocity Limit"] == 125
    assert v["Current Limit"] == 417
    assert v["PWM Limit"] == 431
    assert v["Drive Mode"] == 1


def test_dynamixel_bounds_torque_by_current_where_the_mode_does(dynamixel):
    settings = {"operating_mode": "current_position", "position_limits": "mechanical", "stall_torque_nm": None}
    v = dynamixel(settings=settings)
    assert v["Operating Mode"] == 5
    assert v["Goal Current"] == v["Current Limit"] == 417
    assert "PWM Limit" not in v
    assert "Min Position Limit" not in v


def test_dynamixel_writes_come_in_an_order_that_the_servo_takes(bench):
    second = bench.joint("dynamixel", name="wrist", bus_id=4)
    writes = bench.read_dynamixel(bench.render("dynamixel", bench.joint("dynamixel"), second)["dynamixel_dxl.csv"])
    assert [number for number, *_ in writes] == sorted(number for number, *_ in writes)
    own = [(address, data) for number, address, data, _ in writes if number == 3]
    assert own[0] == (64, b"\x00")  # torque off before any write to EEPROM
    assert own[1] == (98, b"\x00")  # and the watchdog's error cleared
    assert own[-1] == (98, b"\x05")
    memory = [address >= 64 for address, _ in own[2:]]
    assert memory == sorted(memory)  # EEPROM, then RAM


def test_one_file_a_bus_of_dynamixels(bench):
    files = bench.render("dynamixel", bench.joint("dynamixel"), bench.joint("dynamixel", name="left", bus="left"))
    assert sorted(files) == ["dynamixel_dxl.csv", "dynamixel_left.csv"]


def test_a_closed_drive_gets_nothing(bench):
    assert bench.render("closed", bench.joint("moteus")) == {}
