"""Who damps a robot whose agent is gone or hangs: a guardian that is a process of its own, and systemd."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack

import pytest
from agent_rig import ACTIVATE, CONFIGURE, DEACTIVATE, PROMPT, AgentRig, ProcessRig
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_msgs.msg import Bool, String

from robot_wm_ros.heartbeat import Beat
from robot_wm_ros.qos import HEARTBEAT, LATCHED
from robot_wm_ros.supervisor import Supervisor


@pytest.fixture
def rig(domain, make_bundle):
    """``rig(kind, task, parameter=value)``: a rig that ends with the test, and what it hears of e-stop and mode."""
    with ExitStack() as stack:

        def make(kind, task="cartpole_balance", **parameters):
            rig = stack.enter_context(kind(make_bundle(task), domain, **({"namespace": ""} | PROMPT | parameters)))
            rig.estops, rig.modes = [], []
            rig.peer.create_subscription(Bool, "estop", lambda message: rig.estops.append(message.data), LATCHED)
            rig.peer.create_subscription(String, "agent/mode", lambda message: rig.modes.append(message.data), LATCHED)
            return rig

        yield make


def guarded(rig, spawn):
    """Drive, under a guardian that has found everything."""
    guardian = spawn("robot_wm_ros.guardian")
    rig.drive()
    node = rig.peer
    rig.until(lambda: node.count_publishers("forward_effort_controller/commands") == 2, "the guardian to be prepared")
    rig.until(lambda: len(rig.commands) > 20 and not rig.damp[-1] and any(v != [0.0] for _, v in rig.commands[-20:]))
    rig.until(lambda: rig.modes[-1] == "active")  # a busy machine's stale samples hold it for a moment
    return guardian


def test_a_killed_agent_is_stopped_until_the_next_one_is_reset(rig, spawn):
    rig = rig(ProcessRig)
    guardian = guarded(rig, spawn)
    os.kill(rig.process.pid, signal.SIGKILL)
    rig.process.wait()
    heard = len(rig.commands)
    guardian.wait_for("agent drives and has not been heard for")
    rig.until(lambda: rig.damp[-1] and rig.estops and len(rig.commands) > heard + 50)
    assert rig.estops == [True]
    assert all(values == [0.0] for _, values in rig.commands[-50:])
    between_s = (rig.commands[-1][0] - rig.commands[-50][0]) / 49
    assert between_s < 5 * rig.spec.control_period_s
    again = spawn("robot_wm_ros.agent")
    again.wait_for("e-stop by topic")
    rig.until(lambda: rig.modes[-1] == "estop")
    assert rig.trigger("reset").success
    guardian.wait_for("agent was reset (inactive): this guardian is silent again")

    def is_quiet():  # a busy machine hears late what was said before
        heard = len(rig.commands)
        rig.listen(0.3)
        return len(rig.commands) == heard

    rig.until(is_quiet, "the guardian to be silent")


def test_an_agent_that_hangs_in_its_engine_is_stopped_meanwhile_and_afterwards(rig, spawn):
    rig = rig(AgentRig)
    guardian = guarded(rig, spawn)
    engine = rig.agent.agent.controller.engine
    infer, ended_s = engine.infer, []

    def hang():
        engine.infer = infer
        time.sleep(3.0)
        ended_s.append(time.monotonic())
        infer()

    engine.infer = hang
    rig.until(lambda: rig.damp[-1] and rig.estops, "the guardian")
    assert not ended_s, "while the agent hangs"
    guardian.wait_for("agent drives and has not been heard for")
    rig.until(lambda: rig.modes[-1] == "estop")
    stopped = [values for at_s, values in rig.commands if at_s > ended_s[0] - 1.0]
    assert stopped
    assert all(values == [0.0] for values in stopped)
    assert not rig.enable().success
    assert rig.trigger("reset").success
    guardian.wait_for("this guardian is silent again")
    assert rig.enable().success
    rig.until(lambda: rig.modes[-1] == "active" and not rig.damp[-1])


def test_an_agent_that_hangs_with_the_estop_pressed_is_left_alone_once_it_is_reset(rig, spawn):
    rig = rig(AgentRig)
    guardian = guarded(rig, spawn)
    rig.trigger("estop")
    rig.until(lambda: rig.modes[-1] == "estop")
    watch = rig.agent.watch

    def hang():
        rig.agent.watch = watch
        time.sleep(2.0)
        watch()

    rig.agent.watch = hang
    guardian.wait_for("agent drives and has not been heard for")
    rig.until(lambda: rig.modes[-2:] == ["estop", "estop"], "the agent to hear the guardian")
    assert rig.trigger("reset").success
    guardian.wait_for("this guardian is silent again")


def test_an_agent_killed_while_it_holds_on_its_way_to_rest_is_stopped_too(rig, spawn):
    rig = rig(ProcessRig, hold_s=10.0)
    guardian = guarded(rig, spawn)
    client = rig.peer.create_client(ChangeState, "agent/change_state")
    rig.until(client.service_is_ready)
    client.call_async(ChangeState.Request(transition=Transition(id=DEACTIVATE)))
    rig.until(lambda: rig.modes[-1] == "hold")
    assert rig.damp[-1] is False
    os.kill(rig.process.pid, signal.SIGKILL)
    guardian.wait_for("agent drives and has not been heard for")
    rig.until(lambda: rig.damp[-1] and rig.estops)


def test_an_agent_killed_while_it_waits_for_its_sensors_is_not_told_to_go_where_it_once_was(rig, spawn):
    rig = rig(ProcessRig, "a1_velocity", sensor_wait_s=60.0)
    rig.drive()
    rig.until(lambda: rig.modes[-1] == "active")
    assert rig.change(DEACTIVATE)
    rig.be_silent()
    guardian = spawn("robot_wm_ros.guardian")
    assert rig.change(ACTIVATE)
    rig.until(lambda: rig.peer.count_publishers("forward_position_controller/commands") == 2)
    rig.listen(0.3)
    heard = len(rig.commands)
    os.kill(rig.process.pid, signal.SIGKILL)
    rig.process.wait()
    rig.listen(1.5)
    assert (len(rig.commands), rig.estops, guardian.lines) == (heard, [], [])


@pytest.mark.parametrize(("task", "silence_s"), [("cartpole_balance", 0.5), ("a1_velocity", 10.06)])
def test_only_a_last_position_may_stand_for_as_long_as_a_hold(rig, task, silence_s):
    rig = rig(AgentRig, task, hold_s=10.0)
    beats = []
    rig.peer.create_subscription(String, "agent/heartbeat", lambda message: beats.append(message.data), HEARTBEAT)
    assert rig.change(CONFIGURE)
    rig.until(lambda: beats)
    assert Beat.model_validate_json(beats[0]).silence_s == pytest.approx(silence_s)


def test_a_guardian_that_is_gone_is_missed(rig, spawn):
    rig = rig(ProcessRig)
    guardian = guarded(rig, spawn)
    assert not [line for line in rig.lines if "guardian is gone" in line]
    os.kill(guardian.pid, signal.SIGKILL)
    rig.wait_for_line("the guardian is gone: nobody hears ~/heartbeat")


def test_an_agent_that_is_stopped_on_purpose_alarms_nobody(rig, spawn):
    rig = rig(ProcessRig)
    guardian = guarded(rig, spawn)
    rig.process.signal(signal.SIGINT)
    assert rig.process.wait() == 0
    rig.listen(1.5)
    assert rig.estops == []
    assert not [line for line in guardian.lines if "not been heard" in line]


def test_systemd_hears_half_its_watchdog_time_apart_and_waits_for_a_configuration(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(1.0)
        supervisor = Supervisor({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
        for now_s in (10.0, 10.9, 11.0, 11.5, 12.1):
            supervisor.alive(now_s)
        with supervisor.patient():
            pass
        supervisor.close()
        told = [manager.recv(100).decode() for _ in range(5)]
    assert told == ["WATCHDOG=1"] * 3 + ["WATCHDOG_USEC=1800000000\nWATCHDOG=1", "WATCHDOG_USEC=2000000\nWATCHDOG=1"]
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"}).alive(0.0)
    Supervisor({}).alive(0.0)
