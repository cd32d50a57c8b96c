"""``python -m robot_wm_ros.guardian``, ``ros2 run robot_wm guardian``: damps the robot when its agent falls silent.

The agent computes, watches its sensors and hears the e-stop on one thread: a library that hangs in it, or a process
that is killed, does all of that no more. This small process of its own hears ``agent/heartbeat``. If that stops while
the agent drives, it publishes ``estop`` (latched), ``agent/damp`` and, every control period, the command that the last
heartbeat called safe (the last position, or no velocity and no effort). It goes on until the agent, or the one that
was started in its place, has heard that e-stop and been reset, as ``agent/mode`` tells.

It wants the agent's namespace and remappings. Parameter ``agent``: the node's name.
"""

from __future__ import annotations

import signal
import sys
import time

import numpy as np
from pydantic import ValidationError
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool, String

from robot_wm.runtime.modes import Mode
from robot_wm_ros.commands import CommandPublisher
from robot_wm_ros.heartbeat import Beat
from robot_wm_ros.program import run_program
from robot_wm_ros.qos import HEARTBEAT, LATCHED

LOOK_S = 0.02


class Guardian(Node):
    """Hears one agent's heartbeat. ``run`` is its loop."""

    def __init__(self, name: str = "guardian") -> None:
        super().__init__(name)
        self._agent: str = self.declare_parameter("agent", "agent", ParameterDescriptor(read_only=True)).value
        self._beat: Beat | None = None
        self._text = ""
        self._heard_s = self._look_s = time.monotonic()
        self._commands: CommandPublisher | None = None
        self._made_for: Beat | None = None
        self._acts = False
        self._sent_s = float("-inf")
        self._is_estop_heard = False
        self._stopping = False
        self._connect()
        self.create_subscription(String, f"{self._agent}/heartbeat", self._on_beat, HEARTBEAT)
        self.create_subscription(String, f"{self._agent}/mode", self._on_mode, LATCHED)

    def _connect(self) -> None:
        """Publishers that have said nothing yet; there before they are needed, since to be found takes a while."""
        self._estop = self.create_publisher(Bool, "estop", LATCHED)
        self._damp = self.create_publisher(Bool, f"{self._agent}/damp", LATCHED)

    def _on_beat(self, message: String) -> None:
        self._heard_s = time.monotonic()
        if message.data == self._text:
            return
        try:
            self._beat = Beat.model_validate_json(message.data)
        except ValidationError as error:
            self.get_logger().error(f"a heartbeat that cannot be read: {error.errors()[0]['msg']}", once=True)
            return
        self._text = message.data
        self._prepare(self._beat)

    def _prepare(self, beat: Beat) -> None:
        """A publisher of commands as the agent's, before it is needed."""
        if self._made_for is not None and _same_publisher(self._made_for, beat):
            return
        if self._commands is not None:
            self._commands.destroy()
        self._commands = CommandPublisher(self, beat.action, beat)
        self._made_for = beat

    def _on_mode(self, message: String) -> None:
        if not self._acts:
            return
        if message.data == Mode.ESTOP.value:
            self._is_estop_heard = True
        elif self._is_estop_heard:
            self._stand_down(message.data)

    def _stand_down(self, mode: str) -> None:
        self.get_logger().info(f"{self._agent} was reset ({mode}): this guardian is silent again")
        self._acts = self._is_estop_heard = False
        self._beat, self._text, self._sent_s = None, "", float("-inf")
        # What was latched would be heard by all who come later: the word is the agent's again.
        self.destroy_publisher(self._estop)
        self.destroy_publisher(self._damp)
        self._connect()

    def run(self) -> None:
        """Watch until ``stop``."""
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        while not self._stopping:
            executor.spin_once(timeout_sec=self._beat.period_s if self._acts and self._beat else LOOK_S)
            self._look()
        executor.shutdown()

    def _look(self) -> None:
        beat, now_s = self._beat, time.monotonic()
        stood_still, self._look_s = now_s - self._look_s > (beat.silence_s if beat else LOOK_S) / 2, now_s
        if stood_still:
            self._heard_s = now_s  # whoever stood still has to listen before it judges
        if beat is None or not beat.is_driving:
            return
        silence_s = now_s - self._heard_s
        if not self._acts and silence_s > beat.silence_s:
            self._acts = True
            self.get_logger().error(
                f"{self._agent} drives and has not been heard for {silence_s:.3g} s: e-stop, until its ~/reset"
            )
        if self._acts and now_s - self._sent_s >= beat.period_s:
            if self._sent_s == float("-inf"):
                self._damp.publish(Bool(data=True))
                self._estop.publish(Bool(data=True))
            self._sent_s = now_s
            assert self._commands is not None
            self._commands.publish(np.array(beat.command, dtype=np.float32))

    def stop(self, *_: object) -> None:
        """End ``run``; a signal handler."""
        self._stopping = True


def _same_publisher(one: Beat, other: Beat) -> bool:
    variable = {"command", "is_driving", "silence_s"}
    return one.model_dump(exclude=variable) == other.model_dump(exclude=variable)


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or SIGHUP; exit code 0, or 2 for what cannot be published."""
    return run_program(Guardian, arguments, signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


if __name__ == "__main__":
    sys.exit(main())
