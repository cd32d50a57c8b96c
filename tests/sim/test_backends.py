"""Each backend against mechanics: forces, periods, energy, frames, snapshots, names."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_sim.drive import Drive
from robot_wm_sim.frames import conjugate, from_yaw, multiply, rotate
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.cartpole import CARTPOLE
from robot_wm_sim.robots.description import pybullet_description
from robot_wm_sim.robots.panda import ARM, PANDA
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Camera, Marker, Scene

RATE_HZ = 500.0
GRAVITY = 9.81
# The cartpole of its description, without damping: masses kg, hinge to the pole's centre m, its inertia kg·m².
CART, POLE, HALF, INERTIA = 1.0, 0.1, 0.5, 0.0083333
COUPLED = (CART + POLE) * (INERTIA + POLE * HALF**2) - (POLE * HALF) ** 2
UNDAMPED = replace(CARTPOLE, joints=tuple(replace(joint, damping=0.0) for joint in CARTPOLE.joints))
TILTED = (0.36, 0.48, 0.0, 0.8)


def free(robot):
    """Drives that push with nothing."""
    drive = Drive.holding_home(robot)
    drive.kp[:] = drive.kd[:] = 0.0
    return drive


def energy(state):
    """Kinetic and potential, J, of the cartpole."""
    angle, (speed, rate) = state.joint_position[1], state.joint_velocity
    forward, up = speed + HALF * math.cos(angle) * rate, -HALF * math.sin(angle) * rate
    kinetic = 0.5 * (CART * speed**2 + POLE * (forward**2 + up**2) + INERTIA * rate**2)
    return kinetic + POLE * GRAVITY * HALF * math.cos(angle)


@pytest.fixture
def cartpole(build_sim):
    return build_sim(Scene(robot=UNDAMPED, physics_rate_hz=RATE_HZ, ground=False))


def test_an_effort_changes_momentum_by_force_times_time(cartpole):
    cartpole.place(joint_position=np.array([0.0, math.pi]))
    drive = free(UNDAMPED)
    drive.effort[:] = 3.0
    cartpole.run(drive, 100)
    (_, angle), (speed, rate) = cartpole.state.joint_position, cartpole.state.joint_velocity
    momentum = CART * speed + POLE * (speed + HALF * math.cos(angle) * rate)
    assert momentum == pytest.approx(3.0 * 100 / RATE_HZ, rel=1e-3)
    assert cartpole.state.joint_effort.tolist() == [3.0, 0.0]


def test_the_hanging_pole_swings_with_its_analytical_period(cartpole):
    cartpole.place(joint_position=np.array([0.0, math.pi + 0.05]))
    drive, angles = free(UNDAMPED), []
    for _ in range(3000):
        cartpole.run(drive, 1)
        angles.append(cartpole.state.joint_position[1] - math.pi)
    crossings = [i - a / (b - a) for i, (a, b) in enumerate(itertools.pairwise(angles)) if a < 0 <= b]
    period = np.diff(crossings).mean() / RATE_HZ
    assert period == pytest.approx(2 * math.pi * math.sqrt(COUPLED / ((CART + POLE) * POLE * GRAVITY * HALF)), rel=3e-3)


def test_the_upright_pole_falls_at_its_analytical_rate(cartpole):
    growth = math.sqrt((CART + POLE) * POLE * GRAVITY * HALF / COUPLED)  # 1/s
    cartpole.place(joint_position=np.array([0.0, 1e-3]))
    cartpole.run(free(UNDAMPED), 250)
    assert cartpole.state.joint_position[1] == pytest.approx(1e-3 * math.cosh(growth * 250 / RATE_HZ), rel=0.01)


def test_without_damping_energy_stays(cartpole):
    cartpole.place(joint_position=np.array([0.0, 1.0]))
    start, drive = energy(cartpole.state), free(UNDAMPED)
    for _ in range(100):
        cartpole.run(drive, 50)
        assert energy(cartpole.state) == pytest.approx(start, abs=0.01)


def test_damping_of_the_robots_joints_takes_energy(build_sim):
    robot = replace(UNDAMPED, joints=(UNDAMPED.joints[0], replace(UNDAMPED.joints[1], damping=0.02)))
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
    sim.place(joint_position=np.array([0.0, 1.0]))
    sim.run(free(robot), 10000)
    assert energy(sim.state) == pytest.approx(-POLE * GRAVITY * HALF, abs=1e-3)


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


def test_a_joint_or_a_link_that_the_description_lacks_is_named(build_sim):
    robot = replace(CARTPOLE, joints=(*CARTPOLE.joints, Joint(name="elbow")))
    with pytest.raises(UserError, match=r"cartpole.urdf has no moving joint 'elbow'; it has \['hinge', 'slider'\]"):
        build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
    with pytest.raises(UserError, match="no link 'hand'; it has"):
        build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ)).link_pose("hand")
    with pytest.raises(UserError, match=r"no description file|cannot read the URDF"):
        build_sim(Scene(robot=replace(CARTPOLE, description=CARTPOLE.description / "no"), physics_rate_hz=RATE_HZ))


def test_a_joint_that_the_robot_does_not_list_is_free(build_sim):
    traces = []
    for joints in (UNDAMPED.joints, UNDAMPED.joints[:1]):
        robot = replace(UNDAMPED, joints=joints)
        sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
        drive, trace = free(robot), []
        for tick in range(100):
            drive.effort[0] = 3.0 if tick < 20 else 0.0
            sim.run(drive, 5)
            trace.append((*sim.state.joint_position[:1], *sim.link_pose("pole")[1]))
        traces.append(np.array(trace))
    np.testing.assert_array_equal(*traces)
    assert np.ptp(traces[0][:, 2]) > 0.5  # the pole has fallen over


@pytest.mark.parametrize("push", [4.0, -4.0])  # N
def test_a_joint_stops_at_the_descriptions_position_limit(build_sim, push):
    robot = replace(UNDAMPED, joints=(*UNDAMPED.joints[:1], replace(UNDAMPED.joints[1], damping=0.05)))
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
    sim.place(joint_position=np.array([0.0, math.pi]))
    drive, furthest = free(robot), 0.0
    drive.effort[0] = push
    for _ in range(400):
        sim.run(drive, 10)
        furthest = max(furthest, abs(sim.state.joint_position[0]))
    assert sim.state.joint_position[0] == pytest.approx(math.copysign(2.0, push), abs=0.005)
    assert furthest < 2.05


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


@pytest.fixture
def floating(build_sim):
    """A robot whose base has its centre of mass off its frame and principal axes turned against it, in free fall."""
    joints = tuple(Joint(name=f"{leg}_{part}_joint") for leg in ("FR", "FL", "RR", "RL") for part in ("hip", "upper"))
    robot = Robot(name="a1", description=pybullet_description("a1/a1.urdf"), joints=joints, firmware="none")
    return build_sim(Scene(robot=robot, physics_rate_hz=4000.0, ground=False, gravity=0.0))


def test_the_base_pose_is_that_of_its_links_frame(floating):
    joints = np.zeros(8)
    floating.place(joint_position=joints, base_position=(1.0, -2.0, 3.0), base_quaternion=TILTED)
    np.testing.assert_allclose(floating.state.base_position, (1.0, -2.0, 3.0), atol=1e-9)
    np.testing.assert_allclose(floating.state.base_quaternion, TILTED, atol=1e-9)
    position, quaternion = floating.link_pose("imu_link")  # fixed in the trunk's origin
    np.testing.assert_allclose(position, (1.0, -2.0, 3.0), atol=1e-6)
    np.testing.assert_allclose(quaternion, TILTED, atol=1e-6)
    np.testing.assert_allclose(floating.link_pose("trunk")[0], (1.0, -2.0, 3.0), atol=1e-9)


def test_a_robot_falls_freely(build_sim):
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
    sim.place(joint_position=np.zeros(6), base_position=(0.0, 0.0, 100.0), base_linear_velocity=(1.0, 0.0, 2.0))
    sim.run(free(RACECAR), 500)
    assert sim.state.base_linear_velocity == pytest.approx((1.0, 0.0, 2.0 - GRAVITY), abs=1e-6)
    assert sim.state.base_position == pytest.approx((1.0, 0.0, 102.0 - GRAVITY / 2), abs=GRAVITY / RATE_HZ / 2 + 1e-6)


def test_a_fixed_base_stands_where_the_robot_says(build_sim):
    robot = replace(CARTPOLE, base_position=(1.0, 2.0, 3.0))
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
    sim.place(joint_position=np.array([0.5, 0.0]))
    np.testing.assert_array_equal(sim.state.base_position, robot.base_position)
    np.testing.assert_allclose(sim.link_pose("rail")[0], (1.0, 2.0, 3.0), atol=1e-9)
    np.testing.assert_allclose(sim.link_pose("cart")[0], (1.5, 2.0, 3.0), atol=1e-9)


def test_places_of_links_come_together_as_they_do_one_by_one(build_sim):
    sim = build_sim(Scene(robot=PANDA, physics_rate_hz=RATE_HZ))
    links = ("panda_grasptarget", "panda_link0", "panda_link4")  # the second is the base
    drive = Drive.holding_home(PANDA)
    drive.velocity[:7] = 0.5
    for steps in (1, 40):
        sim.run(drive, steps)
        one_by_one = [sim.link_pose(link)[0] for link in links]
        np.testing.assert_allclose(sim.link_positions(links), one_by_one, atol=2e-3)  # 1 m/s, one physics step


def test_the_base_velocity_is_that_of_its_links_frame(floating):
    velocity, spin = np.array([0.3, -0.2, 0.1]), np.array([2.0, -1.0, 3.0])
    floating.place(
        joint_position=np.zeros(8),
        base_position=(0.0, 0.0, 1.0),
        base_quaternion=TILTED,
        base_linear_velocity=velocity,
        base_angular_velocity=spin,
    )
    np.testing.assert_allclose(floating.state.base_linear_velocity, velocity, atol=1e-9)
    np.testing.assert_allclose(floating.state.base_angular_velocity, spin, atol=1e-9)
    floating.run(free(floating.scene.robot), 1)
    turned = multiply(floating.state.base_quaternion, conjugate(TILTED))
    np.testing.assert_allclose(2 * 4000.0 * np.array(turned[:3]), floating.state.base_angular_velocity, atol=2e-2)
    floating.run(free(floating.scene.robot), 40)
    before, reported = floating.state.base_position.copy(), floating.state.base_linear_velocity.copy()
    floating.run(free(floating.scene.robot), 1)
    moved = (floating.state.base_position - before) * 4000.0
    np.testing.assert_allclose(moved, (reported + floating.state.base_linear_velocity) / 2, atol=2e-3)


def test_what_follows_a_restored_snapshot_is_bit_equal(build_sim):
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
    drive = Drive.holding_home(RACECAR)
    drive.velocity[:4] = 15.0
    drive.position[4:] = 0.3

    def go():
        trace = []
        for _ in range(20):
            sim.run(drive, 5)
            state = vars(sim.state).values()
            trace.append(np.concatenate([*state, sim.contact_forces(["left_rear_wheel"])]).tobytes())
        return trace

    sim.run(drive, 33)
    snapshot, effort = sim.save(), sim.state.joint_effort.copy()
    assert effort.any()
    first = go()
    for height in (0.0, 0.2):  # the second time from the air, without a contact
        sim.place(joint_position=np.zeros(6), base_position=(0.1, 0.1, height), base_quaternion=from_yaw(2.0))
        sim.run(drive, 7)
        sim.restore(snapshot)
        np.testing.assert_array_equal(sim.state.joint_effort, effort)
        assert go() == first


def test_a_restored_snapshot_brings_markers_back(build_seeing_sim):
    marker = Marker(name="ball", radius=0.1, colour=(1.0, 0.0, 0.0, 1.0))
    sim = build_seeing_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ, markers=(marker,)))
    camera = Camera(eye=(0.0, -1.0, 2.0), target=(0.0, 0.0, 0.0))
    sim.move_marker("ball", (0.2, 0.3, 0.1))
    snapshot, picture = sim.save(), sim.render(camera, height=48, width=48)
    sim.move_marker("ball", (5.0, 5.0, 5.0))
    assert (sim.render(camera, height=48, width=48) != picture).any()
    sim.restore(snapshot)
    np.testing.assert_array_equal(sim.render(camera, height=48, width=48), picture)


def test_looking_changes_nothing(build_seeing_sim):
    """Whoever asks for a link's place or a picture between steps: physics and later answers are the same bit by bit."""
    traces = []
    for looking in (False, True):
        sim = build_seeing_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
        drive, trace = Drive.holding_home(RACECAR), []
        drive.velocity[:4] = 15.0
        for _ in range(10):
            sim.run(drive, 5)
            if looking:
                sim.link_pose("camera_link")
                sim.render(Camera(eye=(0.0, -1.0, 2.0), target=(0.0, 0.0, 0.0)), height=8, width=8)
            trace += [sim.state.block.tobytes(), sim.contact_forces(["left_rear_wheel"])]
        traces.append(trace)
    assert traces[0] == traces[1]


