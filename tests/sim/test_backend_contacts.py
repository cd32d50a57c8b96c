"""Contacts in each backend: what carries, stops, slides, and what touches nothing."""

import math

import numpy as np
import pytest

from robot_wm.spec import JointLimits
from robot_wm_sim.drive import Drive
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Box, Marker, Scene

RATE_HZ = 500.0
GRAVITY = 9.81
WHEELS = [name.removesuffix("_joint") for name in RACECAR.couplings["drive"]]

INERTIAL = (
    '<inertial><mass value="{mass}"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>'
)
LIMIT = '<limit lower="-50" upper="50" effort="1000" velocity="100"/>'
# A block of 2 kg that rises and slides, over a floor of its own that does not move.
SLEDGE = f"""<robot name="sledge">
  <link name="floor">{INERTIAL.format(mass=1)}<collision>
    <origin xyz="0 0 -0.5"/><geometry><box size="40 2 1"/></geometry></collision></link>
  <link name="lift">{INERTIAL.format(mass=0.001)}</link>
  <link name="block">{INERTIAL.format(mass=2)}<collision><origin xyz="0 0 0.05"/>
    <geometry><box size="0.2 0.2 0.1"/></geometry></collision></link>
  <joint name="up" type="prismatic"><parent link="floor"/><child link="lift"/><axis xyz="0 0 1"/>{LIMIT}</joint>
  <joint name="along" type="prismatic"><parent link="lift"/><child link="block"/><axis xyz="1 0 0"/>{LIMIT}</joint>
</robot>"""
# Two blocks on one rail, 0.6 m from middle to middle.
PAIR = f"""<robot name="pair">
  <link name="rail">{INERTIAL.format(mass=1)}</link>
  <link name="left">{INERTIAL.format(mass=1)}<collision>
    <geometry><box size="0.2 0.2 0.2"/></geometry></collision></link>
  <link name="right">{INERTIAL.format(mass=1)}<collision><origin xyz="0.6 0 0"/>
    <geometry><box size="0.2 0.2 0.2"/></geometry></collision></link>
  <joint name="first" type="prismatic"><parent link="rail"/><child link="left"/><axis xyz="1 0 0"/>{LIMIT}</joint>
  <joint name="second" type="prismatic"><parent link="rail"/><child link="right"/><axis xyz="1 0 0"/>{LIMIT}</joint>
</robot>"""


@pytest.fixture
def describe(tmp_path):
    """A robot with a fixed base from a URDF's text and joint names; each joint has a motor without gains."""

    def describe(text, *names, **fields):
        path = tmp_path / "robot.urdf"
        path.write_text(text)
        joints = tuple(Joint(name=name, limits=JointLimits(effort=1000.0, velocity=100.0)) for name in names)
        return Robot(name="test", description=path, joints=joints, firmware="none", fixed_base=True, **fields)

    return describe


@pytest.fixture
def slide(build_sim, describe):
    """Speed, m/s, of the block after one second of the push that gravity would give on a slope."""

    def slide(slope_deg, **fields):
        robot = describe(SLEDGE, "up", "along", **fields)
        sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=not robot.self_collision))
        drive = Drive.holding_home(robot)
        sim.run(drive, 100)
        drive.effort[1] = 2.0 * GRAVITY * math.tan(math.radians(slope_deg))
        start = sim.state.joint_position[1]
        sim.run(drive, 500)
        return 2 * (sim.state.joint_position[1] - start)  # of a constant acceleration, and no ripple of contacts in it

    return slide


@pytest.mark.parametrize("friction", [0.5, 0.8, 1.25])
def test_a_robot_slides_from_the_angle_of_its_own_friction_on(slide, friction):
    angle = math.degrees(math.atan(friction))
    assert slide(angle - 1.0, friction=friction) < 2e-3
    for steeper in (1.0, 5.0):
        push = math.tan(math.radians(angle + steeper))
        assert slide(angle + steeper, friction=friction) == pytest.approx(GRAVITY * (push - friction), rel=0.05)


