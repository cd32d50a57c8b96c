"""A simulated robot in real time, behind the topics and services of a real one.

One thread: it sleeps in the wait for messages until the next sample is due on its own grid of absolute times, brings
physics up to now, and publishes. Whatever comes in between first brings physics up to now, too, so that a command acts
from the physics step that follows its receipt.

With ``wait_for_agent`` the robot stands as if somebody held it: sensors and clock run, nothing moves. It is let go when
the agent wants it damped no longer, which is with its first command, and held again whenever the agent is inactive.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from threading import Event
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, TransitionEvent
from rclpy.node import Node
from rclpy.qos import QoSPresetProfiles, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Float64MultiArray, String, UInt64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from robot_wm.errors import UserError
from robot_wm.runtime.pace import Pace
from robot_wm.runtime.realtime import apply_realtime
from robot_wm_ros.commands import COMMAND_TYPES
from robot_wm_ros.qos import LATCHED, TRACE
from robot_wm_ros.sensor_messages import SensorMessages
from robot_wm_ros.sim_parameters import SimParameters
from robot_wm_ros.spin import Spinner
from robot_wm_sim.realtime.fault_player import FaultPlayer
from robot_wm_sim.realtime.physics_clock import PhysicsClock
from robot_wm_sim.realtime.simulated_robot import SimulatedRobot

WARN_EVERY_S = 2.0
SIMULATED_START_NS = 1_000_000_000  # a simulated time of zero would mean that there is no clock

# As ros2_control's joint_state_broadcaster publishes.
_SENSORS = QoSPresetProfiles.SYSTEM_DEFAULT.value
# As a lifecycle node publishes its transitions.
_TRANSITIONS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
# Deep enough that a burst is counted to the last; of two commands at once the later one counts.
_COMMANDS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class SimRobot:
    """The node ``sim_robot``. ``run`` is its only loop, which ``stop`` ends; nothing may be called from elsewhere."""

    def __init__(self, stop: Event) -> None:
        """Raises UserError for a bad parameter."""
        self._stop = stop
        self._node = node = Node("sim_robot")
        self._parameters = parameters = SimParameters.declare(node)
        self._robot = robot = SimulatedRobot.of_task(
            parameters.task,
            parameters.task_options,
            seed=parameters.seed,
            watchdog_s=parameters.watchdog_s,
            sensor_model=parameters.sensor_model,
        )
        parameters.faults.require_joints(robot.joint_names, origin=parameters.faults_path)
        spec = robot.spec
        self._messages = SensorMessages(spec, robot.joint_names)
        self._sensors: dict[str, Any] = {
            topic: node.create_publisher(message_type, topic, _SENSORS)
            for topic, message_type in self._messages.types.items()
        }
        self._faults = FaultPlayer(parameters.faults)
        self._is_held = parameters.wait_for_agent
        self._is_driven = False  # the agent wants it damped no longer
        self._faults_from_s = math.inf  # physics time
        if parameters.play_faults_at_start and not self._is_held:
            self._faults_from_s = 0.0
        self._active_faults: tuple[str, ...] = ()
        self._firmware_mode = ""
        self._sequence = self._received = self._refused = 0
        self._given_up_s = 0.0

        self._subscribe_commands()
        node.create_subscription(Bool, parameters.damp_topic, self._on_damp, LATCHED)
        if parameters.wait_for_agent:
            node.create_subscription(TransitionEvent, parameters.transition_topic, self._on_transition, _TRANSITIONS)
        node.create_service(Trigger, "~/estop", self._on_estop)
        node.create_service(Trigger, "~/reset", self._on_reset)
        node.create_service(Trigger, "~/play_faults", self._on_play_faults)
        self._firmware_publisher = node.create_publisher(String, "~/firmware", LATCHED)
        self._faults_publisher = node.create_publisher(String, "~/active_faults", LATCHED)
        self._clock_publisher = node.create_publisher(Clock, "/clock", 10) if parameters.publish_clock else None
        self._trace = parameters.trace
        if self._trace:
            self._applied = node.create_publisher(UInt64MultiArray, "~/applied", TRACE)
            self._sampled = node.create_publisher(UInt64MultiArray, "~/sampled", TRACE)
            self._applied_message, self._sampled_message = (UInt64MultiArray(data=[0, 0]) for _ in range(2))

        self._period_s = 1.0 / (parameters.sensor_rate_hz or spec.physics_rate_hz * parameters.speed)
        self._camera_period_s = 1.0 / (parameters.camera_rate_hz or spec.control_rate_hz)  # physics time
        self._next_picture_s = 0.0
        self._physics_clock = PhysicsClock(spec.physics_rate_hz, speed=parameters.speed)
        self._pace = Pace(self._period_s)
        self._spinner = Spinner(node)
        self.ticks = 0

    def _subscribe_commands(self) -> None:
        parameters, action = self._parameters, self._robot.spec.action
        controller = parameters.controller or f"forward_{action.mode}_controller"
        self._joints = parameters.controller_joints or action.joints
        if sorted(self._joints) != sorted(action.joints):
            raise UserError(
                f"parameter controller_joints: {', '.join(self._joints)} are not {', '.join(action.joints)}"
            )
        if parameters.command_type == COMMAND_TYPES[0]:
            self._node.create_subscription(Float64MultiArray, f"{controller}/commands", self._on_commands, _COMMANDS)
        else:
            self._trajectory_field = {"position": "positions", "velocity": "velocities", "effort": "effort"}[
                action.mode
            ]
            self._node.create_subscription(
                JointTrajectory, f"{controller}/joint_trajectory", self._on_trajectory, _COMMANDS
            )

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Simulate and publish until the node is stopped."""
        log = self._node.get_logger()
        for grant in apply_realtime(self._parameters.realtime):
            if grant.granted:
                log.info(str(grant))
            else:
                log.warning(str(grant))
        spec = self._robot.spec
        log.info(
            f"simulating {spec.robot} of {spec.task}: physics {spec.physics_rate_hz:g} Hz, "
            f"sensors {1 / self._period_s:g} Hz, watchdog {self._robot.firmware.watchdog_s:g} s"
            f"{', held until the agent is active' if self._is_held else ''}"
        )
        self._physics_clock.start(time.monotonic(), steps=self._robot.steps)
        self._pace.restart()
        self._spinner.run(self)
        log.info(
            f"{self._sequence} samples, {self._pace.misses} turns late by more than a period, "
            f"{self._received} commands, {self._robot.refused} refused, "
            f"physics stood still for {self._physics_clock.given_up_s:.3f} s"
        )

    @property
    def stopping(self) -> bool:
        """Whether the loop is to end."""
        return self._stop.is_set()

    def close(self) -> None:
        """Free physics and node."""
        self._spinner.shutdown()
        self._robot.close()
        self._node.destroy_node()

    def patience_s(self) -> float:
        """Until the next sample is due."""
        return self._pace.remaining_s()

    def watch(self) -> None:
        """Take and publish the next sample if it is due."""
        if self._pace.remaining_s() > 0.0:
            return
        self._pace.begin()
        self._sample()
        self._pace.done()
        self._set_rate()
        self.ticks += 1

    def _sample(self) -> None:
        self._catch_up()
        robot = self._robot
        if robot.has_cameras and robot.time_s >= self._next_picture_s:
            self._next_picture_s = max(self._next_picture_s + self._camera_period_s, robot.time_s)
            robot.look()
        sample = robot.sample()
        time_ns = time.time_ns()
        if self._clock_publisher is not None:
            time_ns = SIMULATED_START_NS + round(robot.time_s * 1e9)
            clock = Clock()
            clock.clock.sec, clock.clock.nanosec = divmod(time_ns, 1_000_000_000)
            self._clock_publisher.publish(clock)
        sample.stamp_ns = time_ns
        self._report_faults()
        faulty = self._faults.apply(sample, robot.time_s - self._faults_from_s)
        if faulty is not None:
            for topic, message in self._messages.fill(faulty):
                self._sensors[topic].publish(message)
            self._sequence += 1
            if self._trace:
                data = self._sampled_message.data
                data[0], data[1] = self._sequence, faulty.stamp_ns
                self._sampled.publish(self._sampled_message)

    def _catch_up(self) -> None:
        """Bring physics up to now."""
        due = self._physics_clock.due(time.monotonic(), self._robot.steps)
        if due and self._is_held:
            self._robot.stand(due)
        elif due:
            self._robot.advance(due)

    def _report_faults(self) -> None:
        """Say what is planted from this sample on, before the sample is out: who times an agent needs the onset."""
        active = self._faults.active(self._robot.time_s - self._faults_from_s)
        if active != self._active_faults:
            self._active_faults = active
            self._faults_publisher.publish(String(data=", ".join(active)))
            self._node.get_logger().info(f"faults: {', '.join(active) or 'none'}")

    def _set_rate(self) -> None:
        flood_hz = self._faults.rate_hz(self._robot.time_s - self._faults_from_s)
        period_s = self._period_s if flood_hz is None else 1.0 / flood_hz
        if period_s != self._pace.period_s:
            self._pace.period_s = period_s
            self._pace.restart()

    def report(self) -> None:
        """Say what has changed."""
        robot = self._robot
        mode = robot.firmware.mode.value
        if mode != self._firmware_mode:
            self._firmware_mode = mode
            self._firmware_publisher.publish(String(data=mode))
            self._node.get_logger().info(f"firmware: {mode}")
        if robot.refused != self._refused:
            self._refused = robot.refused
            self._node.get_logger().warning(
                f"refused command {self._refused}: {robot.refusal}", throttle_duration_sec=WARN_EVERY_S
            )
        if self._physics_clock.given_up_s != self._given_up_s:
            self._given_up_s = self._physics_clock.given_up_s
            self._node.get_logger().warning(
                f"physics cannot keep up: it has stood still for {self._given_up_s:.3f} s",
                throttle_duration_sec=WARN_EVERY_S,
            )

    # -- what comes in ---------------------------------------------------------------------------------------------

    def _on_commands(self, message: Float64MultiArray) -> None:
        self._command(time.time_ns(), self._joints, message.data)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        # The last point is where the joints are to be; the drives go there at once.
        receipt_ns = time.time_ns()
        values = getattr(message.points[-1], self._trajectory_field) if message.points else ()
        self._command(receipt_ns, message.joint_names, values)

    def _command(self, receipt_ns: int, names: Any, values: Any) -> None:
        self._received += 1
        if self._trace:
            data = self._applied_message.data
            data[0], data[1] = self._received, receipt_ns
            self._applied.publish(self._applied_message)
        self._catch_up()
        self._robot.command(names, values)

    def _on_damp(self, message: Bool) -> None:
        self._catch_up()
        self._robot.firmware.damp(message.data)
        self._is_driven = not message.data
        self._let_go()

    def _on_transition(self, event: TransitionEvent) -> None:
        # Told once and not latched: whoever starts later than the agent is held, and learns from ~/damp to let go.
        if event.goal_state.id == State.PRIMARY_STATE_INACTIVE:
            self._catch_up()
            self._robot.reset()
            self._is_held = True
            self._node.get_logger().info("the agent is inactive: held where the task starts")
        elif event.goal_state.id == State.PRIMARY_STATE_ACTIVE:
            self._catch_up()
            self._let_go()  # where ~/damp has overtaken this topic

    def _let_go(self) -> None:
        """End the wait for an agent that drives."""
        if self._is_held and self._is_driven:
            self._is_held = False
            if self._parameters.play_faults_at_start and math.isinf(self._faults_from_s):
                self._faults_from_s = self._robot.time_s
            self._node.get_logger().info("the agent drives: let go where the task starts")

    def _on_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._catch_up()
        self._robot.firmware.estop()
        response.success, response.message = True, "the drives brake until ~/reset"
        return response

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._catch_up()
        self._robot.reset()
        response.success, response.message = True, "the robot is where its task starts"
        return response

    def _on_play_faults(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._catch_up()
        self._faults_from_s = self._robot.time_s
        response.success, response.message = True, f"the schedule begins now, {self._robot.time_s:.3f} s"
        return response


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; exit code 0, or 2 for bad parameters."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = SimRobot(stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    try:
        node.run()
    finally:
        node.close()
        rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
