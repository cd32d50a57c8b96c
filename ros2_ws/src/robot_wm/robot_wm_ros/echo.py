"""A bare node that answers every sample at once: the physical limit of what an agent here could do.

`python -m robot_wm_ros.echo`, as a plain rclpy program does it: one subscription, one publisher, the stock executor.
It commands the joints to where they are and checks nothing: for a simulated robot only.
"""

from __future__ import annotations

import sys
from array import array

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from robot_wm.runtime.realtime import RealtimeConfig, apply_realtime
from robot_wm_ros.program import run_program
from robot_wm_ros.qos import COMMANDS, SENSORS

LONGEST_WAIT_S = 0.1  # so that a signal is heard in time


class Echo(Node):
    """joint_states in, `<controller>/commands` out."""

    def __init__(self) -> None:
        """Raises UserError for a priority or CPU that no kernel has."""
        super().__init__("echo")
        controller: str = self.declare_parameter("controller", "forward_position_controller").value
        length: int = self.declare_parameter("length", 0).value  # values to send; 0: as many as there are joints
        self.realtime = RealtimeConfig(
            fifo_priority=self.declare_parameter("fifo_priority", 0).value,
            cpu_affinity=tuple(self.declare_parameter("cpu_affinity", Parameter.Type.INTEGER_ARRAY).value or ()),
        )
        self._length = length or None
        self._padding = array("d", [0.0] * length)
        self._message = Float64MultiArray()
        self._commands = self.create_publisher(Float64MultiArray, f"{controller}/commands", COMMANDS)
        self.create_subscription(JointState, "joint_states", self._answer, SENSORS)
        self._stopping = False

    def _answer(self, state: JointState) -> None:
        self._message.data = (state.position + self._padding)[: self._length]
        self._commands.publish(self._message)

    def run(self) -> None:
        """Answer until ``stop``."""
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        for grant in apply_realtime(self.realtime):
            self.get_logger().info(str(grant))
        while not self._stopping:
            executor.spin_once(timeout_sec=LONGEST_WAIT_S)  # without a time limit it may hang for ever
        executor.shutdown()

    def stop(self, *_: object) -> None:
        """End ``run``; a signal handler."""
        self._stopping = True


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; exit code 0, or 2 for bad parameters."""
    return run_program(Echo, arguments)


if __name__ == "__main__":
    sys.exit(main())
