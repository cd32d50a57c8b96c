"""Actuators: the law at single points and as properties, what is refused, one law in environment and in real time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import dc_motor

from robot_wm.errors import UserError
from robot_wm.spec import JointLimits
from robot_wm_sim.actuators.actuator import Actuator, TorqueSpeedCurve
from robot_wm_sim.actuators.law import effort_range, wanted_effort
from robot_wm_sim.drive import Drive
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.realtime.simulated_robot import SimulatedRobot
from robot_wm_sim.robot import Joint
from robot_wm_sim.robots.a1 import A1, ACTUATORS
from robot_wm_sim.sensing.sensor_model import EXACT, SensorModel
from robot_wm_sim.tasks.a1 import A1Velocity

CURVE = TorqueSpeedCurve(corner_speed=10.0, no_load_speed=30.0)
LATE = Actuator(torque_speed=ACTUATORS["torque_speed"].torque_speed, delay_s=0.006)


def cut(limit, velocity, curve):
    """`effort_range` of one motor, two floats."""
    ratio, fall = (1.0, 0.0) if curve is None else (curve.stall_ratio, curve.stall_ratio / curve.no_load_speed)
    arrays = (np.array([value]) for value in (limit, velocity))
    least, largest = effort_range(*arrays, stall_ratio=np.array([ratio]), fall=np.array([fall]))
    return least.item(), largest.item()


@pytest.mark.parametrize(
    ("velocity", "least", "largest"),
    [
        (0.0, -20.0, 20.0),
        (10.0, -20.0, 20.0),  # the corner
        (20.0, -20.0, 10.0),  # half way down the line
        (30.0, -20.0, 0.0),  # no load
        (40.0, -20.0, -10.0),  # dragged along: it brakes
        (90.0, -20.0, -20.0),
        (-10.0, -20.0, 20.0),
        (-20.0, -10.0, 20.0),
        (-30.0, 0.0, 20.0),
        (-90.0, 20.0, 20.0),
    ],
)
def test_a_motor_of_20_nm_with_corner_10_and_no_load_30_rad_s(velocity, least, largest):
    assert cut(20.0, velocity, CURVE) == pytest.approx((least, largest), abs=1e-12)
    assert cut(20.0, velocity, None) == (-20.0, 20.0)


speeds = st.floats(-200.0, 200.0)


@given(
    limit=st.floats(0.01, 1e3),
    velocity=speeds,
    faster=st.floats(0.0, 50.0),
    no_load=st.floats(0.1, 100.0),
    share=st.floats(0.0, 0.99),
    strength=st.floats(0.1, 3.0),
)
def test_a_range_is_isaac_lab_s_falls_with_speed_and_is_odd(limit, velocity, faster, no_load, share, strength):
    curve = TorqueSpeedCurve(corner_speed=share * no_load, no_load_speed=no_load)
    least, largest = cut(limit, velocity, curve)
    assert (least, largest) == pytest.approx(dc_motor(limit, velocity, curve), rel=1e-9, abs=1e-9 * limit)
    assert -limit <= least <= largest <= limit
    assert cut(limit, -velocity, curve) == (-largest, -least)
    slower = cut(limit, velocity + faster, curve)
    assert slower[0] <= least
    assert slower[1] <= largest
    scaled = cut(strength * limit, velocity, curve)
    assert scaled == pytest.approx((strength * least, strength * largest), rel=1e-9, abs=1e-9 * limit)
    if abs(velocity) <= curve.corner_speed:
        assert (least, largest) == pytest.approx((-limit, limit))


def test_the_drives_equation_at_a_point():
    one = np.ones(1)
    drive = Drive(position=0.5 * one, velocity=2.0 * one, effort=3.0 * one, kp=10.0 * one, kd=4.0 * one, limit=one)
    # 3 + 10 * (0.5 + 2 * 0.1 - 0.3) + 4 * (2 - 1.5)
    np.testing.assert_allclose(wanted_effort(drive, 0.1, 0.3 * one, 1.5 * one), 9.0)


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: TorqueSpeedCurve(no_load_speed=0.0), "corner_speed is 0 rad/s or m/s, but must be below no_load_spe"),
        (lambda: TorqueSpeedCurve(no_load_speed=-3), "no_load_speed is -3, rad/s or m/s, but must be finite and not"),
        (lambda: TorqueSpeedCurve(no_load_speed=2.0, corner_speed=2.0), "corner_speed is 2 rad/s or m/s, but must be"),
        (lambda: TorqueSpeedCurve(no_load_speed=2.0, corner_speed=float("nan")), "corner_speed is nan, rad/s or m/s"),
        (lambda: Actuator(delay_s=-0.001), r"delay_s is -0.001, s, but must be within \[0, 1\]"),
        (lambda: Actuator(delay_s=True), "delay_s is True, s"),
        (lambda: Joint(name="free", actuator=LATE), "joint free: has an actuator, but no motor: limits.effort is not"),
        (lambda: Joint(name="knee", friction=-1.0), "joint knee: friction is -1.0, N·m or N, but must be finite and"),
    ],
)
def test_what_no_motor_is_gets_one_line(build, line):
    with pytest.raises(UserError, match=line):
        build()


def test_only_motors_are_driven_by_an_actuator():
    robot = replace(A1, joints=(*A1.joints[:2], Joint(name="free"))).driven_by(LATE)
    assert [joint.actuator for joint in robot.joints] == [LATE, LATE, Actuator()]
    assert Joint(name="knee", limits=JointLimits(effort=1.0)).actuator.is_ideal


@pytest.fixture
def build_a1(backend):
    """An environment of an A1 with these motors, closed after the test."""
    built = []

    def build(actuator, sensor_model=EXACT):
        task = A1Velocity("proprio")
        task.scene = replace(task.scene, robot=A1.driven_by(actuator))
        built.append(RobotEnv(task, seed=5, backend=backend, sensor_model=sensor_model))
        return built[-1]

    yield build
    for env in built:
        env.close()


def commands(env, count):
    """Actions [count, 12] that throw the legs about: motors reach their curves."""
    rng = np.random.default_rng(0)
    return rng.uniform(env.action_space.low, env.action_space.high, (count, 12)).astype(np.float32)


@pytest.mark.parametrize("sensor_model", [EXACT, SensorModel(action_latency_s=0.014)], ids=["prompt", "late"])
@pytest.mark.parametrize("actuator", [ACTUATORS["torque_speed"], LATE], ids=["curve", "late curve"])
def test_the_robot_in_real_time_has_the_environment_s_motors(build_a1, actuator, sensor_model):
    """State by state, bit by bit, and over a reset: one run loop turns commands into efforts for both."""
    env, ideal = build_a1(actuator, sensor_model), build_a1(Actuator(), sensor_model)
    robot = SimulatedRobot(build_a1(actuator, sensor_model), seed=5)
    env.reset(seed=5)
    ideal.reset(seed=5)
    for episode in range(2):
        for action in commands(env, 12):
            env.step(action)
            ideal.step(action)
            robot.command(robot.spec.action.joints, np.clip(action, env.action_space.low, env.action_space.high))
            robot.advance(robot.spec.physics_steps)
            np.testing.assert_array_equal(robot.sim.state.block, env.sim.state.block)
        assert not np.array_equal(ideal.sim.state.block, env.sim.state.block)  # it is felt
        if episode == 0:
            env.reset()
            ideal.reset()
            robot.reset()


def test_a_delay_of_the_drives_is_a_latency_of_their_commands(build_a1):
    """Two ways of saying one thing, in different places of the house: the same motion."""
    by_drive, by_channel = build_a1(Actuator(delay_s=0.014)), build_a1(Actuator(), SensorModel(action_latency_s=0.014))
    by_drive.reset(seed=5)
    by_channel.reset(seed=5)
    for action in commands(by_drive, 8):
        by_drive.step(action)
        by_channel.step(action)
        np.testing.assert_allclose(by_drive.sim.state.block, by_channel.sim.state.block, atol=1e-6)


@pytest.mark.parametrize("task", ["a1_velocity", "a1_stand"])
def test_the_a1_has_its_maker_s_motors_when_it_is_asked_for(build_env, task):
    curve = ACTUATORS["torque_speed"].torque_speed
    assert (curve.no_load_speed, A1.joints[0].limits.effort * curve.stall_ratio) == (21.0, 33.5)
    plain, curved = build_env(task, seed=3), build_env(task, seed=3, actuator="torque_speed")
    assert all(motor.actuator.is_ideal for motor in plain.sim.scene.robot.motors)
    assert all(motor.actuator == ACTUATORS["torque_speed"] for motor in curved.sim.scene.robot.motors)
    assert plain.agent_spec == curved.agent_spec
    robot = SimulatedRobot.of_task(task, {"actuator": "torque_speed"})  # as the ROS node and hil build it
    assert robot.sim.scene.robot == curved.sim.scene.robot
    robot.close()
    with pytest.raises(UserError, match=f"task {task}: option actuator: .*'ideal' or 'torque_speed'"):
        build_env(task, actuator="hydraulic")
