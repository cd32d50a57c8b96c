"""What /diagnostics says of a robot before its agent is activated: everything that is missing, and nothing else."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import rclpy
from agent_rig import ACTIVATE, CONFIGURE, PROMPT, AgentRig
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.parameter import Parameter
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray, String

from robot_wm_ros.qos import LATCHED


@pytest.fixture
def make_rig(domain, make_bundle):
    """``make_rig(task, parameter=value)``: an inactive rig, with ``told()`` the message of the latest diagnostics."""
    with ExitStack() as stack:

        def make(task, **parameters):
            rig = stack.enter_context(AgentRig(make_bundle(task), domain, namespace="", **PROMPT | parameters))
            return listening(rig)

        yield make


@pytest.fixture
def rig(make_rig):
    """An inactive A1's."""
    return make_rig("a1_velocity")


def listening(rig):
    reports, modes = [], []

    def of_agent(message):
        if message.status[0].name == "agent":
            reports.append(message)

    rig.peer.create_subscription(DiagnosticArray, "/diagnostics", of_agent, 10)
    rig.peer.create_subscription(String, "agent/mode", lambda message: modes.append(message.data), LATCHED)
    rig.told = lambda: reports[-1].status[0].message if reports else ""
    rig.modes = modes
    assert rig.change(CONFIGURE)
    return rig


def test_an_inactive_agent_tells_what_it_lacks_until_it_lacks_nothing(rig):
    rig.until(lambda: "not ready: joint_states: no message yet" in rig.told())
    assert "not ready: imu/data: no message yet" in rig.told()
    assert "cmd_vel" not in rig.told()  # an operator who says nothing wants it to stand
    rig.sense(200.0)
    rig.until(lambda: rig.told() and "not ready" not in rig.told() and "nobody listens" not in rig.told())
    rig.be_silent()
    rig.until(lambda: "not ready: joint_states: silent, the last message is" in rig.told())
    assert rig.modes == ["inactive"]


def test_a_joint_that_is_missing_is_named(rig):
    rig.sense(200.0, joints=rig.joints()[1:])
    rig.until(lambda: f"not ready: joint_states: no joint '{rig.joints()[0]}'" in rig.told())


def test_a_sensor_that_is_too_slow_for_the_agent_is_told_with_its_rate(rig):
    rig.sense(25.0)
    rig.until(lambda: "not ready: joint_states comes at 2" in rig.told())
    assert "50 Hz wanted" in rig.told()


def test_commands_that_nobody_hears_are_told_also_while_they_are_sent(rig):
    rig.sense(200.0)
    rig.until(lambda: rig.told() and "nobody listens" not in rig.told())
    controller = next(s for s in rig.peer.subscriptions if s.msg_type is Float64MultiArray)
    rig.peer.destroy_subscription(controller)
    unheard = "nobody listens to forward_position_controller/commands"
    rig.until(lambda: unheard in rig.told())
    assert rig.change(ACTIVATE)
    rig.until(lambda: rig.modes[-1] != "inactive")
    rig.until(lambda: unheard in rig.told() and "not ready" not in rig.told())


def test_an_agent_whose_efforts_nobody_measures_says_before_it_drives_that_it_would_not_notice(make_rig):
    rig = make_rig("cartpole_balance")
    unwatched = "nothing watches whether slider will do as told: no field with the role joint_effort"
    rig.until(lambda: unwatched in rig.told())
    assert any(unwatched in line for line in rig.lines)
    rig.sense(200.0)
    rig.until(lambda: "not ready" not in rig.told())
    assert rig.change(ACTIVATE)
    rig.until(lambda: "nothing watches" not in rig.told())


def test_a_second_driver_of_one_sensor_is_told_with_both_nodes_and_the_agent_does_not_start(make_rig):
    rig = make_rig("a1_velocity")
    rig.sense(200.0)
    rig.until(lambda: rig.told() and "not ready" not in rig.told())
    other = rclpy.create_node("spare_imu", context=rig.peer.context, namespace="/left")
    second = other.create_publisher(Imu, "/imu/data", 10)
    rivals = "imu/data has 2 publishers (/left/spare_imu, /peer), one sensor has one"
    rig.until(lambda: rivals in rig.told())
    assert not rig.change(ACTIVATE)
    rig.wait_for_line(f"activate failed: {rivals}: stop the others, or set allow_rival_sensors")
    assert rig.modes == ["inactive"]
    other.destroy_publisher(second)
    rig.until(lambda: "publishers" not in rig.told())
    assert rig.change(ACTIVATE)
    # While it drives a second one is told, and the agent goes on: a robot is not dropped for a node that woke up.
    other.create_publisher(Imu, "/imu/data", 10)
    rig.until(lambda: rivals in rig.told())
    rig.until(lambda: sum(rivals in line and "WARN" in line for line in rig.lines) == 2)
    rig.until(lambda: rig.modes[-1] == "active")
    other.destroy_node()


