"""The YAML files of firmware_configs: they validate, say what was trained with, and errors name the place."""

from pathlib import Path

import pytest
import yaml

from robot_wm.errors import UserError
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.loading import load_board, load_robot, parse, robot_yaml
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.firmware.shipped import known
from robot_wm.firmware.urdf import urdf_limits
from robot_wm_sim.robots.a1 import A1
from robot_wm_sim.robots.cartpole import CARTPOLE
from robot_wm_sim.robots.panda import PANDA
from robot_wm_sim.robots.racecar import RACECAR

SIMULATED = {"a1": A1, "panda": PANDA, "cartpole": CARTPOLE, "racecar": RACECAR}


@pytest.mark.parametrize("name", known("robots"))
def test_every_robot_validates_under_its_own_name(name):
    assert load_robot(name).name == name


@pytest.mark.parametrize("name", known("boards"))
def test_every_board_validates_under_its_own_name(name):
    assert load_board(name).name == name


def test_the_robots_and_boards_that_are_promised_are_there():
    assert set(SIMULATED) <= set(known("robots"))
    assert known("boards") == ["agx-orin", "agx-thor", "orin-nano", "orin-nx", "x86"]


@pytest.mark.parametrize("name", SIMULATED)
def test_the_firmware_is_what_the_simulated_robot_was_trained_with(name):
    config, robot = load_robot(name), SIMULATED[name]
    assert (config.robot, config.firmware) == (robot.name, robot.firmware)
    assert tuple(config.joints) == tuple(joint.name for joint in robot.motors)
    for motor in robot.motors:
        joint = config.joints[motor.name]
        assert (joint.limits, joint.kp, joint.kd) == (motor.limits, motor.kp, motor.kd), motor.name
    assert config.couplings == dict(robot.couplings)


@pytest.mark.parametrize("name", SIMULATED)
def test_the_repeated_urdf_limits_are_those_of_the_urdf(name):
    config = load_robot(name)
    limits = urdf_limits(SIMULATED[name].urdf, config.joints)
    assert {joint: config.joints[joint].urdf for joint in config.joints} == limits


@pytest.mark.parametrize("name", known("robots"))
def test_a_robot_written_and_read_again_is_the_same(name):
    config = load_robot(name)
    assert parse(robot_yaml(config), RobotConfig, origin="again") == config


