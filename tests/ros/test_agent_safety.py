"""What must never pass unheard or unseen: pulses of an e-stop, a process that stood still, a publisher that fails."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import pytest
from agent_rig import ACTIVATE, CONFIGURE, DEACTIVATE, PROMPT, AgentRig, ProcessRig
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from robot_wm.runtime.modes import Mode
from robot_wm.spec import AgentSpec
from robot_wm_ros import agent_node, spin
from robot_wm_ros.qos import LATCHED

SHUTDOWN = Transition.TRANSITION_ACTIVE_SHUTDOWN
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)


@pytest.fixture
def rig(domain, make_bundle):
    """``rig(task, kind=ProcessRig, parameter=value)``: a rig that ends with the test."""
    with ExitStack() as stack:

        def make(task="cartpole_balance", *, kind=AgentRig, **parameters):
            return stack.enter_context(kind(make_bundle(task), domain, **({"namespace": ""} | PROMPT | parameters)))

        yield make


def button(rig, qos):
    """A publisher of the e-stop that the agent has found and that has found the agent."""
    publisher = rig.peer.create_publisher(Bool, "estop", qos)
    # One subscription of the agent hears any publisher, one only reliable and one only latched ones.
    heard_by = 1 + (qos.reliability is ReliabilityPolicy.RELIABLE)
    heard_by += qos.durability is DurabilityPolicy.TRANSIENT_LOCAL
    rig.until(lambda: publisher.get_subscription_count() >= heard_by, "the agent to find the button")
    # The agent's side has matched, too, once it has heard a word that changes nothing.
    rig.listen(0.3)
    return publisher


@pytest.mark.parametrize("qos", [LATCHED, RELIABLE], ids=["latched", "reliable"])
@pytest.mark.parametrize("direct", [True, False])
def test_a_pulse_of_the_estop_is_heard_every_time(rig, monkeypatch, qos, direct):
    if not direct:
        monkeypatch.setattr(spin, "_is_direct", lambda node: False)
    rig = rig()
    estop = button(rig, qos)
    for _ in range(20):
        estop.publish(Bool(data=True))
        estop.publish(Bool(data=False))
        rig.until(lambda: rig.agent._operator.estopped, "the pulse")
        assert rig.trigger("reset").success
        assert not rig.agent._operator.estopped


def test_a_press_among_many_releases_while_the_agent_is_being_configured_is_heard(rig, monkeypatch):
    rig = rig()
    estop = button(rig, LATCHED)
    configured = agent_node.RunningAgent

    def slow(*arguments):
        # A button that tells its state 50 times a second, pressed for a moment in a configuration of many seconds.
        for number in range(500):
            estop.publish(Bool(data=number == 100))
        time.sleep(0.5)
        return configured(*arguments)

    monkeypatch.setattr(agent_node, "RunningAgent", slow)
    assert rig.change(CONFIGURE)
    assert rig.agent._operator.estopped, "by the time the configuration is done"
    assert rig.agent.agent.controller.mode is Mode.ESTOP


def test_enable_is_refused_while_the_sensors_are_dead_and_says_so(rig):
    rig = rig("a1_velocity")
    rig.drive()
    rig.be_silent()
    rig.wait_for_line("hold -> damp")
    answer = rig.enable()
    assert (answer.success, answer.message[:21]) == (False, "a fault stands: STALE")
    assert "joint_states: no new sample for" in answer.message
    rig.listen(0.3)
    assert rig.agent.agent.controller.mode is Mode.DAMP
    assert rig.damp[-1] is True
    rig.sense(200.0)
    rig.until(lambda: rig.enable().success)
    rig.wait_for_line("damp -> soft_start")


@pytest.mark.parametrize(("stopped_s", "hold_s", "mode"), [(0.3, 10.0, "hold"), (2.0, 1.0, "damp")])
def test_a_process_that_stood_still_does_not_go_on_as_if_nothing_had_been(rig, stopped_s, hold_s, mode):
    rig = rig(kind=ProcessRig, hold_s=hold_s)
    rig.drive()
    told = f"-> {mode}:"

    def stall():
        """Whether it was told; a busy machine may have been the first to stop the process."""
        rig.process.signal(signal.SIGSTOP)
        rig.listen(stopped_s)
        heard = len(rig.commands)
        rig.process.signal(signal.SIGCONT)
        rig.until(lambda: len(rig.commands) > heard + 2)
        # One may have been on its way; then comes the effort of a robot that is not driven.
        assert rig.commands[heard + 1][1] == [0.0]
        rig.listen(0.3)
        return any(told in line and "STALLED: this process did not tick for" in line for line in rig.lines)

    rig.until(stall, told)
    if mode == "hold":
        rig.wait_for_line("hold -> soft_start")
    else:
        rig.until(lambda: rig.damp[-1])
        # The fault is over with the stall: an operator who has looked may drive again.
        rig.until(lambda: rig.enable().success)
        rig.wait_for_line("damp -> soft_start")


def test_an_inference_that_takes_far_too_long_moves_nothing(rig):
    rig = rig(hold_s=1.0)
    rig.drive()
    rig.until(lambda: any(values != [0.0] for _, values in rig.commands))
    engine = rig.agent.agent.controller.engine
    infer = engine.infer

    def hang():
        engine.infer = infer
        time.sleep(2.0)
        infer()

    heard = len(rig.commands) - 1
    engine.infer = hang
    rig.until(lambda: any("-> damp:" in line and "STALLED" in line for line in rig.lines))
    rig.until(lambda: len(rig.commands) > heard + 5)
    late = next(i for i in range(heard + 1, len(rig.commands)) if rig.commands[i][0] - rig.commands[i - 1][0] > 1.0)
    assert rig.commands[late][1] == [0.0]


def planted(*_, **__):
    raise RuntimeError("planted")


@pytest.mark.parametrize("transition", [DEACTIVATE, SHUTDOWN])
@pytest.mark.parametrize("broken", ["a publisher", "the controller"])
def test_damping_is_asked_for_also_where_a_stop_fails(rig, transition, broken):
    rig = rig()
    rig.drive()
    rig.until(lambda: rig.damp and not rig.damp[-1])
    ticker = rig.agent.agent.ticker
    owner, name = (ticker._commands, "publish") if broken == "a publisher" else (ticker._controller, "step")
    works = getattr(owner, name)
    setattr(owner, name, lambda *a, **k: (works if ticker.driving else planted)(*a, **k))
    request = ChangeState.Request(transition=Transition(id=transition))
    assert not rig.call(ChangeState, "agent/change_state", request).success
    rig.wait_for_line("RuntimeError: planted")
    rig.until(lambda: rig.damp[-1], "~/damp")


def test_damping_is_asked_for_before_anything_else_on_the_way_out(rig, monkeypatch):
    rig = rig()
    rig.drive()
    rig.until(lambda: rig.damp and not rig.damp[-1])
    rig.agent.stop()
    rig.thread.join()
    with monkeypatch.context() as patch:
        patch.setattr(rig.agent, "trigger_shutdown", planted)
        with pytest.raises(RuntimeError, match="planted"):
            rig.agent.close()
    rig.until(lambda: rig.damp[-1], "~/damp")


@pytest.mark.parametrize("state", ["inactive", "active"])
def test_the_clock_is_not_changed_under_a_configured_agent(rig, state):
    rig = rig()
    assert rig.set(use_sim_time=True) == ""
    assert rig.set(use_sim_time=False) == ""
    assert rig.change(CONFIGURE)
    if state == "active":
        assert rig.change(ACTIVATE)
    refused = f"use_sim_time can be changed only while the node is unconfigured; it is {state}"
    assert rig.set(use_sim_time=True) == refused
    assert rig.set(trace=True, use_sim_time=True) == refused
    assert not rig.agent.get_clock().ros_time_is_active


@pytest.mark.parametrize("sec", [-1, -(2**31), 2**31 - 1])
def test_a_stamp_that_no_clock_has_is_a_fault_and_ends_nothing(rig, sec):
    rig = rig(trace=True)
    rig.drive()
    rig.be_silent()
    joints = rig.joints()
    message = JointState(name=joints, position=[0.0] * len(joints), velocity=[0.0] * len(joints))
    message.header.stamp.sec = sec
    sensor = rig.peer.create_publisher(JointState, "joint_states", 1)
    rig.until(lambda: sensor.get_subscription_count())
    stamp = max(sec, 0) * 10**9

    def traced():
        sensor.publish(message)
        return any(row[1] == stamp for row in rig.trace)

    rig.until(traced)
    assert rig.thread.is_alive()
    assert all(0 <= number < 2**64 for row in rig.trace for number in row)


def unlimited(spec):
    return {"action": spec.action.model_copy(update={"limits": ()})}


def unmarked(spec):
    """As an older version exported it: units and labels alone tell which field has the joints' positions."""
    return {"observations": tuple(field.model_copy(update={"role": None}) for field in spec.observations)}


@pytest.mark.parametrize(
    ("task", "change", "line"),
    [
        ("cartpole_balance", unlimited, "action.limits: slider has no effort limit in N"),
        ("a1_velocity", unmarked, "no field with the role joint_position tells where FR_hip_joint"),
    ],
)
def test_a_robot_without_limits_or_of_unknown_position_is_refused(rig, monkeypatch, task, change, line):
    rig = rig(task)
    load = agent_node.RunningAgent.__init__.__globals__["load_agent"]

    def changed(*arguments):
        agent = load(*arguments)
        spec = agent.controller.spec
        agent.controller.spec = AgentSpec.model_validate(spec.model_copy(update=change(spec)).model_dump())
        return agent

    monkeypatch.setitem(agent_node.RunningAgent.__init__.__globals__, "load_agent", changed)
    assert not rig.change(CONFIGURE)
    rig.wait_for_line(line)
    monkeypatch.undo()
    assert rig.change(CONFIGURE, ACTIVATE)
