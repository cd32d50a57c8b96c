"""Each backend against mechanics: forces, periods, energy, free fall, end stops."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from rigs import CART, COUPLED, GRAVITY, HALF, INERTIA, POLE, RATE_HZ, UNDAMPED, free

from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Scene


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


def test_a_robot_falls_freely(build_sim):
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
    sim.place(joint_position=np.zeros(6), base_position=(0.0, 0.0, 100.0), base_linear_velocity=(1.0, 0.0, 2.0))
    sim.run(free(RACECAR), 500)
    assert sim.state.base_linear_velocity == pytest.approx((1.0, 0.0, 2.0 - GRAVITY), abs=1e-6)
    assert sim.state.base_position == pytest.approx((1.0, 0.0, 102.0 - GRAVITY / 2), abs=GRAVITY / RATE_HZ / 2 + 1e-6)
