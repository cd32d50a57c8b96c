"""Quality of service over DDS: who hears whom, who joins late, and which type of velocity command is there."""

import time

import pytest
import rclpy
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from robot_wm_ros.command_velocity import published_velocity_type
from robot_wm_ros.qos import LATCHED, REQUESTS, SENSORS

PATIENCE_S = 20.0
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class Participant:
    """A node with a DDS participant of its own, as if in another process."""

    def __init__(self, domain, name):
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def until(self, condition, *, meanwhile=lambda: None):
        """Spin until the condition holds, calling ``meanwhile`` in between."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s
            meanwhile()
            self._executor.spin_once(timeout_sec=0.02)

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def join(domain):
    """``join("robot")``: a participant of the test's domain."""
    participants = []

    def create(name):
        participants.append(Participant(domain, name))
        return participants[-1]

    yield create
    for participant in participants:
        participant.close()


@pytest.mark.parametrize("offered", [BEST_EFFORT, RELIABLE], ids=["best effort", "reliable"])
def test_the_agent_hears_drivers_whatever_they_offer(join, offered):
    agent, driver = join("agent"), join("driver")
    heard = []
    agent.node.create_subscription(JointState, "joint_states", heard.append, SENSORS)
    publisher = driver.node.create_publisher(JointState, "joint_states", offered)
    agent.until(lambda: heard, meanwhile=lambda: publisher.publish(JointState(name=["wheel"])))
    assert heard[0].name == ["wheel"]


def test_a_request_that_is_sent_once_arrives(join):
    agent, operator = join("agent"), join("operator")
    heard = []
    agent.node.create_subscription(PoseStamped, "target_pose", heard.append, REQUESTS)
    publisher = operator.node.create_publisher(PoseStamped, "target_pose", RELIABLE)
    agent.until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(PoseStamped())
    agent.until(lambda: heard)


def test_who_joins_late_gets_the_last_state(join):
    operator = join("operator")
    publisher = operator.node.create_publisher(Bool, "estop", LATCHED)
    for value in (False, True):
        publisher.publish(Bool(data=value))
    agent = join("agent")
    heard = []
    agent.node.create_subscription(Bool, "estop", heard.append, LATCHED)
    agent.until(lambda: heard)
    assert [message.data for message in heard] == [True]


def test_the_velocity_command_is_read_in_the_type_that_is_published(join):
    agent, operator = join("agent"), join("operator")
    heard = []

    def found(current):
        return published_velocity_type(agent.node, "cmd_vel", current)

    assert found(Twist) is Twist  # nobody is there
    assert found(TwistStamped) is TwistStamped
    subscription = agent.node.create_subscription(Twist, "cmd_vel", heard.append, SENSORS)
    stamped = operator.node.create_publisher(TwistStamped, "cmd_vel", RELIABLE)
    agent.until(lambda: found(Twist) is TwistStamped)
    # What the agent does then: on one name a process can have but one type.
    agent.node.destroy_subscription(subscription)
    agent.node.create_subscription(TwistStamped, "cmd_vel", heard.append, SENSORS)
    agent.until(lambda: heard, meanwhile=lambda: stamped.publish(TwistStamped()))
    assert type(heard[0]) is TwistStamped

    other = join("other")
    plain = other.node.create_publisher(Twist, "cmd_vel", RELIABLE)
    agent.until(lambda: len(agent.node.get_publishers_info_by_topic("cmd_vel")) == 2)
    assert (found(Twist), found(TwistStamped)) == (Twist, TwistStamped)  # of two operators the first stays
    operator.node.destroy_publisher(stamped)
    agent.until(lambda: found(TwistStamped) is Twist)
    other.node.destroy_publisher(plain)
    agent.until(lambda: not agent.node.get_publishers_info_by_topic("cmd_vel"))
    assert found(TwistStamped) is TwistStamped


def test_other_types_on_the_velocity_topic_are_not_looked_at(join):
    agent, operator = join("agent"), join("operator")
    operator.node.create_publisher(Bool, "cmd_vel", RELIABLE)
    agent.until(lambda: agent.node.get_publishers_info_by_topic("cmd_vel"))
    assert published_velocity_type(agent.node, "cmd_vel", Twist) is Twist
