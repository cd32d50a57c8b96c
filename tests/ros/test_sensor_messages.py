"""Samples as messages: what the agent's bindings read out of them is what the task observes."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from robot_wm.spec import Source
from robot_wm_ros.bindings import bind
from robot_wm_ros.sensor_messages import SensorMessages
from robot_wm_sim.realtime.simulated_robot import SimulatedRobot

TASKS = ("a1_velocity", "a1_stand", "panda_reach", "cartpole_balance", "cartpole_swingup", "racecar_goal")


@pytest.fixture
def build_robot():
    """A robot in motion, closed after the test."""
    built = []

    def build(task, observation="both", **options):
        robot = SimulatedRobot.of_task(task, {"observation": observation}, seed=4, **options)
        built.append(robot)
        action = robot.spec.action
        for tick in range(12):
            wanted = np.array(action.offset) + 0.5 * np.array(action.scale) * np.sin(
                tick + np.arange(len(action.joints))
            )
            robot.command(action.joints, wanted)
            robot.advance(robot.spec.physics_steps)
        return robot

    yield build
    for robot in built:
        robot.close()


def fill(robot, messages=None, *, stamp_ns=12_345_678_901):
    robot.look()
    sample = robot.sample()
    sample.stamp_ns = stamp_ns
    return dict((messages or SensorMessages(robot.spec, robot.joint_names)).fill(sample))


@pytest.mark.parametrize("task", TASKS)
def test_bindings_read_back_what_the_task_observes(task, build_robot):
    robot = build_robot(task)
    truth = robot.task.observe(robot.sim)
    frame, inputs = bind(robot.spec)
    messages = fill(robot)
    read = set()
    for source in inputs:
        if source.topic in messages:
            message = messages[source.topic]
            assert isinstance(message, source.message_type)
            received = deserialize_message(serialize_message(message), source.message_type)
            assert source.read(received, 99.0) == pytest.approx(12.345678901, abs=1e-6)
            read |= set(source.fields)
    sensors = [field for field in robot.spec.observations if field.source is Source.SENSOR]
    assert read == {field.name for field in sensors}, frame.problem
    for field in sensors:
        value = frame.observation[field.name]
        if field.is_image:
            camera = robot.task.scene.cameras[field.name]
            np.testing.assert_array_equal(value, robot.sim.render(camera, height=64, width=64))
        else:
            expected = np.asarray(truth[field.name], dtype=np.float32)
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6, err_msg=field.name)
            assert np.ptp(expected) > 0 or expected.size == 1  # it moves: zeros would prove nothing


def test_messages_are_made_once_and_joint_states_come_last(build_robot):
    robot = build_robot("racecar_goal")
    messages = SensorMessages(robot.spec, robot.joint_names)
    assert list(messages.types)[-1] == "joint_states"
    assert set(messages.types) == {"joint_states", "odom", "imu/data", "goal_pose", "camera/image_raw"}
    first = fill(robot, messages)
    position = first["joint_states"].position
    before = position.tolist()
    robot.advance(20)
    second = fill(robot, messages)
    assert all(first[topic] is second[topic] for topic in first)
    assert second["joint_states"].position is position
    assert position.tolist() != before


def test_joint_states_are_there_whatever_the_agent_sees(build_robot):
    robot = build_robot("cartpole_balance", "image")
    messages = SensorMessages(robot.spec, robot.joint_names)
    sample = robot.sample()  # without a picture
    ((topic, message),) = messages.fill(sample)
    assert topic == "joint_states"
    assert list(message.name) == ["slider", "hinge"]
    np.testing.assert_array_equal(message.position, sample.joint_position)
    np.testing.assert_array_equal(message.velocity, sample.joint_velocity)
    np.testing.assert_array_equal(message.effort, sample.joint_effort)


def test_an_imu_and_odometry_hold_the_whole_motion_in_the_base_s_axes(build_robot):
    robot = build_robot("racecar_goal", "proprio")
    sample, messages = robot.sample(), fill(robot)
    imu, odometry = messages["imu/data"], messages["odom"]
    for vector, expected in (
        (imu.angular_velocity, sample.angular_velocity),
        (imu.linear_acceleration, sample.linear_acceleration),
        (odometry.twist.twist.linear, sample.linear_velocity),
        (odometry.twist.twist.angular, sample.angular_velocity),
        (odometry.pose.pose.position, sample.base_position),
    ):
        assert [vector.x, vector.y, vector.z] == expected.tolist()
    for turn in (imu.orientation, odometry.pose.pose.orientation):
        assert [turn.x, turn.y, turn.z, turn.w] == sample.orientation.tolist()
    assert (imu.header.frame_id, odometry.header.frame_id, odometry.child_frame_id) == (
        "base_link",
        "odom",
        "base_link",
    )
    stamps = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages.values()}
    assert stamps == {(12, 345_678_901)}


def test_faulty_samples_make_messages_of_their_own_joints(build_robot):
    robot = build_robot("cartpole_balance", "proprio")
    messages = SensorMessages(robot.spec, robot.joint_names)
    sound = dict(messages.fill(robot.sample()))["joint_states"]
    position = list(sound.position)
    sample = robot.sample()
    one = replace(
        sample,
        joint_names=("pole",),
        joint_position=np.array([math.nan]),
        joint_velocity=np.array([2.0]),
        joint_effort=np.array([3.0]),
    )
    message = dict(messages.fill(one))["joint_states"]
    assert (list(message.name), list(message.velocity), list(message.effort)) == (["pole"], [2.0], [3.0])
    assert math.isnan(message.position[0])
    assert list(sound.position) == position
    assert dict(messages.fill(sample))["joint_states"] is sound
