"""Commands as a controller gets them over DDS: its joints in its order, and nothing that is not finite."""

import math

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TwistStamped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSPresetProfiles, QoSProfile
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec
from robot_wm_ros.commands import CommandPublisher, CommandRoute

JOINTS = ("shoulder", "elbow", "wrist")
COMMAND = np.array([0.1, -0.2, 1e30], np.float32)
PATIENCE_S = 20.0
JOINT_MESSAGES = {"float64_multi_array": Float64MultiArray, "joint_trajectory": JointTrajectory}
MESSAGES = JOINT_MESSAGES | {"twist_stamped": TwistStamped}
UNITS = {"position": "rad", "velocity": "rad/s", "effort": "N·m"}


class Loop:
    """One node that publishes commands and hears them as a controller would."""

    def __init__(self, domain):
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self.node = rclpy.create_node("loop", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def publisher(self, mode="position", command_type="float64_multi_array", joints=(), controller="", period_s=0.02):
        action = ActionSpec(mode=mode, joints=JOINTS, unit=UNITS[mode])
        route = CommandRoute(
            controller=controller, command_type=command_type, controller_joints=joints, period_s=period_s
        )
        return CommandPublisher(self.node, action, route)

    def controller(self, publisher, command_type, qos=QoSPresetProfiles.SYSTEM_DEFAULT.value):
        """Subscribe, by default as ros2_control does; returns a function: publish, and give back what arrives first."""
        heard = []
        subscription = self.node.create_subscription(MESSAGES[command_type], publisher.topic, heard.append, qos)
        end_ns = self.node.get_clock().now().nanoseconds + PATIENCE_S * 1e9
        while not self.node.count_publishers(subscription.topic_name) or not self.node.count_subscribers(
            subscription.topic_name
        ):
            assert self.node.get_clock().now().nanoseconds < end_ns
            self._executor.spin_once(timeout_sec=0.01)

        def ask(command):
            publisher.publish(command)
            end_ns = self.node.get_clock().now().nanoseconds + PATIENCE_S * 1e9
            while not heard:
                assert self.node.get_clock().now().nanoseconds < end_ns, "nothing came"
                self._executor.spin_once(timeout_sec=0.01)
            return heard.pop(0)

        return ask

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def loop(domain):
    loop = Loop(domain)
    yield loop
    loop.close()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(JOINTS), values=st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3))
def test_a_forward_command_controller_gets_each_joint_s_value_where_it_has_the_joint(loop, order, values):
    publisher = loop.publisher(joints=order)
    try:
        ask = loop.controller(publisher, "float64_multi_array")
        message = ask(np.array(values, np.float32))
        assert dict(zip(order, message.data, strict=True)) == dict(zip(JOINTS, values, strict=True))
    finally:
        publisher.destroy()


@pytest.mark.parametrize("mode", ["position", "velocity", "effort"])
def test_a_trajectory_controller_gets_one_point_a_period_from_now(loop, mode):
    publisher = loop.publisher(mode, "joint_trajectory", ["wrist", "shoulder", "elbow"], "arm_controller", 1.25)
    assert publisher.topic == "arm_controller/joint_trajectory"
    message = loop.controller(publisher, "joint_trajectory")(COMMAND)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)  # now
    assert message.joint_names == ["wrist", "shoulder", "elbow"]
    (point,) = message.points
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (1, 250_000_000)
    arrays = {"position": point.positions, "velocity": point.velocities, "effort": point.effort}
    assert arrays.pop(mode).tolist() == [float(COMMAND[2]), float(COMMAND[0]), float(COMMAND[1])]
    assert [len(array) for array in (*arrays.values(), point.accelerations)] == [0, 0, 0]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(left=st.floats(-20, 20, width=32), right=st.floats(-20, 20, width=32))
def test_a_diff_drive_controller_gets_a_twist_that_is_those_wheel_speeds(loop, left, right):
    """As that controller turns it back: (v -+ w d / 2) / r."""
    radius, separation = 0.1, 0.5
    action = ActionSpec(mode="velocity", joints=("right_wheels", "left_wheels"), unit="rad/s")
    route = CommandRoute(
        controller="base", command_type="twist_stamped", controller_joints=("left_wheels", "right_wheels"),
        period_s=0.05, wheel_radius=radius, wheel_separation=separation,
    )  # fmt: skip
    publisher = CommandPublisher(loop.node, action, route)
    try:
        assert publisher.topic == "base/cmd_vel"
        twist = loop.controller(publisher, "twist_stamped")(np.array([right, left], np.float32)).twist
        turn = twist.angular.z * separation / 2
        assert ((twist.linear.x - turn) / radius, (twist.linear.x + turn) / radius) == pytest.approx((left, right))
    finally:
        publisher.destroy()