def test_who_insists_on_two_drivers_of_one_sensor_may_activate(make_rig):
    rig = make_rig("a1_velocity", allow_rival_sensors=True)
    rig.sense(200.0)
    talker = rclpy.create_node("talker", context=rig._context())
    talker.create_publisher(String, "imu/data", 10)  # of another type: it reaches nobody here
    rig.until(lambda: len(rig.peer.get_publishers_info_by_topic("/imu/data")) == 2)
    rig.peer.create_publisher(Imu, "imu/data", 10)
    rig.until(lambda: "imu/data has 2 publishers (/peer, /peer)" in rig.told())
    assert rig.change(ACTIVATE)
    talker.destroy_node()


def test_joint_states_of_two_nodes_are_legal_as_long_as_their_joints_differ(rig):
    rig.sense(200.0)
    hand = rig.peer.create_publisher(JointState, "joint_states", 10)

    def told_while(names, condition):
        def seen():
            hand.publish(JointState(name=names, position=[0.0] * len(names)))
            return condition()

        rig.until(seen)

    rivals = "joint_states has 2 publishers (/peer, /peer), one sensor has one"
    told_while(["finger"], lambda: rig.told() and "not ready" not in rig.told() and "publishers" not in rig.told())
    rig.until(lambda: rivals in rig.told())  # it has fallen silent: whose joints it has, nothing says any more
    told_while(["finger"], lambda: "publishers" not in rig.told())


def activity(state):
    """What ros2_control's controller manager tells of its controllers."""
    values = {"broadcaster.state": "active", "forward_position_controller.state": state} if state else {}
    status = DiagnosticStatus(
        name="controller_manager: Controllers Activity",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(status=[status])


def test_a_controller_that_is_not_loaded_or_not_active_is_told(rig):
    manager = rig.peer.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def told(state, condition):
        def seen():
            manager.publish(activity(state))
            return condition()

        rig.until(seen)

    told("inactive", lambda: "controller forward_position_controller is inactive, not active" in rig.told())
    told("", lambda: "controller forward_position_controller is not loaded; the controller manager" in rig.told())
    told("active", lambda: "controller " not in rig.told())


def test_a_controller_manager_is_asked_for_its_controllers(rig):
    absent = "ros2_control's messages are on no package index"
    srv, msg = (pytest.importorskip(f"controller_manager_msgs.{kind}", reason=absent) for kind in ("srv", "msg"))
    listed = []

    def answer(_, response):
        response.controller = [msg.ControllerState(name=name, state=state) for name, state in listed]
        return response

    rig.peer.create_service(srv.ListControllers, "controller_manager/list_controllers", answer)
    listed[:] = [("broadcaster", "active"), ("forward_position_controller", "inactive")]
    rig.until(lambda: "controller forward_position_controller is inactive, not active" in rig.told())
    listed.pop()
    rig.until(lambda: "forward_position_controller is not loaded; the controller manager has broadcaster" in rig.told())
    listed.append(("forward_position_controller", "active"))
    rig.until(lambda: "controller " not in rig.told())


def test_a_controller_of_other_joints_or_another_order_is_told_and_the_agent_does_not_start(make_rig):
    rig = make_rig("a1_velocity")
    names = list(rig.spec.action.joints)
    theirs = [names[1], names[0], *names[2:]]
    joints = [Parameter("joints", value=theirs)]
    controller = rclpy.create_node(
        "forward_position_controller",
        context=rig.peer.context,
        parameter_overrides=joints,
        automatically_declare_parameters_from_overrides=True,
    )
    rig._executor.add_node(controller)
    mismatch = f"controller forward_position_controller takes {', '.join(theirs)}, and is sent {', '.join(names)}"
    rig.until(lambda: mismatch in rig.told())
    rig.sense(200.0)
    assert not rig.change(ACTIVATE)
    rig.wait_for_line(f"activate failed: {mismatch}")
    controller.set_parameters([Parameter("joints", value=names)])
    rig.until(lambda: mismatch not in rig.told())
    assert rig.change(ACTIVATE)
    rig._executor.remove_node(controller)
    controller.destroy_node()