def test_frictions_of_two_links_multiply(slide):
    """Half and half is a quarter: at the angle of a half the block would stand still."""
    push = math.tan(math.radians(20.0))
    speed = slide(20.0, friction=0.5, self_collision=True)
    assert speed == pytest.approx(GRAVITY * (push - 0.25), rel=0.05)


def test_contact_forces_carry_the_weight(build_sim):
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
    sim.run(Drive.holding_home(RACECAR), 500)
    forces = sim.contact_forces([*WHEELS, "base_link"])
    assert sum(forces[:4]) == pytest.approx((4.2 + 0.1 + 4 * 0.34 + 2 * 0.1) * GRAVITY, rel=0.02)
    assert min(forces[:4]) > 5.0
    assert forces[4] == 0.0


def test_contact_forces_come_back_with_a_snapshot(build_sim):
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
    sim.run(Drive.holding_home(RACECAR), 500)
    snapshot, forces = sim.save(), sim.contact_forces(WHEELS)
    sim.place(joint_position=np.zeros(6), base_position=(0.0, 0.0, 1.0))
    sim.run(Drive.holding_home(RACECAR), 5)
    assert sim.contact_forces(WHEELS) == [0.0] * 4
    sim.restore(snapshot)
    assert sim.contact_forces(WHEELS) == forces


def test_a_wall_stops_the_car_and_a_marker_does_not(build_sim):
    wall = Box(name="wall", half_extents=(0.1, 1.0, 0.2), position=(1.0, 0.0, 0.2), colour=(1.0, 1.0, 1.0, 1.0))
    ball = Marker(name="ball", radius=0.3, colour=(1.0, 0.0, 0.0, 1.0))
    traces = {}
    for name, things in (("free", {}), ("wall", {"boxes": (wall,)}), ("marker", {"markers": (ball,)})):
        sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ, **things))
        if name == "marker":
            sim.move_marker("ball", (1.0, 0.0, 0.2))
        drive = Drive.holding_home(RACECAR)
        drive.velocity[:4] = 20.0
        sim.run(drive, 1000)
        traces[name] = sim.state.block.copy()
        assert (sim.contact_forces(["base_link"])[0] > 0.0) == (name == "wall")
    x = {name: trace[2 * 6] for name, trace in traces.items()}  # of the base
    assert x["free"] > 1.5
    assert x["wall"] + 0.38 < 0.95  # the bumper stands 0.38 m before the base's origin
    np.testing.assert_array_equal(traces["marker"], traces["free"])


def test_a_fixed_base_in_the_ground_touches_nothing(build_sim, describe):
    robot = describe(SLEDGE, "up", "along")
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
    sim.run(Drive.holding_home(robot), 100)
    assert sim.contact_forces(["floor"]) == [0.0]
    assert sim.contact_forces(["block"])[0] == pytest.approx(2.001 * GRAVITY, rel=0.01)


@pytest.mark.parametrize("collides", [True, False])
def test_parts_of_a_robot_touch_each_other_only_where_it_says_so(build_sim, describe, collides):
    robot = describe(PAIR, "first", "second", self_collision=collides)
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False, gravity=0.0))
    drive = Drive.holding_home(robot)
    drive.effort[0] = 2.0
    sim.run(drive, 500)
    left, right = sim.state.joint_position
    if collides:
        assert right > 0.05
        assert left < right + 0.4 + 1e-3  # they touch
    else:
        assert right == 0.0
        assert left == pytest.approx(1.0, abs=0.01)  # a t² / 2


def test_links_that_a_joint_joins_may_overlap(build_sim, describe):
    nested = PAIR.replace('<parent link="rail"/><child link="right"/>', '<parent link="left"/><child link="right"/>')
    overlapping = nested.replace('xyz="0.6 0 0"', 'xyz="0.1 0 0"')
    robot = describe(overlapping, "first", "second", self_collision=True)
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False, gravity=0.0))
    sim.run(Drive.holding_home(robot), 100)
    np.testing.assert_array_equal(sim.state.joint_position, 0.0)
