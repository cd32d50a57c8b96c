"""What the programs of small nodes have in common: made, run until they are told to stop, taken off the network."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import rclpy
from rclpy.signals import SignalHandlerOptions

from robot_wm.errors import UserError


class Runs(Protocol):
    """A node with a loop of its own."""

    def run(self) -> None:
        """Work until ``stop``."""

    def stop(self, *_: object) -> None:
        """End ``run``; a signal handler."""

    def destroy_node(self) -> object:
        """Take the node off the network."""


def run_program(
    make: Callable[[], Runs],
    arguments: list[str] | None,
    *,
    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> int:
    """Run what ``make`` makes until one of ``signals``; exit code 0, or 2 for what it refuses."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
        for number in signals:
            signal.signal(number, node.stop)
        node.run()
        node.destroy_node()
        return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        rclpy.shutdown()
