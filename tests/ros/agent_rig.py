"""An agent's node, sensors that publish at a rate and an operator's node, over real DDS: in one process or two."""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import rclpy
from geometry_msgs.msg import Twist
from lifecycle_msgs.msg import Transition
from node_process import NodeProcess
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, Float64MultiArray, UInt64MultiArray
from std_srvs.srv import Trigger

from robot_wm.runtime.bundle import Bundle
from robot_wm_ros.agent_node import AgentNode
from robot_wm_ros.hil.lifecycle import LifecycleClient
from robot_wm_ros.hil.services import Services
from robot_wm_ros.qos import LATCHED, TRACE

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
PATIENCE_S = 60.0  # for what should take a moment: these machines are busy, and stand still at times
# Soft starts and holds as short as they may be, for tests that are about something else.
PROMPT = {"start_speed": 0.0, "soft_start_s": 0.1, "hold_s": 0.2, "live_check": False}


class Rig(ABC):
    """Use as a context; afterwards no thread and no node is left."""

    def __init__(self, bundle: Path, domain: int, /, *, namespace: str, **parameters: Any) -> None:
        with Bundle.open(bundle) as opened:
            self.spec = opened.spec
        self._stack = ExitStack()
        self._domain = domain
        self._namespace = namespace
        self._parameters = {"bundle": str(bundle), "allow_unsigned": True} | parameters
        self.commands: list[tuple[float, list[float]]] = []  # receipt on the steady clock, values
        self.damp: list[bool] = []
        self.trace: list[list[int]] = []
        self._sensing = threading.Event()
        self.offset_s = 0.0  # of the sensors' stamps
        self.sent = 0

    @abstractmethod
    def _start_agent(self) -> None:
        """Start the node; ``_stack`` gets what ends it."""

    @property
    @abstractmethod
    def lines(self) -> list[str]:
        """What the agent has logged so far."""

    def __enter__(self) -> Any:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _context(self) -> rclpy.Context:
        context = rclpy.Context()
        context.init(domain_id=self._domain)
        self._stack.callback(context.try_shutdown)
        return context

    def _start(self) -> None:
        self._start_agent()
        context = self._context()
        self.peer = peer = rclpy.create_node("peer", context=context, namespace=self._namespace)
        self._stack.callback(peer.destroy_node)
        controller = f"forward_{self.spec.action.mode}_controller"
        peer.create_subscription(Float64MultiArray, f"{controller}/commands", self._on_command, 100)
        peer.create_subscription(Bool, "agent/damp", lambda message: self.damp.append(message.data), LATCHED)
        peer.create_subscription(UInt64MultiArray, "agent/trace", lambda m: self.trace.append(m.data.tolist()), TRACE)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(peer)
        self._stack.callback(self._executor.shutdown)
        self._services = Services(peer, self.until)
        self._stack.callback(self._services.close)
        self._lifecycle = LifecycleClient(self._services, "agent")

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands.append((time.monotonic(), list(message.data)))

    # -- the operator ----------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Listen until the condition holds."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, f"waited for {what}; the agent said:\n" + "\n".join(self.lines)
            self._executor.spin_once(timeout_sec=0.01)

    def listen(self, duration_s: float) -> None:
        """Listen for so long."""
        end_s = time.monotonic() + duration_s
        self.until(lambda: time.monotonic() >= end_s)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service and return the answer."""
        return self._services.call(kind, service, request)

    def change(self, *transitions: int) -> bool:
        """Ask for lifecycle transitions, one after the other; whether the last succeeded."""
        return [self._lifecycle.change_state(transition) for transition in transitions][-1]

    def state(self) -> str:
        """The lifecycle state, as the agent tells it."""
        return self._lifecycle.state().label

    def trigger(self, name: str) -> Any:
        """Call ~/estop or ~/reset."""
        return self.call(Trigger, f"agent/{name}", Trigger.Request())

    def enable(self, value: bool = True) -> Any:
        """Call ~/enable."""
        return self._lifecycle.enable(value)

    def set(self, **values: Any) -> str:
        """Set parameters; "" or why they were refused."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        request = SetParametersAtomically.Request(parameters=parameters)
        result = self.call(SetParametersAtomically, "agent/set_parameters_atomically", request).result
        assert result.successful == (not result.reason)
        return result.reason

    def wait_for_line(self, text: str) -> str:
        """The first line of the agent's log with that text."""
        self.until(lambda: any(text in line for line in self.lines), repr(text))
        return next(line for line in self.lines if text in line)

    # -- the robot -------------------------------------------------------------------------------------------------

    def joints(self) -> list[str]:
        """Every joint that the agent observes."""
        labels = [label for f in self.spec.observations if f.topic == "joint_states" for label in f.labels]
        return list(dict.fromkeys(re.sub(r"(?:sin|cos)\((.+)\)", r"\1", label) for label in labels))

    def rest(self) -> dict[str, float]:
        """Where the commanded joints are: as near to zero as their ranges allow."""
        action = self.spec.action
        limits = {joint: limit.position for joint, limit in zip(action.joints, action.limits, strict=False)}
        return {joint: min(max(0.0, ends[0]), ends[1]) for joint, ends in limits.items() if ends}

    def sense(
        self,
        rate_hz: float,
        *,
        clock: bool = False,
        joints: list[str] | None = None,
        topic: str = "joint_states",
        orientation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0),
        at: dict[str, float] | None = None,
    ) -> None:
        """Publish the robot's sensors at a rate until ``be_silent``; ``clock`` also publishes their time as /clock.

        ``at``: where joints are, by name, in place of ``rest``.
        """
        node = self.peer
        names = joints or self.joints()
        count = len(names)
        position = [(at or self.rest()).get(name, 0.0) for name in names]
        message = JointState(name=names, position=position, velocity=[0.0] * count, effort=[0.0] * count)
        outputs: list[tuple[Any, Any]] = [(node.create_publisher(JointState, topic, 10), message)]
        if any(field.topic == "imu/data" for field in self.spec.observations):
            imu = Imu()
            turn = imu.orientation
            turn.x, turn.y, turn.z, turn.w = orientation
            outputs.insert(0, (node.create_publisher(Imu, "imu/data", 10), imu))
            outputs.append((node.create_publisher(Twist, "cmd_vel", 10), Twist()))
        clocks = node.create_publisher(Clock, "/clock", 10) if clock else None
        self.until(lambda: node.count_subscribers(topic), "the agent to listen")
        self._sensing.set()
        self.sent = 0
        self.sensor_thread = threading.Thread(target=self._sense, args=(1.0 / rate_hz, outputs, clocks))
        self.sensor_thread.start()
        self._stack.callback(self.be_silent)

    def _sense(self, period_s: float, outputs: list[tuple[Any, Any]], clocks: Any) -> None:
        start_s = time.monotonic()
        while self._sensing.is_set():
            seconds = (100.0 + self.sent * period_s if clocks else time.time()) + self.offset_s
            nanoseconds = round(seconds * 1e9)
            if clocks is not None:
                clock = Clock()
                clock.clock.sec, clock.clock.nanosec = divmod(nanoseconds, 10**9)
                clocks.publish(clock)
            for publisher, message in outputs:
                if hasattr(message, "header"):
                    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
                publisher.publish(message)
            self.sent += 1
            time.sleep(max(0.0, start_s + self.sent * period_s - time.monotonic()))

    def be_silent(self) -> None:
        """Let the sensors stop."""
        self._sensing.clear()
        self.sensor_thread.join()

    def drive(self, rate_hz: float = 200.0, **sensing: Any) -> None:
        """Configure, sense and activate; returns once the policy drives."""
        assert self.change(CONFIGURE), self.lines
        self.sense(rate_hz, **sensing)
        self.listen(0.1)
        assert self.change(ACTIVATE), self.lines
        self.wait_for_line("soft_start -> active")


