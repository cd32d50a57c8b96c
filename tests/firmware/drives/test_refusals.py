"""What a drive cannot be told is refused, with joint, field, value and unit; every key list stands by itself."""

import re

import pytest

from robot_wm.errors import UserError
from robot_wm.firmware.drives.keys import DriveValues, load_keys
from robot_wm.firmware.drives.kind import GROUP, drive_kind
from robot_wm.plugins import entries

DRIVES = ("moteus", "odrive", "dynamixel", "vesc")
LISTS = (
    "moteus",
    "odrive",
    "vesc_mcconf",
    "vesc_appconf",
    "dynamixel_xm430_w350",
    "dynamixel_xm540_w270",
    "dynamixel_xl430_w250",
)

REFUSED = [
    # What every drive is asked.
    *[(drive, {"velocity_limit": 0.0}, "velocity_limit 0.0 rad/s: must be positive") for drive in DRIVES],
    *[(drive, {"watchdog_s": float("nan")}, "watchdog_s nan s: must be positive") for drive in DRIVES],
    *[(drive, {"kd": -1.0}, "kd -1.0: must not be negative") for drive in DRIVES],
    *[(drive, {"name": "../knee"}, "a name has letters") for drive in DRIVES],
    *[(drive, {"current_limit_a": 0.5}, "current_limit_a 0.5 A: the effort limit of .* N·m takes") for drive in DRIVES],
    *[(drive, {"position_limits": (1.0, -1.0)}, "position_limits .* ascending order") for drive in DRIVES],
    *[(drive, {"settings": {"no_such_key": 1}}, "settings.no_such_key no_such_key: not a key of") for drive in DRIVES],
    # moteus
    ("moteus", {"settings": {"servo.max_curent_A": 10}}, "servo.max_curent_A: not a key of moteus firmware"),
    ("moteus", {"settings": {"servo.pwm_rate_hz": 70000}}, "gives servo.pwm_rate_hz 70000 Hz: outside 15000 to 60000"),
    ("moteus", {"settings": {"servo.pwm_rate_hz": 30000.5}}, "30000.5: must be a whole number"),
    ("moteus", {"settings": {"servo.max_velocity": 99}}, "settings.servo.max_velocity is set from the joint's own"),
    ("moteus", {"settings": {"servo.max_voltage": "high"}}, "'high': must be a number"),
    ("moteus", {"settings": {"board": "r9"}}, "settings.board 'r9': must be one of r4, n1, c1, x1"),
    ("moteus", {"settings": {"board": "c1"}}, "effort_limit 12 N·m takes 28.57 A: more than this board's 20 A"),
    ("moteus", {"temperature_limit_c": 80.0}, "temperature_limit_c 80 °C: more than this board's 75 °C"),
    ("moteus", {"bus_id": 127}, "bus_id gives id.id 127: outside 1 to 126"),
    ("moteus", {"gear_ratio": 0.5, "current_limit_a": 900.0, "effort_limit": 1.0}, "rotor_to_output_ratio 2: outside"),
    # ODrive
    ("odrive", {"kd": 0.0}, "kd 0 N·m·s/rad: an ODrive has position gain only through its velocity loop"),
    ("odrive", {"direction": -1}, "direction -1: an ODrive axis turns as its encoder does"),
    ("odrive", {"settings": {"position_limits": None}}, "settings.min_endstop_gpio is missing: .* end switches"),
    ("odrive", {"settings": {"position_limits": "soft"}}, "'soft': can only be 'mechanical'"),
    (
        "odrive",
        {"settings": {"thermistor_gpio": None}},
        "settings.thermistor_gpio is missing: .* by a motor therm",
    ),
    ("odrive", {"settings": {"vel_limit_tolerance": 1}}, "vel_limit_tolerance 1: must be above 1"),
    ("odrive", {"settings": {"axis0.config.motor.curent_soft_max": 3}}, "not a key of odrive firmware 0.6.11"),
    ("odrive", {"settings": {"axis0.controller.config.control_mode": 4}}, "control_mode 4: outside 0 to 3"),
    ("odrive", {"settings": {"config.brake_resistor0.enable": 2}}, "brake_resistor0.enable 2: outside 0 to 1"),
    ("odrive", {"bus_id": 64}, "bus_id gives axis0.config.can.node_id 64: outside 0 to 63"),
    # DYNAMIXEL
    (
        "dynamixel",
        {"position_limits": (-4.0, 1.0)},
        "gives Min Position Limit -559 counts of 0.00153398 rad",
    ),
    (
        "dynamixel",
        {"velocity_limit": 30.0},
        "gives Velocity Limit 1250 counts of 0.229 rpm: outside 0 to 1023",
    ),
    (
        "dynamixel",
        {"velocity_limit": 0.02},
        "gives Velocity Limit 0.834: less than the drive's smallest step",
    ),
    (
        "dynamixel",
        {"effort_limit": 7.0, "current_limit_a": 9.0},
        "Current Limit 1461 counts of 0.00269 A: outside",
    ),
    ("dynamixel", {"temperature_limit_c": 101.0}, "Temperature Limit 101 counts of 1 °C: outside 0 to 100"),
    ("dynamixel", {"watchdog_s": 3.0}, "watchdog_s gives Bus Watchdog 150 counts of 0.02 s: outside 0 to 127"),
    ("dynamixel", {"watchdog_s": 0.015}, "watchdog_s gives Bus Watchdog 0.75: less than the drive's smallest step"),
    ("dynamixel", {"bus_id": 253}, "bus_id 253: outside 0 to 252"),
    ("dynamixel", {"settings": {"Position P Gain": None}}, "kp 20: the servo's Position P Gain has no unit"),
    ("dynamixel", {"settings": {"Position P Gain": 20000}}, "Position P Gain 20000: outside 0 to 16383"),
    ("dynamixel", {"settings": {"Positon D Gain": 10}}, "Positon D Gain: not a key of dynamixel"),
    ("dynamixel", {"settings": {"model": "XM999"}}, "settings.model 'XM999': must be one of XM430-W350"),
    ("dynamixel", {"settings": {"operating_mode": "fast"}}, "settings.operating_mode 'fast': must be one of current"),
    ("dynamixel", {"settings": {"stall_torque_nm": None}}, "settings.stall_torque_nm is missing: stall torque"),
    ("dynamixel", {"settings": {"operating_mode": "current_position"}}, "mode current_position keeps none"),
    ("dynamixel", {"settings": {"operating_mode": "current", "model": "XL430-W250"}}, "does not measure current"),
    # VESC
    ("vesc", {"settings": {"position_limits": None}}, r"position_limits \(-1.0, 2.0\) rad: a VESC keeps none"),
    ("vesc", {"settings": {"timeout_brake_current_a": None}}, "settings.timeout_brake_current_a is missing: how hard"),
    ("vesc", {"settings": {"timeout_brake_current_a": 40}}, "40 A: more than the 28.57 A of the effort limit"),
    ("vesc", {"settings": {"foc_motor_rr": 0.01}}, "foc_motor_rr: not a key of vesc firmware 6.06"),
    ("vesc", {"settings": {"foc_motor_r": -1}}, "gives foc_motor_r -1: outside 0 to 1000"),
    ("vesc", {"settings": {"app_to_use": 11}}, "app_to_use 11: outside 0 to 10"),
    ("vesc", {"settings": {"output": "lamp"}}, "settings.output 'lamp': must be 'motor' or 'servo'"),
    ("vesc", {"settings": {"output": "servo"}}, "'servo': no motor has bus_id 3 on can0"),
    ("vesc", {"watchdog_s": 0.01}, "watchdog_s 0.01 s: a VESC looks every 10 ms"),
    ("vesc", {"pole_pairs": 200}, "pole_pairs gives si_motor_poles 400: outside 2 to 254"),
    ("vesc", {"velocity_limit": 4e4}, "velocity_limit gives l_max_erpm 1.60428e[+]07: outside 0 to 1e[+]06"),
]


