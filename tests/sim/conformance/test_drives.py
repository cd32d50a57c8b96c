"""Each backend's drives: the equation of `Drive` at every physics step, limits, gravity compensation, names."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rigs import BLOCK_KG, CART, POLE, RATE_HZ, SLIDER, UNDAMPED, follow, free

from robot_wm.spec import ActionSpec, JointLimits
from robot_wm_sim.drive import CommandDrive, Drive
from robot_wm_sim.robots.panda import ARM, PANDA
from robot_wm_sim.scene import Scene


@pytest.fixture
def slider(describe, build_sim):
    """A block on a rail with a drive of these gains and that limit of effort, N, and its backend."""

    def slider(*, kp=0.0, kd=0.0, limit=1000.0):
        robot = describe(SLIDER, "slide", "turn")
        joint = replace(robot.joints[0], kp=kp, kd=kd, limits=JointLimits(effort=limit, velocity=100.0))
        robot = replace(robot, joints=(joint,))
        return robot, build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))

    return slider


@pytest.mark.parametrize(
    ("mode", "size", "limit", "saturated"),
    [
        ("position", 0.5, 1000.0, False),  # m
        ("position", 0.5, 8.0, True),
        ("velocity", 2.0, 1000.0, False),  # m/s
        ("velocity", 2.0, 8.0, True),
        ("effort", 20.0, 1000.0, False),  # N
        ("effort", 20.0, 8.0, True),
    ],
)
def test_each_kind_of_command_moves_a_joint_as_the_oracle_says(slider, mode, size, limit, saturated):
    """Forty control periods of ten physics steps. Both engines were within 1e-15 m and m/s and 4e-14 N."""
    robot, sim = slider(kp=60.0, kd=15.0, limit=limit)
    action = ActionSpec(mode=mode, joints=("slide",), unit="SI")
    commands, expected = (CommandDrive(robot, action, period_s=10 / RATE_HZ) for _ in range(2))
    sim.place(joint_position=np.array([0.3]), joint_velocity=np.array([-0.2]))
    q, v = np.array([0.3]), np.array([-0.2])
    commands.reset(sim.state.joint_position)
    expected.reset(q)
    efforts = []
    for tick in range(40):
        command = np.array([size * math.sin(tick / 4)])
        drive = expected.update(command, q)
        sim.run(commands.update(command, sim.state.joint_position), 10)
        q, v, effort = follow(drive, 10, inertia=BLOCK_KG, position=q[0], velocity=v[0])
        efforts.append(effort[0])
        np.testing.assert_allclose(sim.state.joint_position, q, atol=1e-9)
        np.testing.assert_allclose(sim.state.joint_velocity, v, atol=1e-9)
        np.testing.assert_allclose(sim.state.joint_effort, effort, atol=1e-8)
    assert (np.max(np.abs(efforts)) == limit) == saturated


def test_all_terms_of_a_drive_add_up(slider):
    robot, sim = slider()
    drive = Drive.holding_home(robot)
    drive.position[:], drive.velocity[:], drive.effort[:], drive.kp[:], drive.kd[:] = 0.4, -0.7, 3.0, 50.0, 6.0
    sim.run(drive, 75)
    found = sim.state.joint_position, sim.state.joint_velocity, sim.state.joint_effort
    for value, wanted in zip(found, follow(drive, 75, inertia=BLOCK_KG), strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-9)


@pytest.mark.parametrize("strength", [0.8, 1.2])
def test_a_motor_of_another_strength_is_a_drive_of_which_all_is_scaled(slider, strength):
    """Which is why `Dynamics` has no strength of motors."""
    robot, sim = slider(kp=60.0, kd=15.0, limit=20.0)
    drive = Drive.holding_home(robot)
    drive.position[:], drive.effort[:] = 0.7, 2.0
    scaled = replace(drive, **{part: strength * getattr(drive, part) for part in ("effort", "kp", "kd", "limit")})
    sim.run(scaled, 60)
    q, v, _ = follow(drive, 60, inertia=BLOCK_KG / strength)
    np.testing.assert_allclose(sim.state.joint_position, q, atol=1e-9)
    np.testing.assert_allclose(sim.state.joint_velocity, v, atol=1e-9)


@pytest.mark.parametrize("kp", [0.0, 40.0])
def test_a_run_that_refreshes_nothing_is_the_first_part_of_a_longer_one(build_sim, kp):
    """Of a robot whose motors are not all its joints."""
    left, right = (build_sim(Scene(robot=UNDAMPED, physics_rate_hz=RATE_HZ, ground=False)) for _ in range(2))
    drive = free(UNDAMPED)
    drive.position[:], drive.effort[:], drive.kp[:], drive.limit[:] = 0.5, 2.0, kp, 100.0
    for sim in (left, right):
        sim.place(joint_position=np.array([0.1, 1.0]))
    before = left.state.block.copy()
    left.run(drive, 7, refresh=False)
    np.testing.assert_array_equal(left.state.block, before)
    left.run(drive, 5)
    right.run(drive, 12)
    np.testing.assert_array_equal(left.state.block, right.state.block)


@pytest.mark.parametrize("kp", [0.0, 40.0])
def test_drives_that_are_told_nothing_new_go_on_as_they_were_told(build_sim, kp):
    left, right = (build_sim(Scene(robot=UNDAMPED, physics_rate_hz=RATE_HZ, ground=False)) for _ in range(2))
    drive = free(UNDAMPED)
    drive.position[:], drive.effort[:], drive.kp[:], drive.limit[:] = 0.5, 2.0, kp, 100.0
    for sim in (left, right):
        sim.place(joint_position=np.array([0.1, 1.0]))
        sim.run(drive, 12)
    for is_same in (False, True, False):  # again, and told anew after it
        left.run(drive, 7, is_same=is_same)
        right.run(drive, 7)
        assert left.state.block.tobytes() == right.state.block.tobytes()


@pytest.mark.parametrize("ahead", [0.01, 5.0, -5.0])  # rad; the last two ask for more than the motors have
def test_drives_follow_their_equation(build_sim, ahead):
    sim = build_sim(Scene(robot=PANDA, physics_rate_hz=RATE_HZ))
    position = np.array([joint.home for joint in PANDA.joints])
    sim.place(joint_position=position, joint_velocity=np.full(len(position), 0.1))
    drive = Drive.holding_home(PANDA)
    drive.position += ahead
    drive.velocity += 0.3
    sim.run(drive, 1)
    held = sim.state.joint_effort.copy()
    sim.place(joint_position=position, joint_velocity=np.full(len(position), 0.1))
    sim.run(free(PANDA), 1)
    gravity = sim.state.joint_effort.copy()
    expected = np.clip(gravity + drive.kp * ahead + drive.kd * (0.3 - 0.1), -drive.limit, drive.limit)
    np.testing.assert_allclose(held, expected, atol=1e-9)


def test_a_moving_set_point_is_followed_without_lag(build_sim):
    sim = build_sim(Scene(robot=PANDA, physics_rate_hz=RATE_HZ))
    home = np.array([joint.home for joint in PANDA.joints])
    sim.place(joint_position=home)
    drive = Drive.holding_home(PANDA)
    drive.velocity[:7] = 0.4
    sim.run(drive, 500)
    np.testing.assert_allclose(sim.state.joint_position[:7] - home[:7], 0.4, atol=0.01)
    np.testing.assert_allclose(sim.state.joint_velocity[:7], 0.4, atol=0.02)


def test_gravity_compensation_alone_holds_an_arm(build_sim):
    home = np.array([joint.home for joint in PANDA.joints])
    moved = {}
    for compensated in (True, False):
        robot = replace(PANDA, gravity_compensation=compensated)
        sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
        sim.place(joint_position=home)
        sim.run(free(robot), 250)
        moved[compensated] = np.abs(sim.state.joint_position - home).max()
    assert moved[True] < 1e-3
    assert moved[False] > 0.3


def test_joints_are_matched_by_name(build_sim):
    traces = []
    for joints in (PANDA.joints, PANDA.joints[::-1]):
        robot = replace(PANDA, joints=joints)
        sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
        drive = Drive.holding_home(robot)
        drive.position[[robot.joint_names.index(ARM[1])]] += 0.2
        sim.place(joint_position=np.array([joint.home for joint in joints]))
        sim.run(drive, 100)
        traces.append(dict(zip(robot.joint_names, sim.state.joint_position.tolist(), strict=True)))
    assert traces[0] == traces[1]
    assert traces[0][ARM[1]] > PANDA.joint(ARM[1]).home + 0.05


def test_a_drives_own_limit_holds_and_not_the_descriptions(build_sim):
    """cartpole.urdf allows the slider 10 N."""
    for limit in (4.0, 25.0):
        sim = build_sim(Scene(robot=UNDAMPED, physics_rate_hz=RATE_HZ, ground=False))
        sim.place(joint_position=np.array([0.0, math.pi]))
        drive = free(UNDAMPED)
        drive.effort[:], drive.limit[:] = 100.0, limit
        sim.run(drive, 5)
        assert sim.state.joint_effort[0] == limit
        assert sim.state.joint_velocity[0] == pytest.approx(limit * 5 / RATE_HZ / (CART + POLE / 4), rel=0.01)
