"""Each backend's motors against the oracle: torque-speed curve, delay, friction of joints, what a snapshot keeps."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rigs import BLOCK_KG, RATE_HZ, SLIDER, WHEEL_KG_M2, follow, free

from robot_wm.spec import JointLimits
from robot_wm_sim.actuators.actuator import Actuator, TorqueSpeedCurve
from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.robots.panda import PANDA
from robot_wm_sim.scene import Scene

CURVE = TorqueSpeedCurve(corner_speed=0.5, no_load_speed=2.0)
TIGHT = 1e-9  # m, m/s, N: both engines were within 4e-14 of the oracle


@pytest.fixture
def build(describe, build_sim):
    """Robot and backend of a block on a rail and a wheel, or of the block alone, with these actuators in that order."""

    def build(*actuators, kp=60.0, kd=15.0, limit=20.0, **joint):
        robot = describe(SLIDER, "slide", "turn")
        fields = {"kp": kp, "kd": kd, "limits": JointLimits(effort=limit, velocity=100.0), **joint}
        pairs = zip(robot.joints, actuators, strict=False)
        robot = replace(robot, joints=tuple(replace(one, actuator=actuator, **fields) for one, actuator in pairs))
        return robot, build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))

    return build


def state(sim):
    """Position, velocity, effort of the joints, [3, J]."""
    return np.array([sim.state.joint_position, sim.state.joint_velocity, sim.state.joint_effort])


def test_a_curve_cuts_efforts_as_the_oracle_says_in_all_four_quadrants(build):
    """A set-point thrown to and fro, and a start faster than the motor runs by itself."""
    robot, sim = build(Actuator(torque_speed=CURVE))
    drive = Drive.holding_home(robot)
    q, v = np.array([0.3]), np.array([4.0])
    sim.place(joint_position=q, joint_velocity=v)
    seen, uncurved = set(), 0
    for tick in range(60):
        drive.position[:] = 1.5 * math.sin(tick / 5)
        drive.effort[:] = 30.0 * math.cos(tick / 7)
        sim.run(drive, 10)
        plain = follow(drive, 10, inertia=BLOCK_KG, position=q[0], velocity=v[0])
        q, v, effort = follow(drive, 10, inertia=BLOCK_KG, position=q[0], velocity=v[0], curve=CURVE)
        np.testing.assert_allclose(state(sim), [q, v, effort], atol=TIGHT)
        uncurved += abs(plain[2][0] - effort[0]) > 1.0
        seen.add((v[0] > 0, effort[0] > 0))
    assert len(seen) == 4
    assert uncurved > 10


def test_a_motor_at_full_effort_runs_up_to_its_no_load_speed(build):
    """v = v0 (1 - exp(-s t / (m v0))), here in the closed form of its Euler steps."""
    curve = TorqueSpeedCurve(no_load_speed=3.0)
    robot, sim = build(Actuator(torque_speed=curve), kp=0.0, kd=0.0, limit=12.0)
    drive = free(robot)
    drive.effort[:] = 1000.0
    for steps in (100, 900):
        sim.run(drive, steps)
        done = 100 if steps == 100 else 1000
        expected = 3.0 * (1.0 - (1.0 - 12.0 / (BLOCK_KG * 3.0 * RATE_HZ)) ** done)
        np.testing.assert_allclose(sim.state.joint_velocity, expected, rtol=1e-9)


@pytest.mark.parametrize("strength", [0.8, 1.2])
def test_strength_scales_a_curve_with_the_drive(build, strength):
    """So that whoever varies the strength of motors varies a Drive, whatever its actuators are."""
    robot, sim = build(Actuator(torque_speed=CURVE))
    drive = Drive.holding_home(robot)
    drive.position[:], drive.effort[:] = 0.7, 12.0
    sim.run(replace(drive, **{part: strength * getattr(drive, part) for part in ("effort", "kp", "kd", "limit")}), 60)
    q, v, _ = follow(drive, 60, inertia=BLOCK_KG / strength, curve=CURVE)
    np.testing.assert_allclose(state(sim)[:2], [q, v], atol=TIGHT)


@pytest.mark.parametrize("actuator", [Actuator(torque_speed=CURVE), Actuator(delay_s=1e-9)], ids=["curve", "late"])
def test_gravity_compensation_is_part_of_what_the_motor_gives(build_sim, actuator):
    """At speeds at which some of its motors cannot give what it takes; a delay of no step changes nothing."""
    position = np.array([joint.home for joint in PANDA.joints])
    velocity = np.linspace(-2.4, 2.4, len(position))
    efforts = []
    for robot in (PANDA, PANDA.driven_by(actuator)):
        sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
        sim.place(joint_position=position, joint_velocity=velocity)
        drive = Drive.holding_home(robot)
        drive.position += 0.05
        drive.limit[:] *= 0.5
        sim.run(drive, 1)
        efforts.append(sim.state.joint_effort.copy())
    curve, limit = actuator.torque_speed, drive.limit
    if curve is None:
        np.testing.assert_allclose(efforts[1], efforts[0], atol=TIGHT)
        return
    stall = limit * curve.stall_ratio
    least, largest = (np.clip(stall * (sign - velocity / 2.0), -limit, limit) for sign in (-1.0, 1.0))
    expected = np.clip(efforts[0], least, largest)
    np.testing.assert_allclose(efforts[1], expected, atol=TIGHT)
    assert (np.abs(efforts[0] - expected) > 1.0).sum() >= 2


def tell(sim, drive, steps, position):
    """Run under a set-point [M] that stays until it is changed."""
    drive.position[:] = position
    sim.run(drive, steps)


@pytest.mark.parametrize("late", [1, 5, 23])
def test_a_delay_is_a_set_point_that_is_told_so_many_steps_later(build, late):
    """Each motor has its own: the wheel, of another delay, does not care what the block's is. Until then they brake."""
    robot, sim = build(Actuator(delay_s=late / RATE_HZ), Actuator(delay_s=0.006), kp=1.0, kd=0.2)
    sim.place(joint_position=np.zeros(2), joint_velocity=np.array([0.5, 0.5]))
    drive = Drive.holding_home(robot)
    trace = []
    for position in (0.4, -0.3, 0.9):
        drive.velocity[:] = position  # it moves on between
        tell(sim, drive, 7, position)
        trace.append(state(sim))
        tell(sim, drive, 3, position)
        trace.append(state(sim))
    for row, (inertia, delay) in enumerate(((BLOCK_KG, late), (WHEEL_KG_M2, 3))):
        one = Drive(**{name: part[:1].copy() for name, part in vars(drive).items()})
        q, v = 0.0, 0.5
        for step in range(30):
            told = step - delay
            run = told // 10 * 10 + (7 if told % 10 >= 7 else 0)  # the step in which it was told
            one.position[:] = one.velocity[:] = (0.4, -0.3, 0.9)[told // 10] if told >= 0 else 0.0
            one.kp[:] = 1.0 if told >= 0 else 0.0
            one.position += one.velocity * (told - run) / RATE_HZ
            (q,), (v,), effort = follow(one, 1, inertia=inertia, position=q, velocity=v)
            if step % 10 in (6, 9):
                found = trace[2 * (step // 10) + (step % 10 == 9)][:, row]
                np.testing.assert_allclose(found, [q, v, effort[0]], atol=TIGHT)


@pytest.mark.parametrize("actuator", [Actuator(delay_s=0.014), Actuator(delay_s=0.03, torque_speed=CURVE)])
def test_what_is_under_way_does_not_depend_on_how_the_steps_are_cut(build, actuator):
    robot, whole = build(actuator)
    _, cut = build(actuator)
    drive = Drive.holding_home(robot)
    for position in (0.4, -0.3, 0.9):
        tell(whole, drive, 10, position)
        for steps in (1, 6, 3):
            tell(cut, drive, steps, position)
        np.testing.assert_array_equal(state(cut), state(whole))


def test_a_snapshot_keeps_what_is_under_way(build):
    robot, sim = build(Actuator(delay_s=0.03, torque_speed=CURVE))
    start, drive = sim.save(), Drive.holding_home(robot)

    def go(*positions):
        trace = []
        for position in positions:
            tell(sim, drive, 10, position)
            trace.append(state(sim))
        return np.array(trace)

    first = go(0.5, -0.4)
    middle = sim.save()
    then = go(0.2, 0.3)
    assert len(np.unique(then, axis=0)) == 2
    go(5.0)
    sim.restore(middle)
    np.testing.assert_array_equal(go(0.2, 0.3), then)
    sim.restore(start)
    np.testing.assert_array_equal(go(0.5, -0.4), first)
    sim.restore(middle)
    np.testing.assert_array_equal(go(0.2, 0.3), then)


@pytest.mark.parametrize("actuator", [Actuator(), Actuator(torque_speed=TorqueSpeedCurve(no_load_speed=1e6))])
def test_friction_of_a_motor_is_that_of_its_joint(build, actuator):
    """Viscous and dry, as built: m v' = u - d v - f sign(v); first order of a step's length, 0.5 %."""
    robot, sim = build(actuator, kp=0.0, kd=0.0, damping=4.0, friction=3.0)
    drive = free(robot)
    drive.effort[:] = 11.0
    sim.run(drive, 400)
    expected = (11.0 - 3.0) / 4.0 * (1.0 - math.exp(-4.0 / BLOCK_KG * 0.8))
    assert sim.state.joint_velocity[0] == pytest.approx(expected, rel=0.01)
    assert sim.state.joint_effort[0] == pytest.approx(11.0, rel=1e-4)  # before friction
    drive.effort[:] = 0.0
    sim.run(drive, 1000)
    drive.effort[:] = 2.7  # less than it takes; see test_dry_friction_of_joints
    start = sim.state.joint_position[0]
    sim.run(drive, 500)
    assert sim.state.joint_position[0] == pytest.approx(start, abs=1e-5)


def test_dynamics_put_another_friction_in_place_of_the_joint_s(build):
    robot, sim = build(Actuator(), kp=0.0, kd=0.0, friction=3.0)
    for varied, expected in ((Dynamics(joint_friction={"slide": 1.0}), 1.0), (Dynamics(), 3.0)):
        sim.vary(varied)
        sim.place(joint_position=np.zeros(1), joint_velocity=np.array([2.0]))
        sim.run(free(robot), 100)
        np.testing.assert_allclose(sim.state.joint_velocity, 2.0 - expected / BLOCK_KG * 0.2, rtol=1e-6)
