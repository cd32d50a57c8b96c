"""Contacts in each backend: what carries, stops, slides, and what touches nothing."""

import math
import re

import numpy as np
import pytest
from rigs import GRAVITY, PAIR, RATE_HZ, SLEDGE, refusal

from robot_wm_sim.drive import Drive
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Box, Marker, Scene

WHEELS = [name.removesuffix("_joint") for name in RACECAR.couplings["drive"]]


@pytest.fixture
def sledge(build_sim, describe):
    """The backend of a block over the ground, or over its own floor where it collides with itself, and idle drives."""

    def sledge(*, rule="multiply", **fields):
        robot = describe(SLEDGE, "up", "along", **fields)
        ground = not robot.self_collision
        sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=ground, friction_combine=rule))
        return sim, Drive.holding_home(robot)

    return sledge


@pytest.fixture
def slide(sledge):
    """Speed, m/s, of the block after one second of the push that gravity would give on a slope."""

    def slide(slope_deg, **fields):
        sim, drive = sledge(**fields)
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


# What 0.5 on the ground's 1, and 0.5 on 0.5, come to.
RULES = {"multiply": (0.5, 0.25), "average": (0.75, 0.5), "min": (0.5, 0.5), "max": (1.0, 0.5)}


@pytest.mark.parametrize("on_itself", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_frictions_combine_as_the_scene_says_or_are_refused(slide, rule, on_itself):
    """A thrown block loses mu * g; on a floor of its own robot the other coefficient is half, too."""
    friction = RULES[rule][on_itself]
    push = math.tan(math.radians(50.0))
    speeds = []
    line = refusal(lambda: speeds.append(slide(50.0, rule=rule, friction=0.5, self_collision=on_itself)))
    if line is None:
        assert speeds == pytest.approx([GRAVITY * (push - friction)], rel=0.02)
    else:
        assert rule != "multiply"  # which every engine must know
        assert re.fullmatch(rf"scene: friction_combine is '{rule}', but backend \w+ knows .*", line)


@pytest.mark.parametrize("friction", [0.3, 0.8, 1.25])
def test_a_thrown_block_stops_after_the_way_that_its_friction_allows_and_stays(sledge, friction):
    """It loses mu * g. Of the way and not of a speed between: in MuJoCo what slides hops, by up to 3 mm here."""
    sim, drive = sledge(friction=friction)
    sim.run(drive, 200)
    start, speed, loss = sim.state.joint_position.copy(), 1.5, friction * GRAVITY  # m, m/s, m/s²
    sim.place(joint_position=start, joint_velocity=np.array([0.0, speed]))
    sim.run(drive, round(1.5 * speed / loss * RATE_HZ))
    way = sim.state.joint_position[1] - start[1]
    # A step's way is that of its end's speed: half a step's less in all.
    assert way == pytest.approx(speed**2 / (2 * loss) - speed / RATE_HZ / 2, rel=0.01)
    sim.run(drive, 500)
    assert sim.state.joint_position[1] - start[1] == pytest.approx(way, abs=1e-6)


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
