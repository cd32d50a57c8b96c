"""Each backend's snapshots, and that looking leaves no trace."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rigs import RATE_HZ

from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.frames import from_yaw, rotate
from robot_wm_sim.robots.a1 import TRUNK
from robot_wm_sim.robots.panda import ARM, PANDA
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Camera, Marker, Scene


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


# What every engine can vary, of the car and of the arm; each quantity by far.
VARIED = {
    "racecar": Dynamics(
        friction=0.3,
        gravity=(0.5, 0.0, -8.0),
        mass_scale={"base_link": 1.7, "left_rear_wheel": 0.6},
        joint_damping={"left_rear_wheel_joint": 0.01},
        joint_friction={"right_rear_wheel_joint": 0.05},
    ),
    "franka_panda": Dynamics(
        gravity=(0.0, 1.0, -9.0),
        mass_scale={"panda_link4": 1.4, "panda_hand": 2.0},
        joint_damping={ARM[1]: 2.0},
        joint_friction={ARM[3]: 1.0},
    ),
}
ROBOTS = pytest.mark.parametrize("robot", [RACECAR, PANDA], ids=lambda robot: robot.name)


def journey(sim):
    """States, bit by bit, of 100 physics steps in which the robot leaves where it is."""
    drive, trace = Drive.holding_home(sim.scene.robot), []
    drive.velocity[:4] = 10.0 if sim.scene.robot is RACECAR else 0.4
    for _ in range(20):
        sim.run(drive, 5)
        trace.append(sim.state.block.tobytes())
    return trace


@ROBOTS
def test_restore_undoes_what_was_varied(build_sim, robot):
    used, fresh = (build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ)) for _ in range(2))
    start = used.save()
    as_built = journey(fresh)
    for _ in range(2):
        used.vary(VARIED[robot.name])
        assert journey(used) != as_built
        used.restore(start)
        assert used.dynamics == Dynamics()
        assert journey(used) == as_built
        used.restore(start)


@ROBOTS
def test_a_snapshot_carries_the_dynamics_that_it_was_taken_with(build_sim, robot):
    used, fresh = (build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ)) for _ in range(2))
    start = used.save()
    used.vary(VARIED[robot.name])
    journey(used)
    middle = used.save()
    wanted = journey(used)
    used.restore(start)
    journey(used)
    used.restore(middle)
    assert used.dynamics == VARIED[robot.name]
    assert journey(used) == wanted
    fresh.vary(VARIED[robot.name])
    journey(fresh)
    assert journey(fresh) == wanted


@ROBOTS
def test_what_is_varied_is_absolute(build_sim, robot):
    """Whatever was varied before: twice is once, and half of it after the whole is half of it."""
    dynamics = VARIED[robot.name]
    half = Dynamics(mass_scale=dynamics.mass_scale, joint_friction=dynamics.joint_friction)
    for wanted, before in ((dynamics, (dynamics,)), (half, (dynamics,)), (Dynamics(), (half, dynamics))):
        used, fresh = (build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ)) for _ in range(2))
        for one in (*before, wanted):
            used.vary(one)
        fresh.vary(wanted)
        assert used.dynamics == fresh.dynamics == wanted
        assert journey(used) == journey(fresh)


@pytest.mark.parametrize("task", ["a1_velocity", "racecar_goal"])
def test_a_reset_undoes_what_was_varied(build_env, backend, task):
    env = build_env(task, observation="proprio", backend=backend)
    rest = np.broadcast_to(np.float32(env.agent_spec.action.offset), env.action_space.shape)

    def episode():
        env.reset(seed=3)
        trace = []
        for _ in range(20):
            _, reward, *_ = env.step(rest)
            trace.append((env.sim.state.block.tobytes(), reward))
        return trace

    first = episode()
    base = TRUNK if task == "a1_velocity" else "base_link"
    env.sim.vary(Dynamics(friction=0.2, mass_scale={base: 2.0}, gravity=(0.0, 0.0, -5.0)))
    assert [env.step(rest)[1] for _ in range(20)] != [reward for _, reward in first]
    assert episode() == first


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