def test_a_path_is_read_like_a_name(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(robot_yaml(load_robot("panda")))
    assert load_robot(path) == load_robot(str(path)) == load_robot("panda")


def changed(name: str, path: str, value: object) -> str:
    """The robot's YAML with one value replaced; ``...`` removes it."""
    body = yaml.safe_load(robot_yaml(load_robot(name)))
    *parents, last = path.split("/")
    place = body
    for part in parents:
        place = place.setdefault(part, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(body, sort_keys=False)


FAULTS = [
    ("joints/slider/kp", "stiff", ["r.yaml", "joints.slider.kp", "'stiff'", "N·m/rad or N/m"]),
    ("joints/slider/kd", -1.0, ["joints.slider.kd", "-1.0", "N·m·s/rad or N·s/m"]),
    ("joints/slider/limits/velocity", 0, ["joints.slider.limits.velocity", "(got '0')", "rad/s or m/s"]),
    ("joints/slider/limits/position", [1.8, -1.8], ["joints.slider.limits", "ascending"]),
    ("joints/slider/limits/effort", ..., ["joints.slider", "limits.effort", "a driven joint needs one"]),
    ("joints/slider/stiffness", 3, ["joints.slider.stiffness", "Extra inputs"]),
    ("joints/slider/bus", "can0", ["joints.slider.bus", "can0 is not among buses"]),
    ("joints/slider/direction", 0, ["joints.slider.direction", "1 or -1"]),
    ("command_timeout_s", ".inf", ["command_timeout_s", "s without a command"]),
    ("control_rate_hz", float("nan"), ["control_rate_hz", "finite", "Hz"]),
    ("drive_type", "magic", ["drive_type", "no drive of the group robot_wm.drives", "moteus, odrive", "'magic'"]),
    ("drive_type", "moteus", ["joints.slider.bus", "a moteus drive needs it", "name of one of the robot's buses"]),
    ("action_mode", "position", ["action_mode position", "('effort',)"]),
    ("couplings", {"both": ["slider", "wing"]}, ["couplings.both", "not a joint: wing"]),
    ("couplings", {"slider": ["slider"]}, ["couplings.slider", "a joint has that name"]),
    ("leans", {"forward": {"tail": 0.1}}, ["leans.forward", "not a joint: tail"]),
    ("leans", {"backward": {"slider": 0.1}}, ["leans.backward", "'forward' or 'left'"]),
    ("buses", {"can0": {"kind": "can"}}, ["buses.can0", "bitrate (bit/s)"]),
    ("buses", {"imu": {"kind": "serial", "usb_vendor_id": "0403"}}, ["buses.imu", "usb_product_id"]),
    ("buses", {'a"b': {"kind": "ethernet"}}, ["buses", "match pattern"]),
    ("joints", {}, ["joints"]),
]


@pytest.mark.parametrize(("path", "value", "named"), FAULTS)
def test_a_fault_in_a_robot_names_file_key_value_and_unit(path, value, named):
    with pytest.raises(UserError) as caught:
        parse(changed("cartpole", path, value), RobotConfig, origin="r.yaml")
    assert all(part in str(caught.value) for part in named), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_joint_that_stands_twice_is_refused_with_its_line():
    text = robot_yaml(load_robot("cartpole")) + "  slider: {limits: {velocity: 1, effort: 1}, kp: 1, kd: 1}\n"
    line = len(text.splitlines())
    with pytest.raises(UserError, match=rf"r\.yaml: line {line}: key slider stands there twice"):
        parse(text, RobotConfig, origin="r.yaml")


@pytest.mark.parametrize("text", ["", "- a\n", "just words", "a: [1\n", "name: !!python/object:os.system x\n"])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(UserError, match=r"r\.yaml: "):
        parse(text, RobotConfig, origin="r.yaml")


def test_an_unknown_name_lists_the_known_ones_and_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"unknown robot 'a2'; known: .*a1.*panda"):
        load_robot("a2")
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot read it: No such file"):
        load_board(tmp_path / "nowhere.yaml")


def test_two_drives_with_one_number_on_one_bus_are_refused():
    body = yaml.safe_load(robot_yaml(load_robot("panda")))
    open_drive = {
        "bus": "can0",
        "gear_ratio": 6.0,
        "current_limit_a": 20.0,
        "temperature_limit_c": 75.0,
        "torque_constant_nm_per_a": 0.1,
        "pole_pairs": 7,
    }
    body |= {"drive_type": "moteus", "buses": {"can0": {"kind": "can", "bitrate": 1000000}}}
    for number, joint in enumerate(body["joints"].values()):
        joint |= open_drive | {"bus_id": number}
    assert parse(yaml.safe_dump(body, sort_keys=False), RobotConfig, origin="r.yaml").drive_type == "moteus"
    body["joints"]["panda_joint5"]["bus_id"] = 2
    with pytest.raises(UserError, match=r"panda_joint5\.bus_id: panda_joint3 has number 2 on can0 too"):
        parse(yaml.safe_dump(body, sort_keys=False), RobotConfig, origin="r.yaml")


BOARD_FAULTS = [
    ({"cpu": {"count": 4, "isolated": [4]}}, "isolated core 4 of 4 cores"),
    ({"cpu": {"count": 4, "isolated": [0, 1]}}, "core 0 takes the interrupts"),
    ({"cpu": {"count": 2, "isolated": [1, 1]}}, "not unique"),
    ({"cpu": {"count": 2, "isolated": [0, 1]}}, "none is left for the system"),
    ({"priorities": {"agent": 40, "launch": 50}}, "launch priority 50 is not below agent priority 40"),
    ({"priorities": {"agent": 99, "launch": 50}}, "SCHED_FIFO"),
    ({"engine": {"precision": "fp16", "memory_budget_mib": 16384}}, "16384 MiB is not below memory_mib 16384 MiB"),
    ({"dds": {"rmw": "rmw_fastrtps_cpp", "interfaces": ["eth0"], "shared_memory": True}}, "IPv4 addresses"),
    ({"power_mode": None}, "jetpack and power_mode go together"),
    ({"power_mode": {"id": 0, "name": "MAXN; reboot"}}, "as nvpmodel -q prints it"),
]


@pytest.mark.parametrize(("change", "named"), BOARD_FAULTS)
def test_a_fault_in_a_board_is_named(change, named, orin_nx):
    body = orin_nx.model_dump(mode="json") | change
    with pytest.raises(UserError) as caught:
        parse(yaml.safe_dump(body), BoardConfig, origin="b.yaml")
    assert named in str(caught.value)


def test_every_number_of_a_yaml_file_is_followed_by_its_unit_or_preceded_by_its_origin():
    """Not a proof, a reminder: whoever adds a robot or board says where its numbers are from."""
    root = Path(__file__).parents[2] / "firmware_configs"
    for name in SIMULATED:
        assert "Origin of" in (root / "robots" / f"{name}.yaml").read_text(), name
    for name in known("boards"):
        text = (root / "boards" / f"{name}.yaml").read_text()
        assert "our choice" in text, name


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "bus_id: true",
            r"joints\.slider\.bus_id: Input should be a valid integer \(got 'True'\) \[number on the bus\]",
        ),
        ("kp: '20'", r"joints\.slider\.kp: Input should be a valid number \(got '20'\)"),
        ("kp: yes", r"joints\.slider\.kp: Input should be a valid number \(got 'True'\)"),
        ("watchdog_s: off", r"joints\.slider\.watchdog_s: .*\(got 'False'\)"),
        ("direction: true", r"joints\.slider\.direction: .*\(got 'True'\)"),
        ("pole_pairs: 7.0", r"joints\.slider\.pole_pairs: .*integer"),
        ("gear_ratio: .nan", r"joints\.slider\.gear_ratio: .*"),
        ("limits: {velocity: true, effort: 1}", r"joints\.slider\.limits\.velocity: .*\(got 'True'\)"),
        (
            "limits: {position: [-90, 90], velocity: 1, effort: 1}",
            r"limits\.position: \[-90, 90\] rad is beyond ±25\.13 rad; was it meant in degrees\?",
        ),
        (
            "unit: m\n    limits: {position: [0, 400], velocity: 1, effort: 1}",
            r"limits\.position: \[0, 400\] m is beyond ±100 m; was it meant in mm\?",
        ),
        ("urdf: {position: [-180, 180]}", r"urdf\.position: \[-180, 180\] rad is beyond"),
        (
            "limits: {velocity: 1200, effort: 1}",
            r"limits\.velocity: 1200 rad/s is beyond 200 rad/s; was it meant in degrees/s or rpm\?",
        ),
        (
            "limits: {velocity: 1, effort: 33500}",
            r"limits\.effort: 33500 N·m is beyond 5000 N·m; was it meant in mN·m\?",
        ),
        ("limits: {velocity: 1, effort: 1, rate: 1.0e+30}", r"limits\.rate: 1e\+30 command unit/s is beyond"),
        ("unit: m\n    limits: {velocity: 900, effort: 1}", r"limits\.velocity: 900 m/s is beyond 50 m/s; was it"),
        ("kp: 1.0e+30", r"joints\.slider\.kp: must be at most 100000 \(got '1e\+30'\) \[N·m/rad or N/m"),
        ("kd: 1.0e+9", r"joints\.slider\.kd: must be at most 10000 "),
        ("watchdog_s: 100", r"joints\.slider\.watchdog_s: must be at most 10 \(got '100'\) \[s without"),
        (
            "current_limit_a: 20000",
            r"joints\.slider\.current_limit_a: must be at most 1000 .*\[A, of a phase\]",
        ),
        ("pole_pairs: 1000", r"joints\.slider\.pole_pairs: .* less than or equal to 100 "),
        ("gear_ratio: 1.0e+300", r"joints\.slider\.gear_ratio: must be at most 100000 "),
    ],
)
def test_a_value_of_another_kind_is_not_taken_for_a_number(line, wanted):
    joint = {"limits": "{velocity: 1, effort: 1}", "kp": "1", "kd": "1"}
    joint = {key: value for key, value in joint.items() if f"{key}:" not in line}
    text = "\n".join([f"    {key}: {value}" for key, value in joint.items()] + [f"    {line}"])
    head = robot_yaml(load_robot("panda")).split("joints:")[0]
    parse(
        f"{head}joints:\n  slider:\n    limits: {{velocity: 1, effort: 1}}\n    kp: 1\n    kd: 1\n",
        RobotConfig,
        origin="r",
    )
    with pytest.raises(UserError, match=rf"^r\.yaml: {wanted}" if wanted.startswith("joints") else wanted):
        parse(f"{head}joints:\n  slider:\n{text}\n", RobotConfig, origin="r.yaml")


