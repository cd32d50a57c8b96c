"""Where each backend says that the base and links are, and how fast."""

from dataclasses import replace

import numpy as np
import pytest
from rigs import RATE_HZ, free

from robot_wm_sim.drive import Drive
from robot_wm_sim.frames import conjugate, multiply
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.cartpole import CARTPOLE
from robot_wm_sim.robots.description import pybullet_description
from robot_wm_sim.robots.panda import PANDA
from robot_wm_sim.scene import Scene

TILTED = (0.36, 0.48, 0.0, 0.8)


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
