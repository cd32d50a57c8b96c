"""``python -m robot_wm_ros.agent``, ``ros2 run robot_wm agent``: run the agent's node until it is told to stop."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

SWITCH_S = 5e-4  # Python's own 5 ms would be a whole period at 200 Hz


def main(arguments: list[str] | None = None) -> int:
    """Run the node; exit code 0 once it was stopped, 2 for bad parameters, 1 for a defect. Either way it damps first.

    ``ros2 launch`` signals the whole group, systemd and ``kill`` once more: the first signal counts, others say nothing
    new. rclpy's own handlers would cut the connection before the damping command is out.
    """
    # Where another thread has the interpreter, as the recorder's, a tick waits no longer than this for it.
    sys.setswitchinterval(SWITCH_S)
    told = _Told()
    # SIGHUP: a terminal or an ssh session that is closed must not leave a robot undamped, either.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, told)
    # Not before the handlers: half a second of imports is long enough for a signal to end in a traceback.
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from robot_wm.errors import UserError
    from robot_wm_ros.agent_node import AgentNode

    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = AgentNode()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    told.then(node.stop)
    code = 0
    try:
        node.spin()
        node.get_logger().info(f"{told}: damping and leaving")
    except Exception:
        node.get_logger().fatal(f"the loop failed, damping and leaving:\n{traceback.format_exc()}")
        code = 1
    try:
        node.close()
    finally:
        rclpy.shutdown()
    return code


class _Told:
    """A signal handler that remembers, and passes a signal on once there is somebody to stop."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._stop: Callable[[], None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._number = self._number or number
        if self._stop is not None:
            self._stop()

    def then(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` upon a signal, or now if it has come."""
        self._stop = stop
        if self._number is not None:
            stop()

    def __str__(self) -> str:
        return "stopped" if self._number is None else signal.Signals(self._number).name


if __name__ == "__main__":
    sys.exit(main())