@pytest.mark.parametrize("key", ["kp", "kd"])
@pytest.mark.parametrize("name", SIMULATED)
def test_a_gain_in_thousandths_is_refused_for_every_joint(name, key):
    robot = load_robot(name)
    for joint, config in robot.joints.items():
        gain = getattr(config, key)
        if gain == 0.0 or (config.unit, key) == ("m", "kd"):  # fingers would still be those of some drive
            continue
        body = yaml.safe_load(robot_yaml(robot))
        body["joints"][joint][key] = 1000 * gain
        wanted = rf"joints\.{joint}(: {key}: .* at an error of |\.{key}: must be at most)"
        with pytest.raises(UserError, match=wanted):
            parse(yaml.safe_dump(body), RobotConfig, origin="r")


def test_a_gain_that_makes_a_drive_a_switch_names_value_bound_and_units():
    body = yaml.safe_load(robot_yaml(load_robot("a1")))
    body["joints"]["FR_hip_joint"]["kp"] = 20000.0
    wanted = (
        r"joints\.FR_hip_joint: kp: 20000 N·m/rad gives all of 33\.5 N·m at an error of 0\.0017 rad, less than 0\.002"
        r" rad; was it meant in mN·m/rad, or as the drive counts\?"
    )
    with pytest.raises(UserError, match=wanted):
        parse(yaml.safe_dump(body), RobotConfig, origin="r")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"command_timeout_s": 100}, r"r: command_timeout_s: must be at most 10 \(got '100'\) \[s without"),
        ({"control_rate_hz": 1e9}, r"r: control_rate_hz: must be at most 5000 .*\[Hz, of the agent's"),
        (
            {"buses": {"can0": {"kind": "can", "bitrate": 1}}},
            r"r: buses\.can0\.bitrate: .* greater than or equal to 1000 ",
        ),
    ],
)
def test_a_robots_number_in_another_unit_is_refused(change, wanted):
    body = load_robot("panda").model_dump(mode="json", exclude_none=True) | change
    with pytest.raises(UserError, match=wanted):
        parse(yaml.safe_dump(body), RobotConfig, origin="r")
