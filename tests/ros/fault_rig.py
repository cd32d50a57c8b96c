"""A simulated A1 and its agent as processes, and a node that plays operator and hears every command."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from node_process import NodeProcess
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.limits import command_limits
from robot_wm_ros.hil.lifecycle import LifecycleClient
from robot_wm_ros.hil.services import Services
from robot_wm_ros.qos import LATCHED

SENSOR_RATE_HZ = 200.0
SOFT_START_S = 0.2
_CHANGE = re.compile(r"\w+ -> (?P<mode>\w+)(: (?P<reason>.*?))?( \(\d+ faulty ticks since the last such line\))?")
PATIENCE_S = 40.0  # for what should take a moment: these machines are busy


class FaultRig:
    """Use as a context; nothing outlives the ``with`` block. Every command heard is checked against the limits."""

    def __init__(self, bundle: Path, domain: int, schedule: Path | None = None, **agent: object) -> None:
        with Bundle.open(bundle) as opened:
            self.spec = opened.spec
        self._bundle, self._domain, self._schedule, self._parameters = bundle, domain, schedule, agent
        self._stack = ExitStack()
        self.commands: list[tuple[float, np.ndarray]] = []  # receipt in s of system time, [A]
        self.damp: list[tuple[float, bool]] = []
        self._diagnostics = ""  # the agent's last message
        self._velocity = Twist()
        self._stopping = False

    def __enter__(self) -> FaultRig:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        limits = command_limits(self.spec)
        for _, command in self.commands:
            assert np.isfinite(command).all()
            assert (limits.low <= command).all(), command
            assert (command <= limits.high).all(), command

    def _start(self) -> None:
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("ROS_DOMAIN_ID", str(self._domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        self.robot = self._run(
            "robot_wm_ros.sim_robot",
            task=self.spec.task,
            sensor_rate_hz=SENSOR_RATE_HZ,
            **({} if self._schedule is None else {"faults": self._schedule, "play_faults_at_start": False}),
        )
        self.agent = self.start_agent()
        context = Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        self._stack.callback(rclpy.try_shutdown, context=context)
        self._node = node = Node("operator", context=context)
        self._stack.callback(node.destroy_node)
        topic = f"forward_{self.spec.action.mode}_controller/commands"
        node.create_subscription(Float64MultiArray, topic, self._on_command, 100)
        node.create_subscription(Bool, "agent/damp", self._on_damp, LATCHED)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._cmd_vel = node.create_publisher(Twist, "cmd_vel", 10)
        node.create_timer(0.05, lambda: self._cmd_vel.publish(self._velocity))
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        thread = threading.Thread(target=self._spin)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(setattr, self, "_stopping", True)
        self._wait(lambda: any("simulating" in line for line in self.robot.lines), "the robot")
        self._services = Services(node, self._wait)
        self._stack.callback(self._services.close)
        self.lifecycle = LifecycleClient(self._services, "agent")
        self.bring_up()

    def start_agent(self) -> NodeProcess:
        """Start an agent's process; it is unconfigured."""
        return self._run(
            "robot_wm_ros.agent",
            bundle=self._bundle,
            allow_unsigned=True,
            live_check=False,  # a robot that lies where it fell is not what these are about
            start_speed=0.0,  # what follows from a fault is told apart from a way to go
            soft_start_s=SOFT_START_S,
            **self._parameters,
        )

    def _run(self, module: str, **parameters: object) -> NodeProcess:
        process = NodeProcess.module(module, **parameters)
        self._stack.callback(process.close)
        return process

    def _spin(self) -> None:
        while not self._stopping:
            self._executor.spin_once(timeout_sec=0.1)

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands.append((time.time(), np.array(message.data)))

    def _on_damp(self, message: Bool) -> None:
        self.damp.append((time.time(), message.data))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._diagnostics = "; ".join(status.message for status in message.status)

    def _wait(self, until: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < end_s, f"waited for {what}; the agent said:\n" + "\n".join(self.agent.lines)
            time.sleep(0.005)

    def bring_up(self) -> None:
        """Configure, activate, and enable again an agent that has damped because it found the robot too late."""
        after_s = time.time()
        self.lifecycle.bring_up()
        while True:
            after_s, mode, _ = self._wait_for_change("active", "damp", after_s=after_s)
            if mode == "active":
                return
            self.enable()

    def enable(self) -> None:
        """Enable the agent, as soon as its sensors are sound: a fault of this machine's own may stand for a moment."""
        self._wait(lambda: self.lifecycle.enable().success, "~/enable")

    # -- what the operator does ------------------------------------------------------------------------------------

    def drive(self, *, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> float:
        """Command these speeds from now on; returns the system time in s."""
        velocity = Twist()
        velocity.linear.x, velocity.linear.y, velocity.angular.z = x, y, yaw
        self._velocity = velocity
        self._cmd_vel.publish(velocity)
        return time.time()

    def trigger(self, service: str) -> Any:
        """Call a Trigger service, such as agent/estop."""
        return self.call(Trigger, service, Trigger.Request())

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call any service and return the answer."""
        return self._services.call(kind, service, request)

    # -- what happened ---------------------------------------------------------------------------------------------

    def modes(self) -> list[tuple[float, str, str]]:
        """System time in s, mode and reason of each change that the agent logged."""
        changes = []
        for time_s, text in self.agent.events():
            if match := _CHANGE.fullmatch(text):
                changes.append((time_s, match["mode"], match["reason"] or ""))
        return changes

    def wait_for_mode(self, mode: str, *, after_s: float = 0.0) -> tuple[float, str]:
        """When the agent entered the mode after that system time, and why."""
        at_s, _, why = self._wait_for_change(mode, after_s=after_s)
        return at_s, why

    def _wait_for_change(self, *modes: str, after_s: float) -> tuple[float, str, str]:
        """The first change to one of these modes after that system time: when, to which, and why."""
        found: list[tuple[float, str, str]] = []

        def seen() -> bool:
            found[:] = [change for change in self.modes() if change[1] in modes and change[0] > after_s]
            return bool(found)

        self._wait(seen, " or ".join(modes))
        return found[0]

    def wait_for_log(self, words: str, *, after_s: float) -> float:
        """When the agent logged a line with these words after that system time."""
        found: list[float] = []

        def seen() -> bool:
            found[:] = [time_s for time_s, text in self.agent.events() if words in text and time_s > after_s]
            return bool(found)

        self._wait(seen, words)
        return found[0]

    def wait_for_diagnostics(self, text: str) -> None:
        """Until the agent says so on /diagnostics."""
        self._wait(lambda: text in self._diagnostics, f"{text!r} on /diagnostics, not {self._diagnostics!r}")

    def wait_for_firmware(self, mode: str, *, after_s: float) -> float:
        """When the robot's drives entered the mode after that system time."""
        found: list[float] = []

        def seen() -> bool:
            found[:] = [at_s for at_s, text in self.robot.events() if text == f"firmware: {mode}" and at_s > after_s]
            return bool(found)

        self._wait(seen, f"firmware {mode}")
        return found[0]

    def fault_times(self) -> dict[str, list[tuple[float, float]]]:
        """Begin and end in s of system time of each fault that the robot played."""
        times: dict[str, list[tuple[float, float]]] = {}
        running: dict[str, float] = {}
        for at_s, text in self.robot.events():
            if not text.startswith("faults: "):
                continue
            now = set(text.removeprefix("faults: ").split(", ")) - {"none"}
            for name in running.keys() - now:
                times.setdefault(name, []).append((running.pop(name), at_s))
            for name in now - running.keys():
                running[name] = at_s
        return times

    def commands_between(self, start_s: float, end_s: float) -> np.ndarray:
        """Commands heard in that time, [K, A]."""
        return np.array([command for at_s, command in self.commands if start_s <= at_s < end_s])
