"""The open-hardware robots that come with the library: loaded, rendered, read back, and checked with agents."""

import math

import pytest

from robot_wm.errors import UserError
from robot_wm.firmware.check import check_robot
from robot_wm.firmware.joint_drives import joint_drives
from robot_wm.firmware.loading import load_robot
from robot_wm.firmware.robot_model import RobotConfig

PROFILES = {
    "quadruped_moteus": "moteus",
    "cartpole_odrive": "odrive",
    "arm_dynamixel": "dynamixel",
    "racecar_vesc": "vesc",
}


@pytest.fixture(scope="session")
def rendered(bench):
    robots = {name: load_robot(name) for name in PROFILES}
    return {name: bench.render(drive, *joint_drives(robots[name])) for name, drive in PROFILES.items()}


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_is_of_its_drive_and_renders(name, rendered):
    assert load_robot(name).drive_type == PROFILES[name]
    assert rendered[name]


def test_the_quadruped_has_twelve_controllers_of_their_own(bench, rendered):
    files = rendered["quadruped_moteus"]
    assert len(files) == 12
    values = {name: bench.read_moteus(text) for name, text in files.items()}
    assert sorted(v["id.id"] for v in values.values()) == list(range(1, 13))
    # mjbots' quad A1: of the thighs and calves, front right and rear left turn with their joints.
    turned = {name.removesuffix("_joint.cfg") for name, v in values.items() if v["motor_position.output.sign"] < 0}
    assert turned == {
        *(f"moteus_{leg}_hip" for leg in ("FR", "FL", "RR", "RL")),
        *(f"moteus_{leg}_{part}" for leg in ("FL", "RR") for part in ("thigh", "calf")),
    }


def test_the_cart_belongs_to_the_agents_of_the_simulated_one(specs):
    assert [str(v) for v in check_robot(specs["cartpole"], load_robot("cartpole_odrive"))] == []


def test_the_cart_can_do_what_its_agents_ask(bench, rendered):
    v = bench.read_odrive(rendered["cartpole_odrive"]["odrive_slider.json"])
    assert v["axis0.config.torque_soft_max"] * 50.26548 == pytest.approx(10.0, rel=1e-6)  # N
    assert v["axis0.controller.config.vel_limit"] == pytest.approx(10.0 * 50.26548 / math.tau, rel=1e-6)
    assert v["axis0.controller.config.control_mode"] == 1  # torque


def test_the_arm_is_no_faster_than_its_voltage(rendered, bench):
    writes = bench.read_dynamixel(rendered["arm_dynamixel"]["dynamixel_dxl.csv"])
    assert sorted({number for number, *_ in writes}) == [11, 12, 13, 14]
    first = {item: int.from_bytes(data, "little") for number, _, data, item in writes if number == 11}
    no_load_rpm = 46 * first["PWM Limit"] / 885  # at 12 V
    assert first["Velocity Limit"] * 0.229 < no_load_rpm


def test_the_car_brakes_when_nobody_drives(rendered, bench):
    files = rendered["racecar_vesc"]
    app = bench.read_vesc(files["vesc_drivetrain_app.xml"], "APPConfiguration")
    assert (app["timeout_msec"], app["timeout_brake_current"], app["servo_out_enable"]) == (190, 10, 1)
    motor = bench.read_vesc(files["vesc_drivetrain_motor.xml"], "MCConfiguration")
    rim_m_s = motor["l_max_erpm"] / 4614  # f1tenth_system's speed_to_erpm_gain
    assert rim_m_s == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("name", PROFILES)
def test_a_limit_beyond_the_motor_is_refused(name, bench):
    body = load_robot(name).model_dump()
    joint = next(iter(body["joints"]))
    body["joints"][joint]["limits"]["effort"] = 1e3
    drives = joint_drives(RobotConfig.model_validate(body))
    with pytest.raises(UserError, match=f"joint {joint}: current_limit_a"):
        bench.render(PROFILES[name], *drives)