@contextmanager
def stderr_in_a_file() -> Iterator[Path]:
    """Everything that this process's threads write to file descriptor 2 goes to the file.

    pytest's capture empties its file after reading it: what is written in between is lost.
    """
    with tempfile.NamedTemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield Path(file.name)
        finally:
            os.dup2(before, 2)
            os.close(before)


class AgentRig(Rig):
    """With the node, ``agent``, on a thread of this process."""

    def _start_agent(self) -> None:
        self._log = self._stack.enter_context(stderr_in_a_file())
        overrides = [Parameter(name, value=value) for name, value in self._parameters.items()]
        self.agent = AgentNode(context=self._context(), namespace=self._namespace, parameter_overrides=overrides)
        self._stack.callback(self.agent.close)
        self.thread = threading.Thread(target=self.agent.spin)
        self.thread.start()
        self._stack.callback(self.thread.join)
        self._stack.callback(self.agent.stop)

    @property
    def lines(self) -> list[str]:
        """What was printed, which is what the agent logged."""
        return self._log.read_text().splitlines()


class ProcessRig(Rig):
    """With the node in a process of its own, ``process``; ``remap`` holds ROS remappings."""

    def __init__(self, *arguments: Any, remap: tuple[str, ...] = (), **parameters: Any) -> None:
        super().__init__(*arguments, **parameters)
        self._remap = remap

    def _start_agent(self) -> None:
        rules = [f"__ns:={self._namespace or '/'}", *self._remap]
        self.process = NodeProcess.module(
            "robot_wm_ros.agent", "--ros-args", *(part for rule in rules for part in ("-r", rule)), **self._parameters
        )
        self._stack.callback(self.process.close)

    @property
    def lines(self) -> list[str]:
        """What the process has printed."""
        return self.process.lines
