"""A configured agent on a node: its controller, every topic it reads and writes, and its recording."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.impl import implementation_singleton
from rclpy.node import Node
from rclpy.subscription import Subscription

from robot_wm.runtime.joints import require_placed
from robot_wm.runtime.limits import require_robot_limits
from robot_wm.runtime.realtime import Grant, apply_realtime
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.runtime.tick_log import Recorder
from robot_wm_ros.binding_kinds import BindingKinds
from robot_wm_ros.bindings import Input, bind
from robot_wm_ros.command_velocity import VELOCITY_TYPES, published_velocity_type
from robot_wm_ros.commanders import Commanders
from robot_wm_ros.commands import CommandPublisher, CommandRoute
from robot_wm_ros.controllers import ControllerWatch
from robot_wm_ros.diagnostics import diagnostic_array
from robot_wm_ros.event_log import EventLog
from robot_wm_ros.heartbeat import Heartbeat
from robot_wm_ros.lateness import Lateness
from robot_wm_ros.loading import load_agent
from robot_wm_ros.outputs import DampFlag, TracePublisher
from robot_wm_ros.parameters import AgentParameters
from robot_wm_ros.preflight import Preflight
from robot_wm_ros.publishers import Publishers
from robot_wm_ros.qos import DIAGNOSTICS
from robot_wm_ros.recorded_topics import RecordedTopics
from robot_wm_ros.status import StatusSource, Thermometer
from robot_wm_ros.tick import Ticker

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


class RunningAgent:
    """Made when the node is configured; ``undo`` gets what gives everything back, also where this raises UserError."""

    def __init__(self, node: Node, parameters: AgentParameters, undo: ExitStack) -> None:
        self._node = node
        self._velocity_type = parameters.command_velocity_type
        agent = load_agent(parameters, undo, node.get_logger().info)
        self.controller = controller = agent.controller
        spec = controller.spec
        require_robot_limits(spec)
        require_placed(spec)
        frame, inputs = bind(
            spec,
            stamp_source=parameters.stamp_source,
            command_timeout=parameters.command_timeout,
            command_velocity_type=parameters.command_velocity_type,
        )
        route = CommandRoute(
            controller=parameters.controller,
            command_type=parameters.command_type,
            controller_joints=parameters.controller_joints,
            period_s=spec.control_period_s,
            wheel_radius=parameters.wheel_radius,
            wheel_separation=parameters.wheel_separation,
        )
        commands = CommandPublisher(node, spec.action, route)
        undo.callback(commands.destroy)
        self.damp = DampFlag(node)
        undo.callback(self.damp.destroy)
        trace = TracePublisher(node)
        undo.callback(trace.destroy)
        diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", DIAGNOSTICS)
        undo.callback(node.destroy_publisher, diagnostics)
        self._diagnostics = diagnostics
        self.grants = self._real_time(parameters, undo)
        # What needs no real time starts after it was asked for.
        recorder = None
        if parameters.record:
            recorder = TickRecorder(
                Path(parameters.record),
                agent.bundle.spec,
                bundle_sha256=agent.bundle.manifest_sha256,
                queue_ticks=parameters.record_queue,
                recorder=Recorder(
                    namespace=node.get_namespace(),
                    agent=node.get_fully_qualified_name(),
                    host=socket.gethostname(),
                    serial=parameters.robot_serial,
                ),
                limits=parameters.recording,
            )
            undo.callback(recorder.close)
        self._recorder = recorder
        self._thermometer = Thermometer()
        undo.callback(self._thermometer.close)
        self.ticker = Ticker(
            clock=node.get_clock(),
            controller=controller,
            frame=frame,
            trigger=next(entry for entry in inputs if entry.is_trigger),
            commands=commands,
            damp=self.damp,
            trace=trace,
            recorder=recorder,
            lateness=Lateness(
                deadline_s=parameters.deadline_s or spec.control_period_s, limit=parameters.deadline_miss_limit
            ),
            events=EventLog(node.get_logger()),
            sensor_wait_s=parameters.sensor_wait_s,
        )
        self.ticker.tracing = parameters.trace
        trigger_age_s = next(entry.max_age_s for entry in inputs if entry.is_trigger)
        # The last position is what a fault holds, too; the last speed or effort goes on, which no agent does in a hold.
        held_s = parameters.safety.hold_s if spec.action.mode == "position" else 0.0
        patience_s = trigger_age_s + held_s
        self._heartbeat = Heartbeat(node, spec.action, route, patience_s=patience_s)
        undo.callback(self._heartbeat.destroy)
        self._watch = ControllerWatch(node, commands.controller, commands.joints, is_ordered=commands.is_ordered)
        undo.callback(self._watch.destroy)
        self._doubts: tuple[str, ...] = ()  # of the last report
        self._allowed = {
            "allow_sensors": parameters.allow_rival_sensors,
            "allow_commanders": parameters.allow_rival_commanders,
        }
        self._preflight = Preflight(
            frame,
            inputs,
            commands,
            controller,
            Publishers(node, spec, inputs),
            self._watch,
            Commanders(node, commands),
            self._heartbeat,
        )
        self._status = StatusSource(
            agent,
            self.ticker,
            recorder,
            self._preflight,
            engine=parameters.engine,
            surprise_limit=parameters.safety.surprise_limit,
        )
        self._hardware_id = spec.robot
        self._subscriptions: dict[str, Subscription] = {}
        self._inputs = {entry.topic: entry for entry in inputs}
        undo.callback(self._unsubscribe)
        # The trigger comes last: of messages that come together, all others are read before the tick.
        for entry in sorted(inputs, key=lambda entry: entry.is_trigger):
            self._subscribe(entry, entry.message_type)
        self._recorded_topics: RecordedTopics | None = None
        if recorder is not None:
            # Behind the trigger: what a tick waits for is read first.
            self._recorded_topics = RecordedTopics(node, parameters.record_topics, recorder.beside)
            undo.callback(self._recorded_topics.destroy)
        node.get_logger().info(
            f"{spec.task} on {spec.robot} at {spec.control_rate_hz:g} Hz: {', '.join(self._inputs)} -> {commands.topic}"
            f"; bundle {agent.bundle.manifest_sha256[:12]}"
        )
        for line in (*BindingKinds().broken, *controller.unwatched):
            node.get_logger().warning(line)
        if not agent.bundle.signature_checked:
            node.get_logger().warning("allow_unsigned: nobody's signature vouches for this bundle")
        if parameters.rate_override_hz:
            node.get_logger().warning(
                f"rate_override_hz: {spec.control_rate_hz:g} Hz, trained at {agent.spec.control_rate_hz:g} Hz:"
                " for latency measurements only"
            )

    def _real_time(self, parameters: AgentParameters, undo: ExitStack) -> tuple[Grant, ...]:
        thinker = self.controller.thinker
        grants = apply_realtime(parameters.realtime, background=() if thinker is None else (thinker.thread_id,))
        if parameters.realtime.freeze_gc:
            undo.callback(gc.unfreeze)
        for grant in grants:
            (self._node.get_logger().info if grant.granted else self._node.get_logger().warning)(str(grant))
        return grants

    # -- topics -----------------------------------------------------------------------------------------------------

    def _subscribe(self, entry: Input, message_type: type) -> None:
        callback = self.ticker.sample if entry.is_trigger else self._reader(entry)
        arguments: dict[str, Any] = {}
        if entry.is_trigger:
            arguments["event_callbacks"] = SubscriptionEventCallbacks(message_lost=self._lost)
        make = self._node.create_subscription
        try:
            subscription = make(message_type, entry.topic, callback, entry.qos, **arguments)
        except implementation_singleton.rclpy_implementation.UnsupportedEventTypeError:
            self._node.get_logger().info("this middleware does not tell of lost samples")
            subscription = make(message_type, entry.topic, callback, entry.qos)
        self._subscriptions[entry.topic] = subscription

    def _reader(self, entry: Input) -> Any:
        clock, read = self._node.get_clock(), entry.read

        def callback(message: Any) -> None:
            read(message, clock.now().nanoseconds * 1e-9)

        return callback

    def _lost(self, event: Any) -> None:
        self.ticker.arrivals.lose(event.total_count_change)

    def _unsubscribe(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.popitem()[1])

    def _follow_velocity_type(self) -> None:
        """Subscribe to cmd_vel in the type that is published, where that is left open."""
        if self._velocity_type != "auto":
            return
        for topic, subscription in list(self._subscriptions.items()):
            if subscription.msg_type not in VELOCITY_TYPES.values():
                continue
            found = published_velocity_type(self._node, topic, subscription.msg_type)
            if found is not subscription.msg_type:
                self._node.destroy_subscription(self._subscriptions.pop(topic))
                self._subscribe(self._inputs[topic], found)
                self._node.get_logger().info(f"{topic}: now read as {found.__name__}")

    def require_clear(self) -> None:
        """Raises UserError for what the agent must not be activated with."""
        self._preflight.require_clear(**self._allowed)

    def beat(self, now_s: float) -> None:
        """Tell the guardian that the agent's thread is there; ``now_s`` is the steady clock's."""
        last = self.ticker.last
        self._heartbeat.beat(now_s, self.ticker.commanding, None if last is None else last.command)

    def stop(self, wait: Callable[[float], None], *, hold: bool, hurry: Callable[[], bool]) -> None:
        """Stop driving, as ``Ticker.stop``, and tell the guardian once that is done: until then it is needed."""
        self.ticker.stop(wait, hold=hold, hurry=hurry)
        self._heartbeat.rest()

    # -- once a second ----------------------------------------------------------------------------------------------

    def report(self, now_s: float, lifecycle: str) -> None:
        """Publish ~/damp and /diagnostics; ``now_s`` is the steady clock's."""
        self.damp.repeat()
        if not self.ticker.driving:
            self._watch.ask()
        status = self._status.status(
            now_s,
            ros_now_s=self._node.get_clock().now().nanoseconds * 1e-9,
            lifecycle=lifecycle,
            temperatures=self._thermometer.temperatures_c,
            realtime=self.grants,
        )
        self._diagnostics.publish(
            diagnostic_array(
                self._node.get_clock().now().to_msg(),
                hardware_id=self._hardware_id,
                status=status,
                name=self._node.get_fully_qualified_name().lstrip("/"),
            )
        )
        for doubt in status.doubts:
            if doubt not in self._doubts:
                self._node.get_logger().warning(doubt)
        self._doubts = status.doubts
        self._follow_velocity_type()
        if self._recorder is not None:
            for line in self._recorder.news():
                self._node.get_logger().info(line)
        if self._recorded_topics is not None:
            self._recorded_topics.look()
