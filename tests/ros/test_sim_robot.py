"""The simulated robot's node over real DDS: topics, services, commands, garbage, faults, clocks and its end."""

import array
import math
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from lifecycle_msgs.msg import State, TransitionEvent
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, Imu, JointState
from std_msgs.msg import Bool, Float64MultiArray, String, UInt64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robot_wm_ros.hil.lifecycle import LifecycleClient
from robot_wm_ros.hil.services import Services
from robot_wm_ros.sim_robot import main

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PATIENCE_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ros2_ws/src/robot_wm"


class Peer:
    """The other side: an operator's node that keeps what it hears."""

    def __init__(self, domain):
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self.node = rclpy.create_node("peer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.services = Services(self.node, lambda condition, _: self.until(condition))
        self.heard = {}

    def listen(self, message_type, topic, qos=BEST_EFFORT):
        messages = self.heard[topic] = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def until(self, condition, *, meanwhile=lambda: None):
        """Spin until the condition holds, calling ``meanwhile`` every 10 ms."""
        end_s = time.monotonic() + PATIENCE_S
        next_s = 0.0
        while not condition():
            assert time.monotonic() < end_s, {topic: messages[-1:] for topic, messages in self.heard.items()}
            if time.monotonic() >= next_s:
                meanwhile()
                next_s = time.monotonic() + 0.01
            self._executor.spin_once(timeout_sec=0.01)

    def call(self, service):
        answer = self.services.call(Trigger, service, Trigger.Request())
        assert answer.success
        return answer

    def close(self):
        self.services.close()
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def peer(domain):
    peer = Peer(domain)
    yield peer
    peer.close()


@pytest.fixture
def start(spawn):
    """``start("a1_velocity", trace="true")``: the node with these parameters."""

    def run(task, **parameters):
        arguments = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        return spawn("robot_wm_ros.sim_robot", "--ros-args", "-p", f"task:={task}", *arguments)

    return run


@pytest.fixture
def own_signals():
    """What a node's main does to signals ends with the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def qos_of(peer, topic):
    peer.until(lambda: peer.node.get_publishers_info_by_topic(topic))
    return peer.node.get_publishers_info_by_topic(topic)[0].qos_profile


def test_an_a1_over_dds(start, peer):
    """Topics, QoS, commands by name, e-stop, damping, reset and garbage, in one life of a node."""
    node = start("a1_velocity", sensor_rate_hz=100.0, trace="true", watchdog_s=0.5, seed=3)
    joints = peer.listen(JointState, "joint_states")
    imu = peer.listen(Imu, "imu/data")
    modes = peer.listen(String, "sim_robot/firmware", LATCHED)
    sampled = peer.listen(UInt64MultiArray, "sim_robot/sampled", RELIABLE)
    applied = peer.listen(UInt64MultiArray, "sim_robot/applied", RELIABLE)
    peer.until(lambda: len(joints) > 50 and len(imu) > 50 and len(sampled) > 50 and modes)

    assert modes[-1].data == "watchdog_damp"
    assert qos_of(peer, "/joint_states").reliability is ReliabilityPolicy.RELIABLE  # so anybody can listen
    names = list(joints[-1].name)
    assert names[0] == "FR_hip_joint"
    assert len(names) == len(joints[-1].position) == len(joints[-1].velocity) == len(joints[-1].effort) == 12
    assert imu[-1].header.frame_id == "imu_link"
    stamps = np.array([stamp_ns(message) for message in joints])
    assert (np.diff(stamps) > 0).all()
    assert 1e9 * (len(stamps) - 1) / (stamps[-1] - stamps[0]) < 110  # Hz; never faster than its grid
    sequence, traced = np.array([message.data for message in sampled], dtype=np.int64).T
    assert (np.diff(sequence) == 1).all()
    assert set(traced) & {stamp_ns(message) for message in joints}

    commands = peer.node.create_publisher(Float64MultiArray, "forward_position_controller/commands", RELIABLE)
    pose = dict(zip(names, [0.0, 0.8, -1.5] * 4, strict=True))

    def command(**changes):
        commands.publish(Float64MultiArray(data=list((pose | changes).values())))

    def reads(name):
        return joints[-1].position[list(joints[-1].name).index(name)]

    peer.until(lambda: modes[-1].data == "following", meanwhile=command)
    peer.until(
        lambda: abs(reads("FL_hip_joint") - 0.5) < 0.15 and abs(reads("FR_hip_joint")) < 0.15,
        meanwhile=lambda: command(FL_hip_joint=0.5),
    )
    counts = [message.data[0] for message in applied]
    assert counts == list(range(1, len(counts) + 1))
    assert all(abs(message.data[1] - time.time_ns()) < 60e9 for message in applied)

    # Garbage is refused, the last good command is held.
    for data in ([], [0.0] * 11, [0.0] * 5000, [math.nan] * 12, [*[0.0] * 11, math.inf]):
        commands.publish(Float64MultiArray(data=array.array("d", data)))
    node.wait_for("refused command")
    peer.until(lambda: abs(reads("FL_hip_joint") - 0.5) < 0.15, meanwhile=lambda: command(FL_hip_joint=0.5))

    # The e-stop is latched, whatever is commanded.
    peer.call("sim_robot/estop")
    peer.until(lambda: modes[-1].data == "estop", meanwhile=command)
    joints.clear()
    peer.until(lambda: len(joints) > 20, meanwhile=command)
    assert modes[-1].data == "estop"
    # kd of 0.5 N·m·s/rad alone, of the physics step before the sample.
    calm = [message for message in joints if max(map(abs, message.velocity)) < 0.5]
    assert all(max(map(abs, message.effort)) < 0.5 * 0.5 + 0.2 for message in calm)
    peer.call("sim_robot/reset")
    peer.until(lambda: modes[-1].data == "following", meanwhile=command)

    # The agent's wish to damp, and its end.
    damp = peer.node.create_publisher(Bool, "agent/damp", LATCHED)
    damp.publish(Bool(data=True))
    peer.until(lambda: modes[-1].data == "damp", meanwhile=command)
    damp.publish(Bool(data=False))
    peer.until(lambda: modes[-1].data == "following", meanwhile=command)
    peer.until(lambda: modes[-1].data == "watchdog_damp")  # nobody commands any more

    node.signal(signal.SIGINT)
    assert node.wait() == 0
    assert "refused" in node.wait_for("samples, ")


def test_a_cartpole_takes_trajectories_by_joint_name(start, peer):
    node = start("cartpole_swingup", command_type="joint_trajectory", watchdog_s=0.2)
    joints = peer.listen(JointState, "joint_states")
    modes = peer.listen(String, "sim_robot/firmware", LATCHED)
    commands = peer.node.create_publisher(JointTrajectory, "forward_effort_controller/joint_trajectory", RELIABLE)

    def push(names=("slider",), points=((3.0,), (10.0,))):
        commands.publish(
            JointTrajectory(joint_names=list(names), points=[JointTrajectoryPoint(effort=list(p)) for p in points])
        )

    peer.until(lambda: modes and modes[-1].data == "following", meanwhile=push)
    peer.until(lambda: joints[-1].effort[0] == 10.0, meanwhile=push)  # the last point
    for names, points in (((), ()), (("slider",), ()), (("hinge",), ((1.0,),)), (("slider",) * 2, ((1.0, 1.0),))):
        push(names, points)
    node.wait_for("refused command")
    peer.until(lambda: modes[-1].data == "watchdog_damp")
    peer.until(lambda: joints[-1].effort[0] == 0.0)
    assert list(joints[-1].name) == ["slider", "hinge"]
    node.signal(signal.SIGTERM)
    assert node.wait() == 0


def test_faults_are_played_when_they_are_asked_for(start, peer, tmp_path):
    path = tmp_path / "faults.yaml"
    # A call whose answer got lost is made again, and the schedule begins anew: before the first fault that is harmless.
    path.write_text(
        "faults:\n"
        "  - {at_s: 2.0, duration_s: 0.4, kind: missing_joints, joints: [hinge]}\n"
        "  - {at_s: 2.4, duration_s: 0.4, kind: clock_jump, offset_s: -3600.0}\n"
        "  - {at_s: 2.8, duration_s: 0.4, kind: flood, rate_hz: 1000.0}\n"
        "  - {at_s: 3.2, duration_s: 0.4, kind: stop}\n"
    )
    start("cartpole_balance", faults=path, play_faults_at_start="false", sensor_rate_hz=50.0, trace="true")
    joints = peer.listen(JointState, "joint_states", RELIABLE)
    active = peer.listen(String, "sim_robot/active_faults", LATCHED)
    peer.until(lambda: len(joints) > 20)
    assert not active
    peer.call("sim_robot/play_faults")
    peer.until(lambda: active and active[-1].data == "")
    assert [message.data for message in active] == ["missing_joints", "clock_jump", "flood", "stop", ""]
    after = len(joints)
    peer.until(lambda: len(joints) > after + 5)
    assert {tuple(message.name) for message in joints} == {("slider", "hinge"), ("slider",)}
    assert {len(message.name) == len(message.position) for message in joints} == {True}
    now_ns = time.time_ns()
    ages_s = np.array([(now_ns - stamp_ns(message)) / 1e9 for message in joints])
    assert ((ages_s > 3600.0) | (ages_s < 60.0)).all()
    assert (ages_s > 3600.0).any()
    gaps_s = np.diff([stamp_ns(message) for message in joints]) / 1e9
    assert (abs(gaps_s) < 0.005).sum() > 20  # the flood: at 50 Hz no two samples are so close
    assert ((gaps_s > 0.3) & (gaps_s < 60.0)).any()  # the silence


def test_simulated_time_runs_at_its_own_speed_and_stamps_tell_physics_steps(start, peer):
    start("cartpole_balance", publish_clock="true", speed=4.0, sensor_rate_hz=50.0)
    clocks = peer.listen(Clock, "/clock", RELIABLE)
    joints = peer.listen(JointState, "joint_states", RELIABLE)
    peer.until(lambda: len(joints) > 60 and len(clocks) > 60)
    stamps = np.array([stamp_ns(message) for message in joints])
    assert (stamps % 4_000_000 == 0).all()  # physics at 250 Hz
    assert (np.diff(stamps) > 0).all()
    assert np.median(np.diff(stamps)) >= 0.079e9  # four times what passes between two samples at 50 Hz
    assert {message.clock.sec * 10**9 + message.clock.nanosec for message in clocks} & set(stamps.tolist())


def test_it_is_held_where_the_task_starts_while_its_agent_is_not_active(start, peer):
    start("cartpole_balance", wait_for_agent="true", sensor_rate_hz=100.0, watchdog_s=60.0)
    joints = peer.listen(JointState, "joint_states", RELIABLE)
    commands = peer.node.create_publisher(Float64MultiArray, "forward_effort_controller/commands", RELIABLE)
    damp = peer.node.create_publisher(Bool, "agent/damp", LATCHED)
    transitions = peer.node.create_publisher(TransitionEvent, "agent/transition_event", 10)

    def poses():
        return {tuple(message.position) for message in joints}

    def stands():
        """Fresh stamps, and not a number moves, whatever is commanded."""
        joints.clear()
        peer.until(lambda: len(joints) > 50, meanwhile=lambda: commands.publish(Float64MultiArray(data=[10.0])))
        assert (np.diff([stamp_ns(message) for message in joints]) > 0).all()
        return len(poses()) == 1

    damp.publish(Bool(data=True))
    assert stands()
    (start_pose,) = poses()
    damp.publish(Bool(data=False))  # the agent drives: with its first command
    peer.until(lambda: abs(joints[-1].position[0] - start_pose[0]) > 0.5)
    joints.clear()
    peer.until(lambda: len(joints) > 20)
    assert len(poses()) > 10
    # A fault's damping does not stop the world; an agent that becomes inactive does.
    damp.publish(Bool(data=True))
    peer.until(lambda: len(joints) > 50)
    assert len(poses()) > 10
    transitions.publish(TransitionEvent(goal_state=State(id=State.PRIMARY_STATE_INACTIVE, label="inactive")))
    peer.until(lambda: abs(joints[-1].position[0]) < 0.2)  # the task starts within 0.1 m of the middle
    assert stands()


def test_the_demo_s_agent_balances_its_pole_in_all_but_a_twentieth_of_its_ticks(spawn, peer):
    """As hil.launch.py starts them; deactivated and activated again, the pole stands up again."""
    bundle, parameters = "robot_wm/zoo/agents/cartpole_balance/agent.rwm.zip", PACKAGE / "config/hil.yaml"
    common = ("--ros-args", "--params-file", str(parameters))
    agent = spawn("robot_wm_ros.agent", *common, "-p", f"bundle:={ROOT / bundle}", "-p", "allow_unsigned:=true")
    lifecycle = LifecycleClient(peer.services, "agent")
    lifecycle.bring_up()  # before there is a robot: it waits
    robot = spawn("robot_wm_ros.sim_robot", *common, "-p", "task:=cartpole_balance", "-p", "watchdog_s:=2.0")
    joints = peer.listen(JointState, "joint_states")
    commands = peer.listen(Float64MultiArray, "forward_effort_controller/commands", RELIABLE)
    peer.until(lambda: joints)  # discovered after the commands, now and then
    for _ in range(2):
        upright = []

        def look(upright=upright):
            if len(commands) > len(upright):
                hinge = joints[-1].position[list(joints[-1].name).index("hinge")]
                upright += [math.cos(hinge) > 0.9] * (len(commands) - len(upright))

        commands.clear()
        peer.until(lambda upright=upright: len(upright) >= 200, meanwhile=look)  # 4 s
        assert np.mean(upright) >= 0.95
        lifecycle.deactivate()
        robot.wait_for("the agent is inactive")
        lifecycle.bring_up()
    assert not [line for line in agent.lines if "hold" in line and "damp" in line], agent.lines


def test_a_racecar_shows_its_pictures_at_the_camera_s_rate(start, peer):
    start("racecar_goal", task_options="[observation=both]", sensor_rate_hz=100.0)
    pictures = peer.listen(Image, "camera/image_raw", RELIABLE)
    joints = peer.listen(JointState, "joint_states", RELIABLE)
    peer.until(lambda: len(pictures) > 8)
    picture = pictures[-1]
    assert (picture.height, picture.width, picture.encoding, picture.step) == (64, 64, "rgb8", 192)
    assert picture.header.frame_id == "camera_link"
    assert len(set(picture.data)) > 5  # there is something to see
    assert list(joints[-1].name)[-2:] == ["drive", "steering"]
    assert len(joints) > 2 * len(pictures)  # 20 Hz
    assert {topic for topic, _ in peer.node.get_topic_names_and_types()} >= {"/odom", "/imu/data", "/goal_pose"}


@pytest.mark.parametrize(
    ("task", "parameters", "message"),
    [
        ("nothing", {}, "unknown task 'nothing'"),
        ("a1_velocity", {"watchdog_s": 0.001}, "watchdog_s must be at least a physics step, 0.002 s"),
        ("a1_velocity", {"sensor_rate_hz": -1.0}, "parameter sensor_rate_hz: "),
        ("a1_velocity", {"seed": "many"}, "parameter seed: "),
        ("a1_velocity", {"command_type": "twist"}, "parameter command_type: 'twist' is not one of"),
        ("a1_velocity", {"controller_joints": "[FR_hip_joint]"}, "parameter controller_joints: FR_hip_joint are not"),
        ("a1_velocity", {"task_options": "[observation]"}, "parameter task_options: 'observation' is not name=value"),
        ("a1_velocity", {"speed": 2.0}, "parameter speed: 2 needs publish_clock"),
        ("cartpole_balance", {"faults": "/nowhere.yaml"}, "/nowhere.yaml: cannot read"),
        ("gym:gymnasium:CartPole-v1", {}, "it has no robot that could be simulated"),
    ],
)
def test_a_bad_parameter_is_one_line_and_exit_code_2(task, parameters, message, domain, own_signals, capfd):
    arguments = [word for key, value in {"task": task, **parameters}.items() for word in ("-p", f"{key}:={value}")]
    assert main(["--ros-args", *arguments]) == 2
    errors = capfd.readouterr().err.splitlines()
    assert [line for line in errors if message in line], errors
