"""The agent's node over real DDS: its life, its services, its rate, and what it says when something is wrong."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
import rclpy
from agent_rig import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, PROMPT, AgentRig
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from diagnostic_msgs.msg import DiagnosticArray, KeyValue
from rcl_interfaces.srv import DescribeParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from robot_wm.runtime.modes import Mode
from robot_wm_ros import spin
from robot_wm_ros.qos import LATCHED


@pytest.fixture
def rig(domain, make_bundle):
    """``rig(task, parameter=value)``: a rig that ends with the test."""
    with ExitStack() as stack:

        def make(task="cartpole_balance", *, namespace="", **parameters):
            made = AgentRig(make_bundle(task), domain, namespace=namespace, **(PROMPT | parameters))
            return stack.enter_context(made)

        yield make


def entities(node):
    return {
        kind: sorted(entity.topic_name if hasattr(entity, "topic_name") else entity.srv_name for entity in found)
        for kind, found in (
            ("subscriptions", node.subscriptions),
            ("publishers", node.publishers),
            ("services", node.services),
        )
    } | {"timers": len(list(node.timers)), "waitables": len(list(node.waitables))}


def test_a_whole_life_leaves_nothing_behind(rig):
    """Configure, drive, hold and damp, clean up, again and again."""
    rig = rig(record="")
    node = rig.agent
    before, threads = entities(node), threading.active_count()
    for _ in range(5):
        assert rig.change(CONFIGURE)
        assert rig.state() == "inactive"
        assert "/joint_states" in entities(node)["subscriptions"]
        assert rig.change(CLEANUP)
        assert rig.state() == "unconfigured"
        assert entities(node) == before
        assert threading.active_count() == threads
    assert rig.commands == []

    rig.drive()
    assert rig.damp[-1] is False
    rig.until(lambda: len(rig.commands) > 20)
    assert rig.agent.agent.controller.mode is Mode.ACTIVE
    start_s, heard = time.monotonic(), len(rig.commands)
    assert rig.change(DEACTIVATE)
    rig.until(lambda: rig.damp[-1])
    stopping = [values for at_s, values in rig.commands[heard:]]
    # Held for hold_s at the control rate, then damped; an effort comes down to zero and stays there.
    assert len(stopping) >= PROMPT["hold_s"] * rig.spec.control_rate_hz
    assert stopping[-5:] == [[0.0]] * 5
    assert time.monotonic() - start_s >= PROMPT["hold_s"]
    quiet = len(rig.commands)
    rig.listen(0.3)
    assert len(rig.commands) == quiet
    assert rig.change(ACTIVATE)
    rig.until(lambda: len(rig.commands) > quiet + 10)
    assert rig.change(DEACTIVATE, CLEANUP)
    assert entities(node) == before
    assert threading.active_count() == threads + 1  # the sensors'


def spoil(bundle, tmp_path):
    copy = tmp_path / "spoilt.rwm"
    shutil.copytree(bundle, copy)
    graph = copy / "policy.op17.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    return copy


def test_a_configuration_that_fails_says_why_and_can_be_put_right(rig, make_bundle, tmp_path):
    good = make_bundle("cartpole_balance")
    in_the_way = tmp_path / "a_file"
    in_the_way.touch()
    rig = rig(bundle=str(tmp_path / "nothing.rwm"))
    before = entities(rig.agent)
    for changes, cause in (
        ({}, "nothing.rwm: no such bundle"),
        ({"bundle": ""}, "parameter bundle: is not set"),
        ({"bundle": str(spoil(good, tmp_path))}, "policy.op17.onnx was changed"),
        ({"bundle": str(good), "controller_joints": ["hinge"]}, "controller_joints"),
        ({"controller_joints": ["slider"], "record": str(in_the_way)}, "a_file: cannot record here"),
    ):
        if changes:
            assert rig.set(**changes) == ""
        assert not rig.change(CONFIGURE)
        assert "configure failed: " in rig.wait_for_line(cause)
        assert rig.state() == "unconfigured"
        assert entities(rig.agent) == before
    assert rig.set(record="") == ""
    assert rig.change(CONFIGURE, ACTIVATE)
    assert rig.state() == "active"


@pytest.mark.parametrize(
    ("vouching", "cause", "undone"),
    [
        ({"allow_unsigned": False}, "parameter public_key: is not set", {"allow_unsigned": True}),
        ({"public_key": "KEY"}, "manifest.sig", {"public_key": ""}),
        ({"robot_config": "a1"}, "not for robot a1", {"robot_config": ""}),
        ({"min_bundle_version": 1}, "older than this robot's min_bundle_version 1", {"min_bundle_version": 0}),
    ],
)
def test_nobody_on_the_network_can_undo_what_a_bundle_is_checked_against(rig, tmp_path, vouching, cause, undone):
    key = tmp_path / "key.pem"
    public = Ed25519PrivateKey.generate().public_key()
    key.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    rig = rig(**{name: str(key) if value == "KEY" else value for name, value in vouching.items()})
    assert "read-only" in rig.set(**undone)
    assert "read-only" in rig.set(rate_override_hz=100.0)
    assert not rig.change(CONFIGURE)
    assert "configure failed: " in rig.wait_for_line(cause)


def test_an_active_agent_waits_for_its_sensors_and_starts_softly_when_they_come(rig):
    rig = rig("a1_velocity", sensor_wait_s=60.0)
    assert rig.change(CONFIGURE, ACTIVATE)
    rig.listen(1.0)  # longer than hold_s: without the wait it has damped by now, and wants an operator
    assert rig.commands == []
    assert set(rig.damp) == {True}
    rig.sense(200.0)
    rig.wait_for_line("soft_start -> active")
    assert rig.damp[-1] is False
    assert not any("hold" in line for line in rig.lines)


def test_an_active_agent_whose_sensors_do_not_come_damps_in_the_end(rig):
    rig = rig(sensor_wait_s=0.3)
    assert rig.change(CONFIGURE, ACTIVATE)
    rig.wait_for_line("hold -> damp")
    rig.listen(0.3)
    assert set(rig.damp) == {True}, "a brake was let go of for a robot that nobody sees"


def test_parameters_say_what_they_are_and_refuse_what_they_cannot_be(rig):
    rig = rig(engine="magic")
    request = DescribeParameters.Request(names=["hold_s", "recover_ticks", "fifo_priority", "engine"])
    hold, recover, fifo, engine = rig.call(DescribeParameters, "agent/describe_parameters", request).descriptors
    assert (hold.floating_point_range[0].from_value, hold.floating_point_range[0].to_value) == (0.0, 3600.0)
    assert hold.description.startswith("s,")
    assert (recover.integer_range[0].from_value, hold.read_only) == (1, False)
    assert fifo.read_only
    assert "onnx" in engine.additional_constraints
    for values, reason in (
        ({"hold_s": -1.0}, "range"),
        ({"hold_s": float("nan")}, "range"),
        ({"hold_s": 1}, "type"),
        ({"recover_ticks": 0}, "range"),
        ({"command_type": "twist"}, "not one of float64_multi_array, joint_trajectory"),
        ({"fifo_priority": 50}, "read-only"),
        ({"no_such_parameter": 1}, "declare"),
    ):
        assert reason in rig.set(**values).lower(), values
    assert not rig.change(CONFIGURE)
    rig.wait_for_line("parameter engine: 'magic' is not one of onnx")
    assert rig.set(engine="onnx", hold_s=0.3) == ""
    assert rig.change(CONFIGURE)
    assert "only while the node is unconfigured; it is inactive" in rig.set(hold_s=0.5)
    assert rig.change(ACTIVATE)
    assert "bundle can be changed only while the node is unconfigured; it is active" in rig.set(bundle="")
    assert rig.set(trace=True) == ""
    rig.until(lambda: rig.trace)
    assert rig.set(trace=False) == ""


def test_ticks_come_at_the_agents_rate_from_a_sensor_four_times_as_fast(rig):
    rig = rig(trace=True, deadline_miss_limit=0)
    reports = []
    rig.peer.create_subscription(DiagnosticArray, "/diagnostics", reports.append, 10)
    rig.drive(4 * rig.spec.control_rate_hz)
    rig.until(lambda: len(rig.trace) > 150)
    rows = np.array(rig.trace, dtype=np.int64)
    assert (np.diff(rows[:, 0]) == 1).all()
    assert (np.diff(rows[:, 1:], axis=1) >= 0).all()  # stamp, receipt, inference, safety, publish in this order
    assert (np.diff(rows, axis=0) > 0).all()
    spacing_s = np.diff(rows[:, 1]) * 1e-9
    assert spacing_s.mean() == pytest.approx(rig.spec.control_period_s, rel=0.03)
    rig.be_silent()
    rig.listen(1.5)
    arrivals = rig.agent.agent.ticker.arrivals
    # Every sample since the activation has a name.
    assert arrivals.ticks + arrivals.decimated == arrivals.received
    assert arrivals.received + arrivals.superseded + arrivals.lost <= rig.sent
    assert arrivals.decimated > 2 * arrivals.ticks

    def told():
        return {entry.key: entry.value for entry in reports[-1].status[0].values} if reports else {}

    rig.until(lambda: told().get("mode") == "damp")
    for name in ("received", "decimated", "superseded", "lost"):
        assert told()[f"{name}_samples"] == str(getattr(arrivals, name))
    assert reports[-1].status[0].name == "agent"
    assert reports[-1].status[0].hardware_id == "cartpole"


def test_joints_are_found_by_name_in_any_order(rig):
    rig = rig("a1_velocity")
    rig.drive(joints=["a_wheel", *reversed(rig.joints())])
    rig.until(lambda: len(rig.commands) > 20)
    assert not [line for line in rig.lines if "MISSING" in line]
    assert rig.agent.agent.controller.mode is Mode.ACTIVE


def test_a_silent_sensor_is_held_then_damped_and_its_return_is_not_enough(rig):
    rig = rig()
    rig.drive()
    rig.be_silent()
    assert "STALE: joint_states: no new sample for 0.06" in rig.wait_for_line("active -> hold")
    rig.wait_for_line("hold -> damp")
    rig.until(lambda: rig.damp[-1])
    assert rig.commands[-1][1] == [0.0]
    rig.sense(200.0)
    rig.listen(0.3)
    assert rig.agent.agent.controller.mode is Mode.DAMP
    assert rig.enable().success
    rig.wait_for_line("damp -> soft_start")


def test_the_operators_services_and_the_latched_topic(rig):
    rig = rig()
    assert not rig.enable().success
    estop = rig.peer.create_publisher(Bool, "estop", LATCHED)
    rig.until(lambda: estop.get_subscription_count() >= 2)
    estop.publish(Bool(data=True))
    rig.wait_for_line("e-stop by topic")
    # It outlives a configuration that comes later, and false takes nothing back.
    estop.publish(Bool(data=False))
    assert rig.change(CONFIGURE)
    rig.sense(200.0)
    assert rig.change(ACTIVATE)
    rig.wait_for_line("the e-stop is latched")
    assert rig.agent.agent.controller.mode is Mode.ESTOP
    answer = rig.enable()
    assert (answer.success, answer.message) == (False, "e-stop is latched: ~/reset first")
    assert rig.trigger("reset").success
    assert rig.enable().success
    rig.wait_for_line("soft_start -> active")
    assert rig.enable(False).success
    rig.until(lambda: rig.damp[-1])
    assert rig.enable().success
    # A stop during the soft start shows in the very next command.
    heard = len(rig.commands)
    assert rig.trigger("estop").success
    rig.until(lambda: rig.damp[-1] and len(rig.commands) > heard)
    assert rig.agent.agent.controller.mode is Mode.ESTOP
    # So does one from a publisher that keeps nothing for those who come later.
    assert rig.trigger("reset").success
    assert rig.enable().success
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
    volatile = rig.peer.create_publisher(Bool, "estop", qos)

    def pressed():
        # Again and again, as a button does: the publisher may know the agent before the agent knows the publisher.
        volatile.publish(Bool(data=True))
        return rig.agent.agent.controller.mode is Mode.ESTOP

    rig.until(pressed)


def test_a_latched_stop_from_before_the_agent_is_heard(rig, domain):
    context = rclpy.Context()
    context.init(domain_id=domain)
    button = rclpy.create_node("button", context=context)
    button.create_publisher(Bool, "estop", LATCHED).publish(Bool(data=True))
    rig().wait_for_line("e-stop by topic")
    button.destroy_node()
    context.try_shutdown()


def test_simulated_time_drives_the_stamps_but_not_the_watchdog(rig):
    rig = rig(use_sim_time=True, trace=True)
    rig.drive(200.0, clock=True)
    rig.until(lambda: len(rig.trace) > 20)
    assert all(100 * 10**9 <= row[1] < 1000 * 10**9 < row[2] for row in rig.trace[-10:])  # simulated, then system's
    rig.be_silent()  # the simulation is paused: no clock, either
    rig.wait_for_line("active -> hold: STALE")
    rig.wait_for_line("hold -> damp")


def test_a_namespace_and_another_rate(rig):
    rig = rig(namespace="/left", rate_override_hz=100.0, trace=True)
    rig.drive(400.0)
    rig.wait_for_line("rate_override_hz: 100 Hz, trained at 50 Hz")
    rig.until(lambda: len(rig.trace) > 60)
    spacing_s = np.diff([row[1] for row in rig.trace]) * 1e-9
    assert spacing_s.mean() == pytest.approx(0.01, rel=0.05)


def test_every_tick_is_recorded(rig, tmp_path):
    rig = rig(record=str(tmp_path / "ticks"), trace=True)
    rig.drive()
    rig.until(lambda: len(rig.trace) > 30)
    ticker = rig.agent.agent.ticker
    assert rig.change(DEACTIVATE, CLEANUP)
    (path,) = (tmp_path / "ticks").iterdir()
    assert path.suffix == ".mcap"
    from mcap.reader import make_reader

    with path.open("rb") as file:
        counts = make_reader(file).get_summary().statistics.channel_message_counts
    assert ticker.ticks in counts.values()


def test_a_service_that_fails_is_logged_and_the_robot_goes_on(rig):
    rig = rig()
    rig.agent.create_service(Trigger, "~/broken", lambda request, response: 1 / 0)
    rig.drive()
    client = rig.peer.create_client(Trigger, "agent/broken")
    rig.until(client.service_is_ready)
    client.call_async(Trigger.Request())
    rig.wait_for_line("ZeroDivisionError")
    heard = len(rig.commands)
    rig.until(lambda: len(rig.commands) > heard + 10)
    assert rig.agent.agent.controller.mode is Mode.ACTIVE


def test_without_the_direct_way_rclpys_own_executor_does_it(rig, monkeypatch):
    monkeypatch.setattr(spin, "_is_direct", lambda node: False)
    rig = rig()
    rig.wait_for_line("its own executor takes them")
    rig.drive()
    rig.until(lambda: len(rig.commands) > 20)
    assert rig.change(DEACTIVATE, CLEANUP)


def test_a_robot_that_is_far_from_its_start_pose_is_led_there_first_and_says_so(rig):
    rig = rig("a1_velocity", start_speed=1.0)
    reports = []
    rig.peer.create_subscription(DiagnosticArray, "/diagnostics", reports.append, 10)
    rig.drive()  # sensors as of a robot with straight legs
    lines = [line.split("[agent]: ")[1] for line in rig.lines if "start" in line and " -> " in line]
    assert lines == [
        "inactive -> go_to_start",
        "go_to_start -> soft_start",
        "soft_start -> active",
    ]
    rig.until(lambda: any(KeyValue(key="mode", value="go_to_start") in r.status[0].values for r in reports), "a report")
    action = rig.spec.action
    rest, home = np.array([rig.rest()[joint] for joint in action.joints]), np.array(action.offset)
    way_s = 15 / 8 * np.abs(home - rest).max() / 1.0
    way = np.array([values for _, values in rig.commands])[: int(way_s * rig.spec.control_rate_hz)]
    assert np.abs(np.diff(way, axis=0)).max() <= 1.001 / rig.spec.control_rate_hz
    np.testing.assert_allclose(way[-1], home, atol=0.05)