@pytest.mark.parametrize(
    ("mode", "joints", "sizes", "words"),
    [
        ("velocity", ("left", "right"), (0.0, 0.5), "needs wheel_radius, m"),
        ("velocity", ("left", "right"), (0.1, 0.0), "needs wheel_separation, m"),
        ("velocity", ("a", "b", "c"), (0.1, 0.5), "needs two velocities, .* commands velocity of a, b, c"),
        ("effort", ("left", "right"), (0.1, 0.5), "needs two velocities, .* commands effort of left, right"),
    ],
)
def test_what_is_no_base_of_two_sides_gets_no_twist(loop, mode, joints, sizes, words):
    route = CommandRoute(
        controller="base", command_type="twist_stamped", controller_joints=(), period_s=0.05,
        wheel_radius=sizes[0], wheel_separation=sizes[1],
    )  # fmt: skip
    with pytest.raises(UserError, match=f"command_type twist_stamped: {words}"):
        CommandPublisher(loop.node, ActionSpec(mode=mode, joints=joints, unit=UNITS[mode]), route)


@pytest.mark.parametrize("mode", ["position", "velocity", "effort"])
def test_names_and_order_left_out_are_the_mode_s_controller_and_the_spec_s_joints(loop, mode):
    publisher = loop.publisher(mode)
    assert publisher.topic == f"forward_{mode}_controller/commands"
    assert loop.controller(publisher, "float64_multi_array")(COMMAND).data.tolist() == COMMAND.tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("command_type", JOINT_MESSAGES)
def test_a_command_that_is_not_finite_is_never_published(loop, command_type, value):
    publisher = loop.publisher(command_type=command_type)
    ask = loop.controller(publisher, command_type, QoSProfile(depth=10))
    for bad in ([0.0, value, 0.0], [value, -value, 0.0]):
        with pytest.raises(ValueError, match="not finite"):
            publisher.publish(np.array(bad, np.float32))
    # Were one of them on its way, it would come first: what comes is finite, and of the largest numbers, too.
    largest = np.full(3, np.finfo(np.float32).max)
    message = ask(largest)
    data = message.data if command_type == "float64_multi_array" else message.points[0].positions
    assert data.tolist() == largest.tolist()


@pytest.mark.parametrize(
    ("joints", "words"),
    [
        (["shoulder", "elbow"], "missing: wrist"),
        (["shoulder", "elbow", "wrist", "gripper"], "unknown: gripper"),
        (["shoulder", "forearm", "wrist"], "missing: elbow; unknown: forearm"),
        (["shoulder", "elbow", "wrist", "elbow"], "twice: elbow"),
    ],
)
def test_a_controller_of_other_joints_is_refused_with_their_names(loop, joints, words):
    with pytest.raises(UserError, match=f"controller_joints .*; {words}$"):
        loop.publisher(joints=joints)


def test_what_no_controller_takes_is_refused(loop):
    with pytest.raises(UserError, match="command_type 'twist' is not one of float64_multi_array, joint_trajectory"):
        loop.publisher(command_type="twist")
    with pytest.raises(UserError, match="controller 'my controller' is no name of a topic"):
        loop.publisher(controller="my controller")
    choice = ActionSpec(mode="discrete", joints=("left", "right"), unit="1")
    route = CommandRoute(controller="", command_type="float64_multi_array", controller_joints=(), period_s=0.1)
    with pytest.raises(UserError, match="discrete action: left, right"):
        CommandPublisher(loop.node, choice, route)


def test_a_destroyed_publisher_is_gone_from_the_node(loop):
    publisher = loop.publisher()
    before = {topic.topic_name for topic in loop.node.publishers}
    publisher.destroy()
    assert before - {topic.topic_name for topic in loop.node.publishers} == {f"/{publisher.topic}"}