@pytest.mark.parametrize(("drive", "changes", "message"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused(bench, drive, changes, message):
    with pytest.raises(UserError, match=message) as refusal:
        bench.render(drive, bench.joint(drive, **changes))
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("joint ")


@pytest.mark.parametrize("drive", DRIVES)
def test_the_unchanged_joint_is_taken(bench, drive):
    assert bench.render(drive, bench.joint(drive))  # so that each refusal above is for its change alone


def test_two_motors_on_one_vesc_are_refused(bench):
    with pytest.raises(UserError, match="joint hip: bus_id 3 on can0 has a motor already: knee"):
        bench.render("vesc", bench.joint("vesc"), bench.joint("vesc", name="hip"))


def test_a_servo_takes_no_motor_settings(bench):
    servo = bench.joint("vesc", name="steering", settings={"output": "servo"})
    with pytest.raises(UserError, match=r"joint steering: settings.timeout_brake_current_a is unknown here"):
        bench.render("vesc", bench.joint("vesc"), servo)


def test_drive_keys_pass_through_settings(bench):
    text = bench.render("moteus", bench.joint("moteus", settings={"servo.max_voltage": 40}))["moteus_knee.cfg"]
    assert "conf set servo.max_voltage 40.0\n" in text
    files = bench.render(
        "vesc", bench.joint("vesc", settings={"foc_motor_r": 0.015, "app_to_use": 3, "l_max_vin": 25.25})
    )
    assert "<foc_motor_r>0.015</foc_motor_r>" in files["vesc_knee_motor.xml"]
    assert "<l_max_vin>25.2</l_max_vin>" in files["vesc_knee_motor.xml"]  # travels in tenths of a volt
    assert "<app_to_use>3</app_to_use>" in files["vesc_knee_app.xml"]
    assert "app_to_use" not in files["vesc_knee_motor.xml"]


def test_a_key_misspelt_in_a_renderer_is_refused(bench):
    values = DriveValues(load_keys("moteus"), bench.joint("moteus"))
    with pytest.raises(UserError, match=r"servo.max_velocty: not a key of moteus"):
        values.put("servo.max_velocty", 1.0, "velocity_limit")
    with pytest.raises(UserError, match=r"servo.timeout_mode is no float"):
        values.put_unset("servo.timeout_mode", "watchdog_s")
    assert values.values == {}


@pytest.mark.parametrize("name", LISTS)
def test_key_lists_say_where_they_are_from(name):
    keys = load_keys(name)
    assert str(keys.firmware)
    assert any(re.search(r"github\.com/\S+.* [0-9a-f]{40}", line) for line in keys.origin)
    for name, key in keys.keys.items():
        low, high = key.minimum, key.maximum
        assert low is None or high is None or low < high, name
        assert (key.type == "fixed16") == (key.step is not None), name
        if keys.drive == "dynamixel":
            assert key.type.endswith(f"int{8 * key.size}"), name
            assert (key.memory == "eeprom") == (key.address < 64), name


def test_every_list_of_the_folder_is_tested():
    from importlib.resources import files

    folder = files("firmware_configs") / "keys"
    assert {file.name for file in folder.iterdir() if file.name.endswith(".yaml")} == {f"{name}.yaml" for name in LISTS}


def test_every_drive_type_has_a_renderer_and_a_way_in():
    kinds = {name: drive_kind(name) for name in entries(GROUP)}
    assert set(kinds) == {*DRIVES, "closed"}
    assert {name for name, kind in kinds.items() if kind.is_open and kind.how_to_apply} == set(DRIVES)