def test_a_mounted_camera_turns_with_its_link_and_a_level_one_does_not(build_seeing_sim):
    marker = Marker(name="ball", radius=0.3, colour=(1.0, 0.0, 0.0, 1.0))
    sim = build_seeing_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ, markers=(marker,)))
    quarter = from_yaw(math.pi / 2)
    sim.place(joint_position=np.zeros(6), base_position=(1.0, 1.0, 0.0), base_quaternion=quarter)
    camera = Camera(eye=(0.0, 0.0, 0.0), target=(1.0, 0.0, 0.0), mount="camera_link")

    def sees_red(camera):
        middle = sim.render(camera, height=32, width=32)[12:20, 12:20].reshape(-1, 3).mean(axis=0)
        return middle[0] > 100 > middle[1] + middle[2]

    ahead = np.array([1.0, 1.0, 0.13]) + rotate(quarter, (2.36, 0.0, 0.0))
    level = replace(camera, eye=(0.0, 0.0, 0.13), target=(1.0, 0.0, 0.13), keep_level=True)  # heights of the world
    sim.move_marker("ball", ahead)
    assert sees_red(camera)
    assert not sees_red(level)
    sim.move_marker("ball", (3.36, 1.36, 0.13))
    assert not sees_red(camera)
    assert sees_red(level)
    sim.place(joint_position=np.zeros(6), base_position=(1.0, 1.0, 2.0), base_quaternion=quarter)
    assert sees_red(level)  # it follows over the ground only


def test_quaternions_compose_as_rotations_do():
    turn = multiply(TILTED, from_yaw(0.7))
    np.testing.assert_allclose(rotate(turn, (1.0, 2.0, 3.0)), rotate(TILTED, rotate(from_yaw(0.7), (1.0, 2.0, 3.0))))
    np.testing.assert_allclose(rotate(from_yaw(math.pi / 2), (1.0, 0.0, 0.0)), (0.0, 1.0, 0.0), atol=1e-12)


def test_a_closed_backend_says_so(build_sim):
    sim = build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ))
    sim.close()
    sim.close()
    with pytest.raises(RuntimeError, match="closed"):
        sim.save()
